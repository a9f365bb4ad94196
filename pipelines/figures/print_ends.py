"""The names of printed curves at their ends, in place of a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from .chart import Curve
from .print_text import SMALL, as_printed, inches

LINE = 1.3 * SMALL  # points from one name to the next
ROOM = 4.0  # points between a curve and its name
LARGEST_SHARE = 0.28  # of the figure's width; with longer names a legend takes less room


def ends_fit(names: Sequence[str], width: float, height: float) -> bool:
    """Return whether there is room for the names beside a panel.

    Args:
        width: of the figure, in inches.
        height: of the panel, in inches.
    """
    widest = max((inches(name, SMALL) for name in names), default=np.inf)
    return widest < LARGEST_SHARE * width and len(names) * LINE < 72 * height


def add_end_labels(axes: Axes, curves: Sequence[Curve]) -> list[Annotation]:
    """Name curves at the right end of the longest of them, before the figure is laid out."""
    right = max((float(np.max(curve.x)) for curve in curves), default=0.0)
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "left", "va": "center", "fontsize": SMALL}
    return [
        axes.annotate(as_printed(curve.name), (right, float(curve.y[-1])), (ROOM, 0), color=curve.look.color, **style)
        for curve in curves
    ]


def move_apart(axes: Axes, names: Sequence[Annotation], dots: float) -> None:
    """Move the names of curves up and down, as little as possible, so that none lies on another or beyond the panel.

    Args:
        dots: of the figure, per inch.
    """
    if not names:
        return
    from scipy.optimize import isotonic_regression  # takes a third of a second to import

    pixels = dots / 72  # per point
    box = axes.get_window_extent()
    ends = np.array([axes.transData.transform(name.xy)[1] - box.y0 for name in names]) / pixels
    order = np.argsort(ends, kind="stable")
    steps = LINE * np.arange(len(names))
    low, high = LINE / 2, box.height / pixels - LINE / 2 - steps[-1]
    places = steps + np.clip(isotonic_regression(ends[order] - steps).x, low, max(low, high))
    for number, place in zip(order, places, strict=True):
        names[number].set_position((ROOM, place - ends[number]))
