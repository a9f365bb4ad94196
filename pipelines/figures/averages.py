"""Charts of a run's weight averages: loss and distance against their half-life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..common.indices import evenly_spaced
from ..evaluation.intervals import Estimate
from .chart import Axis, Chart, Curve, Mark, Panel, Rule
from .style import Look, color

DASHES = ("dot", "dash", "dashdot", "solid")  # of the validations that are shown, of those over training
FAINTEST = 0.3  # opacity of the first of them
ROOM = 0.2  # below and above the lowest loss of the last and of the first of them: those of too long averages are much larger


def losses_by_length(losses: pd.DataFrame, usual: int) -> Chart:
    """Describe the validation loss against the half-life at several steps of training.

    Args:
        losses: validation losses, one row per training step and one column per half-life in images.
        usual: half-life of the average that is usually taken, which is marked.
    """
    lengths, values = list(map(int, losses.columns)), losses.to_numpy(np.float64)
    marks: list[Mark] = [Rule(x=usual, text="usual")]
    skipped = int(len(losses) > len(DASHES))  # the first validation, of weights that have hardly learnt
    rows = skipped + evenly_spaced(len(losses) - skipped, len(DASHES))
    for part, dash, row in zip(np.linspace(FAINTEST, 1, len(rows)), DASHES[-len(rows) :], rows, strict=True):
        look = Look(color(0), dash, width=1 + part, opacity=part)
        marks.append(Curve(lengths, values[row], f"step {losses.index[row]:,.0f}", look, points=True))
    low, high = values[-1].min(), max(values[rows[0]].min(), np.median(values[-1]))
    limits = (low - ROOM * (high - low), high + ROOM * (high - low))
    return Chart((Panel(tuple(marks), _axis(lengths), Axis(limits=limits), "Validation loss"),), hover="closest")


def distances_by_length(distances: Mapping[int, Estimate], usual: int) -> Chart:
    """Describe the Fréchet distances of samples against the half-life.

    Args:
        distances: by half-life in images.
        usual: half-life of the average that is usually taken, which is marked.
    """
    measured = list(distances.values())
    ends = [each.low for each in measured], [each.high for each in measured]
    middles = [each.value for each in measured]
    curve = Curve(list(distances), middles, "Fréchet distance", Look(color(1)), points=True, quiet=True, y_interval=ends)
    marks = Rule(x=usual, text="usual"), curve
    return Chart((Panel(marks, _axis(list(distances)), Axis(), "Fréchet distance"),), hover="closest")


def _axis(half_lives: Sequence[int]) -> Axis:
    return Axis("Half-life in images", log=True, ticks={float(each): _length_in_words(each) for each in half_lives})


def _length_in_words(half_life: int) -> str:
    """Return what a half-life is called: one of a single image leaves the weights as they are after the last step."""
    if half_life == 1:
        return "raw"
    return f"{half_life // 1000:,}k" if half_life >= 10_000 and half_life % 1000 == 0 else f"{half_life:,}"
