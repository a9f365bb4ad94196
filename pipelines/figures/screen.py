"""Charts on a screen, drawn by Plotly."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np

from ..common.text import plotly_text
from .chart import NOWHERE, Band, Bars, Chart, Curve, Heat, Look, Mark, Note, Numbers, Panel, Rule
from .screen_axes import GAP, axis_name, axis_settings, color_axis, places

TOLD = 300  # characters under the pointer
LEGEND = 40  # pixels of a legend for which a figure has room
HIGHEST = 2000  # pixels of a legend: Plotly would give it half of the figure and a scroll bar


def on_screen(chart: Chart) -> dict[str, Any]:
    """Return Plotly's description of a chart, ``data`` and ``layout``.

    The height is in CSS pixels, and the legend grows upwards, away from the plot. Plotly's own classes would check every value
    each time a chart is drawn, which takes ten times as long as everything else; the tests check instead.
    """
    heights = [panel.height for panel in chart.panels[:: chart.columns]]
    total = sum(heights) + GAP * (chart.rows - 1)
    drawn = _Drawing(chart)
    for number, (panel, place) in enumerate(zip(chart.panels, places(chart, heights, total), strict=False)):
        drawn.add(number, panel, *place)
    marked = {"annotations": drawn.titles + drawn.notes, "shapes": drawn.shapes}
    key = [drawn.explain(mark) for mark in chart.key]
    return {"data": drawn.traces + key, "layout": drawn.axes | marked | _lay_out(chart, total)}


def as_json(value: object) -> str:
    """Return what :func:`on_screen` or :func:`changes` returned as JSON."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except ValueError:  # of a number that is not finite
        return json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: arrays in Plotly's compact form, null for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        content = base64.b64encode(value.astype("<f8").tobytes()).decode()
        return {"dtype": "f8", "bdata": content} | ({"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else {})
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def changes(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Return what ``Plotly.update`` needs to show one of several charts in place of another.

    Args:
        charts: with the same panels, and the same marks apart from their values.

    Returns:
        For each chart the values of the traces that are not the same in all charts ("data" and "traces"), and the places of
        rules and the texts of titles ("layout").
    """
    drawn = [[_trace(mark) for mark in _marks(chart) if not isinstance(mark, (Rule, Note))] for chart in charts]
    moving = [number for number, (first, *others) in enumerate(zip(*drawn, strict=True)) if not _same(first, others)]
    return [
        {
            "traces": moving,
            "data": {axis: [np.asarray(traces[number][axis], float).tolist() for number in moving] for axis in "xy"},
            "layout": _moving_layout(chart),
        }
        for chart, traces in zip(charts, drawn, strict=True)
    ]


def _marks(chart: Chart) -> list[Mark]:
    return [mark for panel in chart.panels for mark in panel.marks]


def _same(trace: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    return all(np.array_equal(trace[axis], other[axis], equal_nan=True) for other in others for axis in "xy")


def _moving_layout(chart: Chart) -> dict[str, Any]:
    rules = [mark for mark in _marks(chart) if isinstance(mark, Rule)]
    places = {
        f"shapes[{number}].{axis}{end}": getattr(rule, axis)
        for number, rule in enumerate(rules)
        for axis in "xy"
        for end in "01"
        if getattr(rule, axis) is not None
    }
    titles = [title for panel in chart.panels if (title := _title(panel))]
    return places | {f"annotations[{number}].text": title for number, title in enumerate(titles)}


def uid(*parts: str) -> str:
    """Return an identifier of a trace that stays the same when its figure is replaced, safe for Plotly's CSS class names."""
    return f"trace-{zlib.crc32(repr(parts).encode()):08x}"


def _title(panel: Panel) -> str:
    lines = [plotly_text(line) for line in (panel.title, panel.subtitle) if line]
    return "<br>".join(lines)


class _Drawing:
    """A figure while its panels are added.

    Attributes:
        traces, titles, notes, shapes, axes: what has been drawn.
    """

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.traces: list[dict[str, Any]] = []
        self.titles: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.shapes: list[dict[str, Any]] = []
        self.axes: dict[str, dict[str, Any]] = {}
        self.together = Counter(mark.name for mark in _marks(chart) if not isinstance(mark, (Rule, Note)))
        self.entries = {} if chart.key else chart.entries
        self.identities: Counter[tuple[str, ...]] = Counter()

    def add(self, number: int, panel: Panel, x: dict[str, Any], y: dict[str, Any]) -> None:
        """Draw a panel on a pair of axes."""
        chart, own = self.chart, (axis_name("x", number), axis_name("y", number))
        named = number >= (chart.rows - 1) * chart.columns or not chart.shared_x
        self.axes[own[0].replace("x", "xaxis")] = x | {"anchor": own[1]} | axis_settings(panel.x, "x", named)
        self.axes[own[1].replace("y", "yaxis")] = (
            y | {"anchor": own[0]} | axis_settings(panel.y, "y", nticks=4 if panel.height < 200 else 6)
        )
        if title := _title(panel):
            self.titles.append(_place_title(title, chart, x["domain"], y["domain"]))
        for mark in panel.marks:
            if isinstance(mark, Rule):
                self._add_rule(mark, *own)
            elif isinstance(mark, Note):
                self.notes.append(_note(mark, *own))
            else:
                self.traces.append(self._trace(mark, panel) | {"xaxis": own[0], "yaxis": own[1]})

    def explain(self, mark: Curve) -> dict[str, Any]:
        """Return the trace that is in the legend for a mark of the chart's key, and nowhere else."""
        key = {"name": plotly_text(mark.name), "showlegend": True, "uid": uid("key", mark.name)}
        return _trace(replace(mark, x=NOWHERE, y=NOWHERE, x_interval=None, y_interval=None)) | key

    def _add_rule(self, rule: Rule, x: str, y: str) -> None:
        """Draw a rule on the axes ``x`` and ``y``; its text in the legend, or else at a corner with the panel's edge."""
        look: dict[str, Any] = {"type": "line", "line": _line(rule.look)}
        text = {"text": plotly_text(rule.text), "showarrow": False}
        if rule.text and self.chart.legend:  # where the text could not lie on points
            look |= {"name": text["text"], "showlegend": True}
        if rule.x is not None:
            self.shapes.append(look | {"xref": x, "x0": rule.x, "x1": rule.x, "yref": f"{y} domain", "y0": 0, "y1": 1})
            text |= {"xref": x, "x": rule.x, "xanchor": "right"}
            text |= {"yref": f"{y} domain", "y": 1, "yanchor": "top"}
        if rule.y is not None:
            self.shapes.append(look | {"xref": f"{x} domain", "x0": 0, "x1": 1, "yref": y, "y0": rule.y, "y1": rule.y})
            text |= {"xref": f"{x} domain", "x": 0, "xanchor": "left"}
            text |= {"yref": y, "y": rule.y, "yanchor": "bottom"}
        if rule.text and not self.chart.legend:
            self.notes.append(text)

    def _trace(self, mark: Curve | Band | Bars | Heat, panel: Panel) -> dict[str, Any]:
        key = (mark.name, panel.title, type(mark).__name__, repr(getattr(mark, "quiet", False)))
        self.identities[key] += 1
        common: dict[str, Any] = {"name": plotly_text(mark.name), "showlegend": self.entries.get(mark.name) is mark}
        if self.together[mark.name] > 1:
            common["legendgroup"] = mark.name  # a click into the legend hides all of them
        if isinstance(mark, Heat):
            common = {"coloraxis": "coloraxis"}
        if self.chart.end_labels and isinstance(mark, Curve) and self.entries.get(mark.name) is mark:
            common |= {"meta": "end label", "x": list(mark.x), "y": list(mark.y)}  # as lists, which end_labels.js reads
        return _trace(mark) | common | {"uid": uid(*key, str(self.identities[key]))}


def _place_title(title: str, chart: Chart, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Put the titles of panels that lie one above the other at their left edge; of panels side by side, in their middle."""
    middle = {"x": 0, "xanchor": "left"} if chart.columns == 1 else {"x": sum(x) / 2, "xanchor": "center"}
    where = middle | {"xref": "paper", "y": y[1], "yref": "paper", "yanchor": "bottom"}
    return where | {
        "text": title,
        "showarrow": False,
        "font": {"size": 12 if any(one.subtitle for one in chart.panels) else 14},
    }


def _line(look: Look) -> dict[str, Any]:
    return {"color": look.color, "dash": look.dash, "width": look.width}


def _bars(values: Numbers, interval: tuple[Numbers, Numbers], curve: Curve) -> dict[str, Any]:
    """Return Plotly's error bars for an interval around values."""
    middle, (low, high) = np.asarray(values, float), (np.asarray(end, float) for end in interval)
    look = {"color": curve.look.color} | ({} if curve.line else {"thickness": curve.look.width, "width": 0})
    return {"type": "data", "symmetric": False, "array": high - middle, "arrayminus": middle - low, **look}


def _values(numbers: Numbers) -> Numbers:
    """Return lists as they are, which scripts of pages may read, and others as arrays, which are sent in compact form."""
    return list(numbers) if isinstance(numbers, (list, tuple, range)) else np.asarray(numbers, float)


@singledispatch
def _trace(mark: object) -> dict[str, Any]:
    """Return what Plotly needs to draw a mark."""
    raise TypeError(f"{type(mark).__name__} is no mark with values")


@_trace.register
def _(mark: Curve) -> dict[str, Any]:
    look = mark.look
    marker: dict[str, Any] = {"color": look.color, "size": look.size, "symbol": look.symbol}
    if look.edge:
        marker["line"] = {"color": look.edge, "width": 1.5}
    trace: dict[str, Any] = {
        "type": "scatter",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "mode": "+".join(name for name, on in (("lines", mark.line), ("markers", mark.points)) if on),
        "line": _line(look) | ({"shape": "hvh"} if mark.steps else {}),
        "marker": marker,
    }
    if look.opacity < 1:
        trace["opacity"] = look.opacity
    if mark.x_interval is not None:
        trace["error_x"] = _bars(mark.x, mark.x_interval, mark)
    if mark.y_interval is not None:
        trace["error_y"] = _bars(mark.y, mark.y_interval, mark)
    if mark.quiet:
        trace["hoverinfo"] = "skip"
    elif mark.about:
        trace |= {"text": [plotly_text(text, TOLD) for text in mark.about], "hovertemplate": "%{text}"}
    return trace


@_trace.register
def _(mark: Band) -> dict[str, Any]:
    around = {"x": np.concatenate([mark.x, mark.x[::-1]]), "y": np.concatenate([mark.high, mark.low[::-1]])}
    fill = {"fill": "toself", "fillcolor": mark.look.color, "opacity": 0.2, "line": {"width": 0}}
    return {"type": "scatter", "mode": "lines", "hoverinfo": "skip", **around, **fill}


@_trace.register
def _(mark: Bars) -> dict[str, Any]:
    x, y = (mark.length, mark.at) if mark.horizontal else (mark.at, mark.length)
    look = {"marker": {"color": mark.look.color}, "opacity": mark.look.opacity}
    return {
        "type": "bar",
        "x": _values(x),
        "y": _values(y),
        "orientation": "h" if mark.horizontal else "v",
        **look,
    }


@_trace.register
def _(mark: Heat) -> dict[str, Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.log10(mark.values)
    levels[~np.isfinite(levels)] = np.nan
    hover = f"%{{x}}, %{{y:.0f}}<br>{plotly_text(mark.about)}: %{{customdata:.4g}}<extra>{plotly_text(mark.name)}</extra>"
    return {
        "type": "heatmap",
        "x": _values(mark.x),
        "y": _values(mark.y),
        "z": levels,
        "customdata": mark.values,
        "hovertemplate": hover,
    }


def _note(note: Note, x: str, y: str) -> dict[str, Any]:
    """Return Plotly's description of a note on the axes ``x`` and ``y``."""
    where: dict[str, Any] = {"xref": f"{x} domain", "x": int(note.right), "xanchor": "right" if note.right else "left"}
    if note.y is None:
        where |= {"yref": f"{y} domain", "y": 1, "yanchor": "bottom", "yshift": 18 * note.line}
    else:
        where |= {"yref": y, "y": note.y, "yanchor": "middle"}
    font = {"size": 12} | ({"color": note.color} if note.color else {})
    return where | {"text": plotly_text(note.text), "showarrow": False, "font": font}


def _lay_out(chart: Chart, total: int) -> dict[str, Any]:
    """Return the height, margins and legend."""
    above = max(panel.notes_above for panel in chart.panels)
    titles = max((bool(panel.title) + bool(panel.subtitle) for panel in chart.panels[: chart.columns]), default=0)
    top, bottom = max(36, 12 + 18 * above), 8
    labels = 36 * any(panel.x.shown for panel in chart.panels) + LEGEND * chart.legend + 10 * (chart.colors is not None)
    layout: dict[str, Any] = {
        "height": total + top + bottom + labels,
        "margin": {"l": 8, "r": 8, "t": top, "b": bottom},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1 + (6 + 22 * titles) / total, "x": 0, "traceorder": "normal"}
        | {"maxheight": HIGHEST}  # live_figure.js makes room for it
        | ({"itemclick": False, "itemdoubleclick": False} if chart.key else {}),  # what a key explains has no trace of its own
        "showlegend": chart.legend,
        "meta": {"legend": LEGEND},
        "hovermode": chart.hover,
        "uirevision": repr(chart.zoom),
    }
    if bars := [mark for mark in _marks(chart) if isinstance(mark, Bars)]:
        layout |= {"barmode": "stack", "bargap": bars[0].gap}
    if chart.colors is not None:
        layout["coloraxis"] = color_axis(chart.colors)
    return layout
