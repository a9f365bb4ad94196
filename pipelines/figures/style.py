"""The common style of the figures: colours, dashes, and the thinning of long curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The palette of Okabe & Ito, which colour-blind people can distinguish, and two more for many runs.
GREY = "#8A8A8A"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", GREY, "#8A63D2", "#96613D")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MAX_POINTS = 2000  # per curve, as many as a screen can show


def color(index: int) -> str:
    """Return the colour with this index, cycling through COLORS."""
    return COLORS[index % len(COLORS)]


def dash(index: int) -> str:
    """Return the dash with this index, cycling through DASHES."""
    return DASHES[index % len(DASHES)]


@dataclass(frozen=True)
class Look:
    """How a mark is drawn; widths and sizes are in CSS pixels."""

    color: str = GREY
    dash: str = "solid"
    width: float = 2
    symbol: str = "circle"
    size: float = 6
    edge: str = ""
    """The colour of a marker's edge; none if empty."""
    opacity: float = 1


PLAIN = Look()
MARKING = Look(dash="dot", width=1.5)  # of what the user has chosen


def line_styles(runs: Sequence[str], groups: Mapping[str, str] | None = None) -> dict[str, Look]:
    """Return a look for each run's curves: a colour for each group, and dashes that distinguish the runs of a group.

    Args:
        runs: names, in the order of the legend.
        groups: each run's group by name; by default every run is its own group.
    """
    groups = groups or {name: name for name in runs}
    order = list(dict.fromkeys(groups[name] for name in runs))
    styles, members = {}, Counter[str]()
    for name in runs:
        number = order.index(groups[name])
        styles[name] = Look(color(number), dash(members[groups[name]] + number // len(COLORS)))
        members[groups[name]] += 1
    return styles


def decimate(count: int, at_most: int | None = None) -> NDArray[np.int64]:
    """Return at most ``at_most`` (default MAX_POINTS) of ``count`` indices, evenly spaced, including the first and last."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most or MAX_POINTS)).round().astype(np.int64))


def envelope(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return about MAX_POINTS indices of ``values``: the extremes of equally long segments, so that no spike is lost."""
    count = len(values)
    if count <= MAX_POINTS:
        return np.arange(count)
    length = -(-count // (MAX_POINTS // 2))
    stretches = np.pad(values, (0, -count % length), mode="edge").reshape(-1, length)
    starts = np.arange(len(stretches)) * length
    extremes = np.concatenate([starts + stretches.argmin(1), starts + stretches.argmax(1), [0, count - 1]])
    return np.unique(extremes.clip(0, count - 1))
