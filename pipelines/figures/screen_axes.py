"""Plotly's axes: where those of each panel are, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..common.text import plotly_text
from .chart import Axis, Chart, ColorScale

GAP = 52  # pixels between rows of panels, for labels and titles
LABEL = 32  # characters of a label beside an axis


def places(chart: Chart, heights: Sequence[int], total: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the x and the y axis of each cell, row by row: where it is, and which axis it shares its range with."""
    gap = (0.06 if chart.shared_y else 0.13) if chart.columns > 1 else 0
    width = (1 - gap * (chart.columns - 1)) / chart.columns
    for row, height in enumerate(heights):
        top = 1 - (sum(heights[:row]) + GAP * row) / total
        for column in range(chart.columns):
            x: dict[str, Any] = {"domain": [column * (width + gap), column * (width + gap) + width]}
            y: dict[str, Any] = {"domain": [max(0, top - height / total), top]}
            if chart.shared_x and row < chart.rows - 1:
                x["matches"] = axis_name("x", (chart.rows - 1) * chart.columns + column)
            if chart.shared_y and column:
                y["matches"] = axis_name("y", row * chart.columns)
            yield x, y


def axis_name(axis: str, number: int) -> str:
    """Return how Plotly refers to the x or y axis of a panel."""
    return f"{axis}{number + 1}" if number else axis


def axis_settings(axis: Axis, which: str, named: bool = True, nticks: int = 6) -> dict[str, Any]:
    """Return Plotly's settings of an axis."""
    if not axis.shown:
        hidden = {"showticklabels": False, "zeroline": False, "showgrid": False, "fixedrange": True}
        return hidden | ({"range": axis.limits} if axis.limits else {})
    settings: dict[str, Any] = {"type": "log" if axis.log else "linear", "showticklabels": True}
    if axis.title and named:
        settings["title"] = {"text": plotly_text(axis.title)}
    if axis.log:
        settings |= {"tickformat": "~g"} | ({"dtick": "D2"} if axis.fine else {"nticks": 3} if which == "y" else {})
    elif which == "y":
        settings |= {"tickformat": "~g", "nticks": nticks}
    if axis.ticks is not None:
        settings |= {"tickvals": list(axis.ticks), "tickangle": 0}
        settings["ticktext"] = [plotly_text(text, LABEL) for text in axis.ticks.values()]
    if axis.limits is not None:
        settings["range"] = np.log10(axis.limits).tolist() if axis.log else axis.limits
    if axis.from_zero:
        settings["rangemode"] = "tozero"
    return settings


def color_axis(colors: ColorScale) -> dict[str, Any]:
    """Return Plotly's settings of the scale of all heat maps."""
    bar = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "thickness": 10}
    ticks = {"tickvals": np.log10(colors.ticks).tolist(), "ticktext": [f"{tick:g}" for tick in colors.ticks]}
    low, high = np.log10([colors.low, colors.high]).tolist()
    return {"colorscale": "Cividis", "cmin": low, "cmax": high, "colorbar": bar | ticks}
