"""The catalogue of runs: each under a name of its own, with what is known of it or the reason why it cannot be read.

Whoever lists runs reads them here, once. A run that is damaged, or that disappears meanwhile, does not affect the others, and
what is known of a run stays known while a page is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..common.command_line import describe
from .added import added
from .config import RunConfig
from .hub_id import HubId
from .layout import CONFIG, METRICS, MODEL, STATE
from .run import Run
from .runs import find_runs, usual_roots


@dataclass(frozen=True)
class Listed:
    """A run as it was when it was listed.

    Attributes:
        num_parameters: of its weights; None before the first save, or if they are damaged.
        damage: one sentence on what is wrong with the weights; empty if nothing is, or before the first save.
    """

    run: Run
    config: RunConfig
    num_parameters: int | None = None
    damage: str = ""

    @cached_property
    def averages(self) -> list[Listed]:
        """Its weight averages of other half-lives, as runs, without those that cannot be read."""
        found: list[Listed] = []
        with suppress(ValueError, OSError):  # of a run that has been deleted meanwhile
            for average in self.run.averages:
                with suppress(ValueError, OSError):  # the others are used without it
                    found.append(Listed(average, average.config, average.num_parameters))
        return found


@dataclass(frozen=True)
class Catalogue:
    """The runs of some folders.

    Attributes:
        runs: the runs whose configuration can be read, by name.
        problems: one sentence on each of the others, by name, and on each folder of runs that cannot be listed, by path.
    """

    runs: dict[str, Listed]
    problems: dict[str, str]

    def models(self, wanted: Callable[[RunConfig], bool]) -> dict[str, Listed]:
        """Return the runs with intact weights whose configuration is wanted, by name."""
        return {name: one for name, one in self.runs.items() if one.num_parameters is not None and wanted(one.config)}

    def models_and_averages(self, wanted: Callable[[RunConfig], bool]) -> dict[str, Listed]:
        """Return the models that are wanted, each followed by the other averages of its weights."""
        found: dict[str, Listed] = {}
        for name, one in self.models(wanted).items():
            averages = {f"{name}-ema-{each.config.optimizer.ema_half_life}": each for each in one.averages}
            found |= {name: one} | averages
        return found

    @property
    def unusable(self) -> dict[str, str]:
        """One sentence on each run whose model cannot be used because it is damaged, by name."""
        return self.problems | {name: one.damage for name, one in self.runs.items() if one.damage}


def read_catalogue(*roots: str | Path) -> Catalogue:
    """Read all runs directly under ``roots``, by default the published runs, the user's own and those added from the hub."""
    catalogue = Catalogue({}, {})
    found: list[Run] = []
    for root in map(Path, roots or usual_roots()):
        try:
            found += _candidates(root)
        except OSError as error:
            catalogue.problems[str(root)] = f"this folder of runs cannot be listed: {describe(error)}"
    try:
        found += [Run(hub.path()) for hub in (() if roots else added())]
    except (ValueError, OSError) as error:
        catalogue.problems["runs from the hub"] = describe(error)
    for name, run in named(found).items():
        try:
            catalogue.runs[name] = _read(run)
        except (ValueError, OSError) as error:
            catalogue.problems[name] = describe(error)
    return catalogue


def _candidates(root: Path) -> list[Run]:
    """Return the runs under a root, and what has been one: a link that leads nowhere, a folder with a log or a state alone."""
    if not root.exists():
        return []
    runs = {run.path for run in find_runs(root)}
    return [Run(folder) for folder in sorted(root.iterdir()) if folder in runs or _has_been_run(folder)]


def _has_been_run(folder: Path) -> bool:
    if folder.name.startswith("."):
        return False
    return _leads_nowhere(folder) or any(os.path.lexists(folder / file) for file in (CONFIG, MODEL, METRICS, STATE))


def _leads_nowhere(folder: Path) -> bool:
    return folder.is_symlink() and not os.path.exists(folder)  # noqa: PTH110  (Path.exists may raise)


def named(runs: Iterable[Run]) -> dict[str, Run]:
    """Return runs by name; one whose name is taken has the name of its root before it, then a number behind it.

    A run from the hub has its id as its name.
    """
    found: dict[str, Run] = {}
    for run in runs:
        hub = HubId.of(run.path)
        name = run.name if hub is None else hub.title
        if name in found:
            name, number = f"{run.path.parent.name}/{name}", 1
            qualified = name
            while name in found:
                number += 1
                name = f"{qualified} ({number})"
        found[name] = run
    return found


def _read(run: Run) -> Listed:
    """Read what is known of a run.

    Raises:
        ValueError, OSError: its configuration cannot be read.
    """
    if (hub := HubId.of(run.path)) is not None and hub.cached() is None:
        raise ValueError(f"it is not in the hub's cache any more: add it again, or `python -m pipelines.download {hub}`")
    if _leads_nowhere(run.path):
        raise ValueError(f"{run.path} is a link to {run.path.readlink()}, which does not exist or cannot be reached")
    config = run.config
    if not os.path.lexists(run.model_path):
        return Listed(run, config)
    try:
        return Listed(run, config, run.num_parameters)
    except (ValueError, OSError) as error:
        return Listed(run, config, damage=describe(error))
