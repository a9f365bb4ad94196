"""The validation losses that runs have logged: which can be compared, how they differ over training, and which run leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..common.text import some
from ..storage.config import HeldOutConfig, RunConfig
from ..storage.metrics_log import BY_TIMESTEP
from .intervals import Estimate, decimals, neighbours_half

NEAR = 0.005  # relative distance within which two validations are at the same step: epochs of two runs may differ by a few
ALONG = {"step": "step {:,.0f}", "images_seen": "{:,.0f} images"}  # where the losses of two runs can be compared
FOREIGN = "what the loss of other software measures is not known"


@dataclass(frozen=True, eq=False)
class Log:
    """A run's name, its settings and its log, one row per logged line; settings of other software are not known."""

    name: str
    config: RunConfig | None
    table: pd.DataFrame

    def validations(self, along: str = "step") -> pd.DataFrame:
        """Return the rows with a finite validation loss in the order of a column of ALONG, the newest of each position."""
        if not {along, "val_loss"} <= set(self.table.columns):
            return self.table[:0]
        finite = np.isfinite(self.table[[along, "val_loss"]].apply(pd.to_numeric, errors="coerce")).all(axis=1)
        return self.table[finite].drop_duplicates(along, keep="last").sort_values(along)

    def newest(self, quantity: str, step: int) -> tuple[int, float] | None:
        """Return the last finite value of a quantity that was logged up to a training step, after its own step, or None."""
        if not {"step", quantity} <= set(self.table.columns):
            return None
        rows = self.table[self.table["step"] <= step]
        values = pd.to_numeric(rows[quantity], errors="coerce")
        values = values[np.isfinite(values)]
        return (int(rows["step"][values.index[-1]]), float(values.iloc[-1])) if len(values) else None


def judged_alike(logs: Sequence[Log]) -> tuple[list[Log], str]:
    """Return the logs with the kernel distances of runs on the same images alone, and a sentence on what is left out, if any.

    The images of the first run with such distances count. Those of others are distances from other images, and mostly in the
    features of another judge: no two of them can be compared.
    """
    configs = {log.name: log.config for log in logs if log.config is not None and "kernel_distance" in log.table}
    first = next(iter(configs.values()), None)
    others = [name for name, config in configs.items() if first is not None and not _same_images(config, first)]
    kept = [replace(log, table=log.table.drop(columns="kernel_distance")) if log.name in others else log for log in logs]
    told = f"The kernel distances of {some(others)} are from other images, which another judge sees, and are left out."
    return kept, told if others else ""


def unlike(one: RunConfig | None, other: RunConfig | None) -> str:
    """Return why the validation losses of two runs cannot be compared; empty if they can."""
    if one is None or other is None:
        return FOREIGN
    if one.model != other.model:
        return "only one of them is an autoencoder"
    if one.is_student != other.is_student:
        return "only one of them is a student, whose loss is its distance from its teacher"
    if one.latent.latent_fingerprint != other.latent.latent_fingerprint:
        return "they denoise different latents, or latents and pixels"
    if _objective(one) != _objective(other):
        return "they minimise different losses"
    return "" if _same_images(one, other) else "their images are different"


