"""The common style of the figures: colours, dashes and axes, and the thinning of long curves."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

# The palette of Okabe & Ito, which colour-blind people can distinguish.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MAX_POINTS = 2000  # per curve, as many as a screen can show
LOG_AXIS = {"type": "log", "tickformat": "~g", "nticks": 3}  # more labels would overlap on an axis of one or two decades
LINEAR_AXIS = {"type": "linear", "tickformat": "~g", "nticks": 6}


def color(index: int) -> str:
    """Return the colour with this index, cycling through COLORS."""
    return COLORS[index % len(COLORS)]


def line_styles(runs: Sequence[str], groups: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return a line style for each run: a colour for each group, and dashes that distinguish the runs of a group.

    Args:
        runs: names, in the order of the legend.
        groups: each run's group by name; by default every run is its own group.
    """
    groups = groups or {name: name for name in runs}
    order = list(dict.fromkeys(groups[name] for name in runs))
    styles, members = {}, Counter[str]()
    for name in runs:
        number = order.index(groups[name])
        dash = DASHES[(members[groups[name]] + number // len(COLORS)) % len(DASHES)]
        styles[name] = {"color": color(number), "dash": dash, "width": 2}
        members[groups[name]] += 1
    return styles


def style_figure(figure: go.Figure, height: int, *zoom: object) -> go.Figure:
    """Apply the common style to a figure and return it; the legend grows upwards, away from the plot.

    Args:
        height: in CSS pixels.
        zoom: identifies what the axes show; the user's zoom survives new data while it stays the same.
    """
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="x",
        uirevision=repr(zoom),
    )
    return figure


def titles_left(figure: go.Figure) -> None:
    """Move the titles of subplots from the centre to the left edge."""
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})


def uid(*parts: str) -> str:
    """Return an identifier of a trace that stays the same when its figure is replaced, safe for Plotly's CSS class names."""
    return f"trace-{zlib.crc32(repr(parts).encode()):08x}"


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
