"""The way from a student to a comparison with its teacher."""

from __future__ import annotations

from dataclasses import replace

from pages.components.runs import known_runs
from pipelines.storage.config import RunConfig
from pipelines.storage.run import Run
from pipelines.storage.runs import find_run

BESIDE_TEACHER = "Compare with its teacher"


def listed_as(run: Run) -> str:
    """Return the name under which all pages list a run."""
    return next((name for name, one in known_runs().runs.items() if one.run.path == run.path), run.name)


def beside_teacher(name: str, config: RunConfig) -> dict[str, list[str]]:
    """Return the address of Compare that shows a student beside its teacher, in their usual steps and with the same guidance.

    It is empty for other models, and if the teacher is not listed any more.

    Args:
        name: of the student.
    """
    own = config.distillation
    if own is None:
        return {}
    try:
        teacher = listed_as(find_run(own.teacher))
    except ValueError:
        return {}
    if teacher not in known_runs().runs:  # but in the cache of the hub, say
        return {}
    from pages.components.requests import usual_request  # half of what Home would load of ours, and hardly ever needs
    from pages.components.sharing import address_of
    from pipelines.sampling.own_steps import as_learnt

    asked = replace(usual_request(config), guidance=own.scale)
    return address_of(teacher, asked, "1") | address_of(name, as_learnt(asked, config), "2")
