"""The axes of a printed chart: scales, ticks, labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from .chart import Axis
from .print_text import NORMAL, SMALL, as_printed, fitting

GRID: dict[str, Any] = {"color": "#DDDDDD", "linewidth": 0.4}
LABELS = {"x": 6, "y": 5}  # at most, on a logarithmic axis
STEPS = [1, 2, 5, 10]  # multiples of a power of ten between labels
GAP = 2.0  # pixels at least between labels


def set_axis(axes: Axes, axis: Axis, which: Literal["x", "y"], size: tuple[float, float], outer: bool) -> None:
    """Set the scale, limits, ticks and name of one axis, once the marks are drawn.

    Args:
        which: "x" or "y".
        size: width and height of the panel in inches, with its labels across.
        outer: whether the axis lies at the edge of the figure, or is not shared with a panel that does: it has labels.
    """
    drawn = axes.xaxis if which == "x" else axes.yaxis
    width, height = size
    set_scale, set_limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    if axis.log:
        set_scale("log", nonpositive="mask")
    if axis.limits is not None:
        set_limits(*axis.limits)
    elif axis.from_zero:
        set_limits(0)
    _show_spines(axes, axis.shown, which)
    if not axis.shown:
        drawn.set_major_locator(NullLocator())
        return
    if axis.ticks is not None:
        names = [as_printed(fitting(name, SMALL, 0.35 * width)) for name in axis.ticks.values()]
        drawn.set_major_locator(FixedLocator(list(axis.ticks)))
        drawn.set_ticks(list(axis.ticks), labels=names)
    elif axis.log:
        low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
        drawn.set_major_locator(FixedLocator(log_ticks(low, high, LABELS[which])))
        drawn.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    else:
        drawn.set_major_locator(MaxNLocator("auto", steps=STEPS))
        drawn.set_major_formatter(FuncFormatter(lambda value, _: short(value, max(map(abs, drawn.get_view_interval())))))
    drawn.set_minor_locator(NullLocator())
    drawn.set_tick_params(labelsize=SMALL, length=2, width=0.6, pad=2)
    if which == "y" and axis.ticks is None:  # names beside bars need no lines, which would cross the numbers at their ends
        drawn.grid(True, **GRID)
    if outer and axis.title:
        title = fitting(axis.title, NORMAL, width if which == "x" else height)
        drawn.set_label_text(as_printed(title), fontsize=NORMAL)
        drawn.labelpad = 2
    if which == "x":
        drawn.set_tick_params(labelbottom=outer)
    else:
        drawn.set_tick_params(labelleft=outer)


def _show_spines(axes: Axes, shown: bool, which: Literal["x", "y"]) -> None:
    first, second = ("bottom", "top") if which == "x" else ("left", "right")
    axes.spines[first].set_visible(shown)
    axes.spines[second].set_visible(False)


def short(value: float, largest: float = 0.0) -> str:
    """Return a number as an axis says it (0.05, 250, 20k), in the unit of the largest one."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if max(abs(value), largest) >= 10 * factor and value:
            return f"{round(value / factor, 12):g}{unit}".replace("-", "−")
    return f"{round(value, 12):.6g}".replace("-", "−")


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` round numbers between two positive ones, for labels of a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    choices = [
        [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        for digits in (range(1, 10), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
    ]
    choices += [[10.0**power for power in range(first, last + 1) if power % every == 0] for every in (2, 3, 5, 10)]
    fitting_in = [[tick for tick in ticks if low <= tick <= high] for ticks in choices]
    chosen = next((ticks for ticks in fitting_in if len(ticks) <= most), fitting_in[-1])
    if len(chosen) >= 2:
        return chosen
    return [tick for tick in MaxNLocator(most - 1, steps=STEPS).tick_values(low, high) if low <= tick <= high]


def thin_labels(axes: Axes) -> None:
    """Leave out labels of the x axis that overlap others, or one of the y axis; the first and last are kept if they can be."""
    beside = [label.get_window_extent() for label in _seen(axes.get_yticklabels(), axes.get_ylim(), 1)]
    labels = _seen(axes.get_xticklabels(), axes.get_xlim(), 0)
    taken: list[tuple[float, float]] = []
    for label in labels[:1] + labels[:0:-1][:1] + labels[1:-1]:
        box = label.get_window_extent()
        if any(box.x0 < end + GAP and box.x1 > start - GAP for start, end in taken) or box.count_overlaps(beside):
            label.set_visible(False)
        else:
            taken.append((box.x0, box.x1))


def _seen(labels: Sequence[Text], limits: tuple[float, float], which: int) -> list[Text]:
    """Return the labels of ticks that are drawn, given the axis's limits and its number."""
    low, high = sorted(limits)
    return [
        label for label in labels if label.get_text() and label.get_visible() and low <= label.get_position()[which] <= high
    ]
