"""What other software calls the quantities that are logged here, and a log in our terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...common.reading import UnreadableError
from ...common.text import one_line, some
from ..metrics_log import LARGEST, MOST_ROWS

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMES = 500  # quantities of a log
MOST_RUNS = 20  # of a file or folder that holds several
LONGEST_NAME = 100  # characters of the name of a log or a quantity

# The names are compared in lower case, with "_" for everything that separates words; the first one that a log has is taken.
QUANTITIES: Mapping[str, Sequence[str]] = {
    "val_loss": (
        "val_loss", "valid_loss", "validation_loss", "eval_loss", "loss_val", "loss_valid", "loss_validation", "loss_eval",
        "val_loss_epoch", "eval_val_loss", "test_loss", "loss_test",
    ),
    "loss": (
        "loss", "train_loss", "training_loss", "loss_train", "train_loss_step", "loss_step", "step_loss", "train_loss_epoch",
        "loss_epoch", "loss_loss", "loss_loss_mean", "train_train_loss", "simple_loss", "mse",
    ),
    "lr": ("lr", "learning_rate", "train_learning_rate", "train_lr", "lr_adam", "lr_adamw", "lr_sgd", "progress_lr"),
    "grad_norm": ("grad_norm", "train_grad_norm", "gradient_norm", "grad_norm_total", "gnorm", "total_grad_norm"),
}  # fmt: skip
IMAGES = ("images_seen", "samples_seen", "examples_seen", "num_samples", "samples", "nimg")
THOUSANDS = ("kimg", "progress_kimg", "progress_kimg_mean")  # of images
SECONDS = (
    "seconds",
    "runtime",
    "elapsed",
    "elapsed_seconds",
    "relative_time_process",
    "timing_total_sec",
    "timing_total_sec_mean",
)
CLOCK = ("timestamp", "wall_time", "time")  # seconds since 1970
STEPS = ("step", "global_step", "trainer_global_step", "train_global_step", "iteration", "iter", "n_iter", "steps", "epoch")


def plain(name: str) -> str:
    """Return a name in the form in which names are compared."""
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


@dataclass(eq=False)
class RawLog:
    """A log as it is read: values of quantities under the names that they have there, by step.

    Attributes:
        name: of the run, or else of the file or folder.
        kind: what has written it, in words.
        values: by name and step; the last of those at the same step counts.
        clock: when it was logged at a step, in seconds since 1970, where that is known.
        notes: sentences without a full stop on what is left out or guessed.
    """

    name: str
    kind: str
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    clock: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, step: int, value: float, time: float | None = None) -> None:
        """Take a value, unless the log has too many or the step cannot be one."""
        if not 0 <= step < LARGEST:
            return
        points = self.values.get(name)
        if points is None:
            if len(self.values) >= MOST_NAMES:
                return self._note_once(f"only its first {MOST_NAMES} quantities are read")
            points = self.values[name] = {}
        if len(points) >= MOST_ROWS and step not in points:
            return self._note_once(f"only the first {MOST_ROWS:,} values of a quantity are read")
        points[step] = value
        if time is not None:
            self.clock[step] = time

    def add_row(self, row: Mapping[str, float], number: int) -> None:
        """Take a row of a table or a line of a log, whose step is in it; the row's number if not."""
        names = {plain(name): name for name in reversed(list(row))}
        at = next((row[names[name]] for name in STEPS if name in names and np.isfinite(row[names[name]])), None)
        time = next((row[names[name]] for name in CLOCK if name in names), None)
        for name, value in row.items():
            if plain(name) not in (*STEPS, *CLOCK):
                self.add(name, number if at is None else int(at), value, time)
        if at is None and row:
            self._note_once("it names no steps, so its rows are counted instead")

    def _note_once(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


@dataclass(frozen=True, eq=False)
class ForeignLog:
    """A log of other software in our terms.

    Attributes:
        name: of the run, or else of the file or folder.
        kind: what has written it, in words.
        table: one row per step, with columns step, quantities of QUANTITIES, and images_seen and seconds where they are known.
        names: what each column is called there.
        others: the names of quantities that have no equal here.
        notes: sentences without a full stop on what is left out or guessed.
    """

    name: str
    kind: str
    table: pd.DataFrame
    names: Mapping[str, str]
    others: Sequence[str]
    notes: Sequence[str]


def in_our_terms(raw: RawLog) -> ForeignLog:
    """Return a log in our terms.

    Raises:
        UnreadableError: it has no quantity that is known here.
    """
    import pandas as pd

    by_plain: dict[str, list[str]] = {}
    for name in raw.values:
        by_plain.setdefault(plain(name), []).append(name)

    def found(names: Iterable[str]) -> str | None:
        known = next((by_plain[name] for name in names if name in by_plain), None)
        return None if known is None else max(known, key=lambda name: len(raw.values[name]))

    names = {term: there for term, known in QUANTITIES.items() if (there := found(known)) is not None}
    if not raw.values:
        raise UnreadableError("; ".join([f"{raw.name} has no numbers that were logged", *raw.notes]))
    if not names:
        has = some([one_line(name, 40) for name in raw.values], 5)
        raise UnreadableError(
            f"{raw.name} has no loss, validation loss, learning rate or gradient norm under a name that is known; it has {has}"
        )
    steps = np.array(sorted(set().union(*(raw.values[name] for name in names.values()))), np.int64)
    columns: dict[str, Any] = {"step": steps}
    for term, name in names.items():
        columns[term] = pd.Series(raw.values[name], dtype=np.float64).reindex(steps).to_numpy()
    for known, factor in ((IMAGES, 1), (THOUSANDS, 1000)):
        if "images_seen" not in names and (there := found(known)) is not None:
            names["images_seen"] = there
            columns["images_seen"] = factor * _between(steps, raw.values[there])
    if (there := found(SECONDS)) is not None:
        names["seconds"] = there
        columns["seconds"] = _between(steps, raw.values[there])
    elif raw.clock:
        names["seconds"] = "time of each entry"
        columns["seconds"] = _between(steps, raw.clock) - min(raw.clock.values())
    others = [name for name in raw.values if name not in names.values()]
    table = pd.DataFrame(columns).tail(MOST_ROWS).reset_index(drop=True)
    return ForeignLog(one_line(raw.name, LONGEST_NAME) or "log", raw.kind, table, names, others, raw.notes)


def _between(steps: np.ndarray[Any, Any], known: Mapping[int, float]) -> np.ndarray[Any, Any]:
    """Return a quantity that grows with the steps at steps between those at which it is known; NaN outside."""
    at = np.array(sorted(known), np.int64)
    values = np.array([known[step] for step in at.tolist()], np.float64)
    return np.interp(steps, at, values, left=np.nan, right=np.nan)