def _same_images(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two runs see the same images at the same size, on which the digest of held-out ones does not depend."""
    digests = one.data.held_out.digest, other.data.held_out.digest
    alike = (bool(digests[0]) and digests[0] == digests[1]) or Path(one.data.data).name == Path(other.data.data).name
    return alike and one.image_shape == other.image_shape


def unpaired(one: RunConfig | None, other: RunConfig | None) -> str:
    """Return why the difference of two validation losses has no interval; empty if both are of the same noisy images."""
    if one is None or other is None:
        return FOREIGN
    if "autoencoder" in (one.model, other.model):
        return "an autoencoder logs nothing from which to compute an interval"
    if one.is_student or other.is_student:
        return "a student logs nothing from which to compute an interval"
    if _held_out(one) != _held_out(other):
        return "they may have been validated on different images"
    return "" if one.seed == other.seed else "their seeds differ, and with them the noise of their validation"


def _objective(config: RunConfig) -> object:
    """Return what determines the validation loss, which covers all timesteps evenly however training draws them."""
    own = config.distillation
    if own is not None:
        return own.teacher_fingerprint, own.guidance, own.calls if own.varies else None  # it is the mean over them
    return replace(config.diffusion, timestep_density="uniform", density_mean=None, density_std=None)


def _held_out(config: RunConfig) -> object:
    """Return what identifies the held-out images: their digest, or in older runs the settings that chose them."""
    return config.data.held_out.digest or replace(config.data, flip=None, augment=0.0, held_out=HeldOutConfig())


def gap(log: Log, reference: Log, along: str = "step") -> pd.DataFrame:
    """Return the validation loss of a run minus that of another one, wherever both have been validated.

    Returns:
        Columns ``along``, difference, low and high; see :func:`_difference`.
    """
    rows, others = log.validations(along), reference.validations(along)
    own, theirs = _common([rows, others], along)
    return _difference(log, rows.iloc[own], reference, others.iloc[theirs], along)


def _difference(log: Log, rows: pd.DataFrame, reference: Log, others: pd.DataFrame, along: str) -> pd.DataFrame:
    """Return the differences between validations of two runs, pair by pair.

    The loss is the mean over equal ranges of timesteps, each measured on images of its own. If both runs were validated on the
    same images with the same noise, the 95 % interval of the difference follows from how much the differences of neighbouring
    ranges differ; else it is NaN.
    """
    if not len(rows):
        return pd.DataFrame(columns=[along, "difference", "low", "high"], dtype=np.float64)
    difference = rows["val_loss"].to_numpy(np.float64) - others["val_loss"].to_numpy(np.float64)
    half = np.full(len(rows), np.nan)
    if not unpaired(log.config, reference.config) and BY_TIMESTEP in rows and BY_TIMESTEP in others:
        for number, pair in enumerate(zip(rows[BY_TIMESTEP], others[BY_TIMESTEP], strict=True)):
            one, other = (np.asarray(losses, np.float64) for losses in pair)
            if one.shape == other.shape and one.size > 1:
                half[number] = neighbours_half(one - other)
    columns = {along: rows[along].to_numpy(np.float64), "difference": difference}
    return pd.DataFrame(columns | {"low": difference - half, "high": difference + half})


def _common(tables: Sequence[pd.DataFrame], along: str) -> list[list[int]]:
    """Return the numbers of the rows of each table at positions that occur, at least nearly, in all of them."""
    found: list[list[int]] = [[] for _ in tables]
    if not all(map(len, tables)):
        return found
    places = [table[along].to_numpy(np.float64) for table in tables]
    for place in places[0]:
        nearest = [int(np.abs(own - place).argmin()) for own in places]
        if all(abs(own[number] - place) <= NEAR * place for own, number in zip(places, nearest, strict=True)):
            for numbers, number in zip(found, nearest, strict=True):
                numbers.append(number)
    return found


@dataclass(frozen=True)
class Lead:
    """Which of several runs has the lowest validation loss where all of them were validated last.

    Attributes:
        best, second: the runs with the lowest and the second lowest loss.
        where: the step or the number of images seen.
        runs: how many runs are compared.
        difference: the second loss minus the lowest, with its interval; both ends are NaN without one.
        reason: why there is no interval; empty if there is one.
    """

    best: str
    second: str
    where: str
    runs: int
    difference: Estimate
    reason: str

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.difference.low > 0

    def __str__(self) -> str:
        """Return it as a sentence."""
        value, low, high = self.difference.value, self.difference.low, self.difference.high
        lower = "lower" if self.runs == 2 else "lowest"
        start = f"At {self.where}, the validation loss of {self.best}"
        if self.reason:
            return (
                f"{start} is {lower}, {value:.2g} below that of {self.second}; how surely is not known, because {self.reason}."
            )
        digits = decimals(high - low)
        if self.sure:
            below = f"{value:.{digits}f} below that of {self.second} (95\u00a0%: {low:.{digits}f} to {high:.{digits}f})"
            return f"{start} is {lower}, surely: {below}."
        apart = "are" if self.runs == 2 else "are the lowest and"
        of = f"{value:.{digits}f} ± {high - value:.{digits}f}"
        return f"{start} and that of {self.second} {apart} not told apart: a difference of {of}."


def lead(logs: Sequence[Log], along: str = "step") -> Lead | None:
    """Return which of runs leads that can be compared with each other; None if there are no two validations to compare."""
    tables = [log.validations(along) for log in logs]
    common = _common(tables, along) if len(logs) > 1 else [[]]
    if not common[0]:
        return None
    last = [table.iloc[[rows[-1]]] for table, rows in zip(tables, common, strict=True)]
    best, second, *_ = sorted(range(len(logs)), key=lambda number: float(last[number]["val_loss"].iloc[0]))
    found = _difference(logs[second], last[second], logs[best], last[best], along).iloc[0]
    reason = unpaired(logs[second].config, logs[best].config)
    if not reason and np.isnan(found["low"]):
        reason = "a loss by timestep is missing"
    where = ALONG[along].format(max(float(one[along].iloc[0]) for one in last))
    difference = Estimate(float(found["difference"]), float(found["low"]), float(found["high"]))
    return Lead(logs[best].name, logs[second].name, where, len(logs), difference, reason)
