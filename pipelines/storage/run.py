"""Read and write a run, which is a folder::

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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.json_files import MOST, read_json
from ..common.paths import is_weights
from ..common.reading import open_regular, read_regular
from ..common.text import CONTROLS
from .config import RunConfig, config_from_json, config_to_json
from .files import atomic, is_file, write_text
from .hub_id import HubId
from .layout import AVERAGES, CONFIG, DATA, METRICS, MODEL, SAMPLES, STATE
from .metrics_log import MetricsLog, line_or_none, newest_lines, whole_lines
from .weights import open_tensors, refuse_too_large, write_tensors

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

UNSEEN = re.compile(f"{CONTROLS.pattern}|[\u061c\u200b\u200e\u200f\u2028\u2029\ufeff]")  # in a name
NEWEST = 2**20  # bytes at the end of a log that contain the newest value of every quantity


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
