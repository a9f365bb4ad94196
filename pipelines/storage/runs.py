"""Read, write and list runs. A run is a folder::

    config.json         its configuration (pipelines.storage.config.RunConfig)
    model.safetensors   EMA weights; the header also contains config.json, so that this file alone rebuilds the model
    metrics.jsonl       one JSON object per line, appended during training
    ema/50000.safetensors  EMA weights of another half-life in images, in the same form, if several were kept
    samples/            step-00001000.png (EMA weights) and step-00001000-raw.png, always from the same seeds
    data.json           what was found in the dataset, used or not (pipelines.datasets.report); never published
    state/              the state for an exact resume; never published

Files are written whole or not at all. Nothing is ever unpickled. Importing this module does not load torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.json_files import MOST, read_json
from ..common.paths import folder_in, is_weights, settled
from ..common.public import is_public
from ..common.reading import open_regular, read_regular
from ..common.text import CONTROLS
from .config import RunConfig, config_from_json, config_to_json
from .metrics_log import MetricsLog, line_or_none, newest_lines, whole_lines

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
from .files import ROOT, atomic, is_file, write_text
from .hub import fetch
from .hub_id import SPELLING, HubId
from .layout import AVERAGES as AVERAGES
from .layout import CONFIG as CONFIG
from .layout import CURVES as CURVES
from .layout import DATA as DATA
from .layout import METRICS as METRICS
from .layout import MODEL as MODEL
from .layout import PROCESS as PROCESS
from .layout import SAMPLES as SAMPLES
from .layout import STATE as STATE
from .recipes import RECIPES
from .weights import open_tensors, refuse_too_large, write_tensors

PUBLISHED = ROOT / "checkpoints"
PRIVATE = folder_in("NOISESCOPE_RUNS") or ROOT / "runs"
LESSONS = "lessons"  # folder of the published runs that only lessons need
UNSEEN = re.compile(f"{CONTROLS.pattern}|[\u061c\u200b\u200e\u200f\u2028\u2029\ufeff]")  # in a name
NEWEST = 2**20  # bytes at the end of a log that contain the newest value of every quantity
MOST_NAMED = 40  # runs in a message


@lru_cache(maxsize=256)
def _fingerprint(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@lru_cache(maxsize=256)
def _num_parameters(path: Path, modified: int, size: int) -> int:
    with open_tensors(path, "numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


@lru_cache(maxsize=32)
def _metrics_log(file: Path) -> MetricsLog:
    return MetricsLog(file)


@dataclass(frozen=True)
class Run:
    """A run folder, or its model.safetensors alone.

    It holds no open files: every property reads what is on disk now, so that a live run can be followed.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def name(self) -> str:
        """Name of the folder, which may be a link, or of the single file; of a run from the hub, that of its repository."""
        path = self.path.absolute()
        if (hub := HubId.of(path)) is not None:
            return hub.name
        name = path.stem if self._is_single_file else path.name
        if self._is_single_file and path.parent.name == AVERAGES:
            name = f"{path.parent.parent.name}-ema-{name}"
        name = path.resolve().name if name in ("", "..") else name
        return UNSEEN.sub("\ufffd", os.fsencode(name).decode(errors="replace"))  # the bytes of a file's name need not be text

    @property
    def _is_single_file(self) -> bool:
        """Whether this is a weights file alone; a folder may have any name."""
        return is_weights(self.path) and not os.path.isdir(self.path)  # noqa: PTH112  (Path.is_dir may raise)

    @property
    def model_path(self) -> Path:
        """Path of the weights, which may not exist yet."""
        return self.path if self._is_single_file else self.path / MODEL

    def average(self, half_life: int | None) -> Run:
        """Return the run of the weights averaged with this half-life: the run itself for None and its usual half-life.

        Raises:
            ValueError: no such average was kept.
        """
        if half_life in (None, self.config.optimizer.ema_half_life):
            return self
        found = Run(self.path / AVERAGES / f"{half_life}.safetensors")
        if not found.has_weights:
            raise ValueError(
                f"ema={half_life}: {self.name} has averages of {', '.join(map(str, self.half_lives))} images; others are kept "
                "by training with --ema-also"
            )
        return found

    @property
    def half_lives(self) -> list[int]:
        """Half-lives in images of the weight averages that were kept, the usual one first."""
        files = (self.path / AVERAGES).glob("*.safetensors")
        return [self.config.optimizer.ema_half_life, *sorted(int(file.stem) for file in files if file.stem.isdecimal())]

    @property
    def averages(self) -> list[Run]:
        """The runs of the other weight averages that were kept, by rising half-life (see :meth:`average`)."""
        return [Run(self.path / AVERAGES / f"{half_life}.safetensors") for half_life in self.half_lives[1:]]

    @property
    def has_weights(self) -> bool:
        """Whether weights have been saved yet."""
        return is_file(self.model_path)

    @property
    def can_go_on(self) -> bool:
        """Whether training can continue; a copy without its state would start again and overwrite its own weights and log."""
        return is_file(self.path / STATE) or not self.has_weights

    def refuse_without_state(self) -> None:
        """Raise ValueError if training cannot continue (see :attr:`can_go_on`)."""
        if not self.can_go_on:
            raise ValueError(f"run {self.name!r} has weights but no {STATE} to continue from: {self.instead_of_resuming}")

    @property
    def instead_of_resuming(self) -> str:
        """What to do if training cannot continue, for error messages."""
        return "train a new run" + (f" (--init-from {self.path} starts from its weights)" if self.has_weights else "")

    @property
    def config(self) -> RunConfig:
        """Configuration of the run, from config.json or from the copy in the weights' header.

        Raises:
            ValueError: neither exists, or it cannot be read.
        """
        file = self.path / CONFIG
        if file.is_file():
            return config_from_json(read_regular(file, MOST), str(file))
        if not self.has_weights:
            raise ValueError(f"no run at {self.path}: a run is a folder with a {CONFIG}")
        with open_tensors(self.model_path, "numpy") as weights:
            metadata = weights.metadata() or {}
        if "config" not in metadata:
            raise ValueError(f"{self.model_path} has no Noisescope configuration in its header: it is another program's file")
        return config_from_json(metadata["config"], str(self.model_path))

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the weights file."""
        if not self.has_weights:
            raise ValueError(f"run {self.name!r} has no weights yet: they appear at its first save")
        status = self.model_path.stat()
        refuse_too_large(self.model_path)
        return _fingerprint(self.model_path, status.st_mtime_ns, status.st_size)

    @property
    def num_parameters(self) -> int:
        """Number of parameters, read from the file's header alone."""
        status = self.model_path.stat()
        return _num_parameters(self.model_path, status.st_mtime_ns, status.st_size)

    def metrics(self) -> pd.DataFrame:
        """Return one row per logged line, skipping torn or foreign lines; empty for a run without a log."""
        import pandas as pd

        file = self.path / METRICS
        return _metrics_log(file).read() if file.is_file() else pd.DataFrame()

    def log_problem(self) -> str:
        """Return one sentence on lines that :meth:`metrics` leaves out, empty if there are none."""
        file = self.path / METRICS
        return _metrics_log(file).problem if file.is_file() else ""

    def newest_metrics(self) -> dict[str, Any]:
        """Return the newest value of each quantity logged recently; fast, because only the end of the log is read."""
        newest: dict[str, Any] = {}
        for row in newest_lines(self.path / METRICS, NEWEST):
            newest |= row
        return newest

    def about_data(self) -> str:
        """Return one sentence on the data that the run was trained on; empty if no report on them can be read."""
        try:
            report = read_json(self.path / DATA)
        except (OSError, ValueError):
            return ""
        about = report.get("about") if isinstance(report, dict) else None
        return about if isinstance(about, str) else ""

    def samples(self) -> dict[int, Path]:
        """Return the sample grids of the EMA weights by training step, oldest first."""
        grids = {}
        for file in sorted((self.path / SAMPLES).glob("step-*.png")):
            step = file.stem.removeprefix("step-")
            if step.isdecimal():
                grids[int(step)] = file
        return grids

    def write_config(self, config: RunConfig) -> None:
        """Write config.json."""
        write_text(self.path / CONFIG, config_to_json(config) + "\n")

    def write_model(self, weights: Mapping[str, Tensor], config: RunConfig) -> None:
        """Write model.safetensors with the configuration in its header."""
        write_tensors(self.model_path, weights, {"config": config_to_json(config)})

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line and flush it."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()

    def truncate_metrics(self, last_step: int) -> None:
        """Drop torn lines and those after ``last_step``, which the resumed run will write again."""
        file = self.path / METRICS
        if not file.is_file():
            return
        with open_regular(file) as log, atomic(file) as temporary, temporary.open("wb") as kept:
            for line in whole_lines(log):
                row = line_or_none(line)
                if row is not None and row["step"] <= last_step:
                    kept.write(line)

    def delete(self) -> None:
        """Delete the folder and everything in it; of a link to a run elsewhere, the link alone."""
        if self.path.is_symlink():
            self.path.unlink()
        else:
            shutil.rmtree(self.path)


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
