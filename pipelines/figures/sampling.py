"""Charts of sampling: step lengths, distances between generations, and convergence of samplers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .chart import Axis, Chart, Curve, Mark, Panel, Rule
from .style import Look, color, dash


def step_lengths(moved: Mapping[str, NDArray[np.float64]], marked: int | None = None) -> Chart:
    """Describe how far each sampling step moved, one line per quantity.

    Args:
        moved: (S,) root mean square distances by name, from noise to sample.
        marked: a number of steps taken, 0 … S, to mark.
    """
    marks: list[Mark] = [] if marked is None else [Rule(x=marked)]
    for number, (name, lengths) in enumerate(moved.items()):
        steps = np.arange(1, len(lengths) + 1)
        marks.append(Curve(steps, lengths, name, Look(color(number), dash(number)), points=len(lengths) <= 30))
    longest = max(map(len, moved.values()))
    x = Axis("steps taken: from noise to sample", limits=(-0.03 * longest, 1.03 * longest))
    return Chart((Panel(tuple(marks), x, Axis("RMS change", from_zero=True), height=180),))


class LogSnrAxis:
    """The axis of the log-SNR, from noise to sample, on which pure noise and the sample lie beside the finite levels.

    Args:
        log_snr: all levels to be shown; −inf is pure noise, inf the sample.
    """

    def __init__(self, log_snr: NDArray[np.float64]) -> None:
        levels = np.unique(log_snr)
        finite = levels[np.isfinite(levels)]
        low, high = (float(finite[0]), float(finite[-1])) if len(finite) else (0.0, 0.0)
        room = max(1.0, 0.08 * (high - low))
        self._ends = low - room, high + room
        # None near the ends, where it would overlap with "noise" and "sample".
        ticks = {float(tick): f"{tick:g}" for tick in np.linspace(low, high, 5).round()[1:-1] + 0.0}
        ends = levels[np.isinf(levels)]
        named = zip(self.position(ends).tolist(), np.where(ends > 0, "sample", "noise").tolist(), strict=True)
        self.axis = Axis("log-SNR, from noise to sample", ticks=ticks | dict(named))

    def position(self, log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where on the axis levels lie."""
        return np.clip(log_snr, *self._ends)


def column_distances(tables: Mapping[str, pd.DataFrame]) -> Chart:
    """Describe MSE and SSIM of generations, each relative to the same reference, over the noise level.

    Args:
        tables: columns log_snr (increasing; −inf is pure noise, inf the sample), MSE and SSIM, by name.
    """
    axis = LogSnrAxis(np.concatenate([table["log_snr"].to_numpy(np.float64) for table in tables.values()]))
    panels = []
    for quantity in ("MSE", "SSIM"):
        marks: list[Mark] = []
        for number, (name, table) in enumerate(tables.items()):
            x = axis.position(table["log_snr"].to_numpy(np.float64))
            marks.append(Curve(x, table[quantity].to_numpy(), name, Look(color(number), dash(number)), points=True))
        panels.append(Panel(tuple(marks), axis.axis, Axis(quantity, from_zero=True), height=210))
    return Chart(tuple(panels), columns=2)


def convergence(errors: Mapping[str, Mapping[int, float]]) -> Chart:
    """Describe the distance of samplers from the exact solution over network calls; the slope is the order of convergence.

    Args:
        errors: root mean square error by number of network calls, by sampler.
    """
    marks = []
    for number, (name, found) in enumerate(errors.items()):
        calls = sorted(found)
        label, end = name, calls[-3:]  # the order shows only in the last points
        if len(end) > 1:
            slope = np.polyfit(np.log(end), np.log([found[count] for count in end]), 1)[0]
            label += f": falls with calls^{slope:.1f}"
        look = Look(color(number), dash(number))
        marks.append(Curve(calls, [found[count] for count in calls], label, look, points=True))
    x, y = Axis("Network calls", log=True, fine=True), Axis("Distance from the exact solution", log=True, fine=True)
    return Chart((Panel(tuple(marks), x, y, height=260),), hover="closest", zoom=("convergence",))
