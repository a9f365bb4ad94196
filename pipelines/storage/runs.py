"""Find runs: those published with the project, those of the user, and those in the hub's cache.

Importing this module does not load torch.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..common.paths import folder_in, settled
from ..common.public import is_public
from .files import ROOT, is_file
from .hub import fetch
from .hub_id import SPELLING, HubId
from .layout import AVERAGES, CONFIG, MODEL
from .recipes import RECIPES
from .run import Run

PUBLISHED = ROOT / "checkpoints"
PRIVATE = folder_in("NOISESCOPE_RUNS") or ROOT / "runs"
LESSONS = "lessons"  # folder of the published runs that only lessons need
MOST_NAMED = 40  # runs in a message


def usual_roots() -> tuple[Path, ...]:
    """Return the folders of the published runs, of those for lessons and, unless the dashboard is public, of the user's own."""
    published = PUBLISHED, PUBLISHED / LESSONS
    return published if is_public() else (*published, PRIVATE)


def find_runs(*roots: str | Path) -> list[Run]:
    """Return all runs directly under ``roots``, sorted by name within each root.

    The default roots are the usual ones. A folder counts as a run if it has a config.json or
    a model.safetensors, and also if it cannot be entered: whoever opens it says why. Roots that do not exist or
    cannot be listed are skipped; :func:`pipelines.storage.catalogue.read_catalogue` tells what is left out here.
    """
    runs = []
    for root in map(Path, roots or usual_roots()):
        with suppress(OSError):
            runs += [Run(folder) for folder in sorted(root.iterdir()) if _may_be_run(folder)]
    return runs


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / MODEL).is_file()


def _may_be_run(folder: Path) -> bool:
    try:
        return _is_run(folder)
    except OSError:
        return folder.name[:1] != "."


def find_run(path: str | Path, download: bool = False) -> Run:
    """Return the run at ``path``.

    Args:
        path: a folder, a .safetensors file, the bare name of a published run or of the user's own, that of one of its weight
            averages (NAME-ema-5000), or the id of a run on the Hugging Face hub (see
            :class:`pipelines.storage.hub_id.HubId`). What is here goes before what is on the hub.
        download: whether to ask the hub for it, and download what is missing. A person has to want this: pages, and
            whatever follows the references in a configuration, take what is in the hub's cache.

    Raises:
        ValueError: there is no such run; the message lists those there are, or says why it cannot be downloaded.
    """
    for candidate in (Path(path), *(root / path for root in usual_roots())):
        if candidate.is_file() or _is_run(candidate):
            return Run(candidate)
    name, _, half_life = str(path).rpartition("-ema-")
    for root in usual_roots() if half_life.isdecimal() else ():
        average = Run(root / name / AVERAGES / f"{half_life}.safetensors")
        if average.has_weights:
            return average
    hub = None if _is_meant_here(str(path)) else HubId.parse(str(path))
    folder = None if hub is None else fetch(hub) if download else hub.cached()
    if folder is not None:
        return Run(folder)
    found = [str(run.path.relative_to(ROOT) if run.path.is_relative_to(ROOT) else run.path) for run in find_runs()]
    known = ", ".join([*found[:MOST_NAMED], *[f"and {len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)])
    made = f"train it first (python -m pipelines.train --recipe {path}), or " if str(path) in RECIPES else ""
    raise ValueError(
        f"no run at {str(path)!r}: {made}give a run folder, a .safetensors file or, for a run on the hub, {SPELLING} (runs: "
        f"{known or 'none yet'})"
    )


def _is_meant_here(name: str) -> bool:
    """Return whether a name that could be a hub's id is a mistyped path: ids with a revision never are."""
    first, roots = name.partition("/")[0], usual_roots()
    taken = {root.name for root in roots}
    return "@" not in name and (first in taken or any((root / first).exists() for root in (Path(), *roots)))


def reference_to(run: Run) -> str:
    """Return a configuration's reference to a run, the same from every working directory.

    It is the run's id with its commit if it is from the hub, or its name if that finds it, or else its path.
    """
    if (hub := HubId.of(run.path)) is not None:
        return str(hub)
    path = settled(run.path)
    for root in usual_roots():
        folder = root / run.name
        if is_file(folder / CONFIG) or is_file(folder / MODEL):
            return run.name if settled(folder) == path else path
    return path
