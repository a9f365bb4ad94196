"""Charts on a screen, drawn by Plotly."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..common.text import plotly_text
from .chart import Axis, Band, Bars, Chart, ColorScale, Curve, Heat, Look, Mark, Note, Numbers, Panel, Rule

GAP = 52  # pixels between rows of panels, for labels and titles
LABEL = 32  # characters of a label beside an axis
TOLD = 300  # characters under the pointer


def on_screen(chart: Chart) -> go.Figure:
    """Draw a chart with Plotly; its ``layout.height`` is in CSS pixels, and the legend grows upwards, away from the plot."""
    heights = [panel.height for panel in chart.panels[:: chart.columns]]
    total = sum(heights) + GAP * (chart.rows - 1)
    figure = make_subplots(
        rows=chart.rows,
        cols=chart.columns,
        shared_xaxes=chart.shared_x,
        shared_yaxes=chart.shared_y,
        vertical_spacing=GAP / total if chart.rows > 1 else None,
        horizontal_spacing=(0.06 if chart.shared_y else 0.13) if chart.columns > 1 else None,
        row_heights=heights,
        subplot_titles=[_title(panel) for panel in chart.panels],
    )
    _place_titles(figure, chart)
    drawn = _Drawing(figure, chart)
    for number, panel in enumerate(chart.panels):
        drawn.add(panel, number // chart.columns + 1, number % chart.columns + 1)
    _lay_out(figure, chart, total)
    return figure


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
            "data": {axis: [traces[number][axis] for number in moving] for axis in "xy"},
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


def _place_titles(figure: go.Figure, chart: Chart) -> None:
    """Put the titles of panels that lie one above the other at their left edge; of panels side by side, in their middle."""
    figure.update_annotations(font={"size": 12 if any(panel.subtitle for panel in chart.panels) else 14})
    if chart.columns == 1:
        figure.update_annotations(x=0, xanchor="left")


class _Drawing:
    """A figure while its marks are added."""

    def __init__(self, figure: go.Figure, chart: Chart) -> None:
        self.figure = figure
        self.chart = chart
        self.together = Counter(
            mark.name for panel in chart.panels for mark in panel.marks if not isinstance(mark, (Rule, Note))
        )
        self.entries = chart.entries
        self.identities: Counter[tuple[str, ...]] = Counter()

    def add(self, panel: Panel, row: int, column: int) -> None:
        """Draw a panel."""
        place = {"row": row, "col": column}
        for mark in panel.marks:
            if isinstance(mark, Rule):
                _add_rule(self.figure, mark, place)
            elif isinstance(mark, Note):
                _add_note(self.figure, mark, place)
            else:
                self._add_trace(mark, panel, place)
        self.figure.update_xaxes(**_axis(panel.x, "x", named=row == self.chart.rows or not self.chart.shared_x), **place)
        self.figure.update_yaxes(**_axis(panel.y, "y", nticks=4 if panel.height < 200 else 6), **place)

    def _add_trace(self, mark: Curve | Band | Bars | Heat, panel: Panel, place: dict[str, int]) -> None:
        key = (mark.name, panel.title, type(mark).__name__, repr(getattr(mark, "quiet", False)))
        self.identities[key] += 1
        common = {"name": plotly_text(mark.name), "showlegend": self.entries.get(mark.name) is mark}
        if self.together[mark.name] > 1:
            common["legendgroup"] = mark.name  # a click into the legend hides all of them
        if isinstance(mark, Heat):
            common = {"coloraxis": "coloraxis"}
        if self.chart.end_labels and isinstance(mark, Curve) and self.entries.get(mark.name) is mark:
            common |= {"meta": "end label", "x": list(mark.x), "y": list(mark.y)}  # as lists, which end_labels.js reads
        self.figure.add_trace(_trace(mark) | common | {"uid": uid(*key, str(self.identities[key]))}, **place)


def _line(look: Look) -> dict[str, Any]:
    return {"color": look.color, "dash": look.dash, "width": look.width}


def _bars(values: Numbers, interval: tuple[Numbers, Numbers], curve: Curve) -> dict[str, Any]:
    """Return Plotly's error bars for an interval around values."""
    middle, (low, high) = np.asarray(values, float), (np.asarray(end, float) for end in interval)
    look = {"color": curve.look.color} | ({} if curve.line else {"thickness": curve.look.width, "width": 0})
    return {"type": "data", "symmetric": False, "array": high - middle, "arrayminus": middle - low, **look}


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
        "x": mark.x,
        "y": mark.y,
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
    return {"type": "bar", "x": x, "y": y, "orientation": "h" if mark.horizontal else "v", **look}


@_trace.register
def _(mark: Heat) -> dict[str, Any]:
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.log10(mark.values)
    levels[~np.isfinite(levels)] = np.nan
    hover = f"%{{x}}, %{{y:.0f}}<br>{plotly_text(mark.about)}: %{{customdata:.4g}}<extra>{plotly_text(mark.name)}</extra>"
    return {"type": "heatmap", "x": mark.x, "y": mark.y, "z": levels, "customdata": mark.values, "hovertemplate": hover}


def _add_rule(figure: go.Figure, rule: Rule, place: dict[str, int]) -> None:
    told = {"annotation_text": plotly_text(rule.text), "annotation_position": rule.place} if rule.text else {}
    if rule.x is not None:
        figure.add_vline(x=rule.x, line=_line(rule.look), exclude_empty_subplots=False, **told, **place)
    if rule.y is not None:
        figure.add_hline(y=rule.y, line=_line(rule.look), exclude_empty_subplots=False, **told, **place)


def _add_note(figure: go.Figure, note: Note, place: dict[str, int]) -> None:
    trace = figure.get_subplot(**place)
    x, y = (axis.plotly_name.replace("axis", "") for axis in (trace.xaxis, trace.yaxis))
    where: dict[str, Any] = {"xref": f"{x} domain", "x": int(note.right), "xanchor": "right" if note.right else "left"}
    if note.y is None:
        where |= {"yref": f"{y} domain", "y": 1, "yanchor": "bottom", "yshift": 18 * note.line}
    else:
        where |= {"yref": y, "y": note.y, "yanchor": "middle"}
    font = {"size": 12} | ({"color": note.color} if note.color else {})
    figure.add_annotation(text=plotly_text(note.text), showarrow=False, font=font, **where)


def _axis(axis: Axis, which: str, named: bool = True, nticks: int = 6) -> dict[str, Any]:
    """Return Plotly's settings of an axis."""
    if not axis.shown:
        hidden = {"showticklabels": False, "zeroline": False, "showgrid": False, "fixedrange": True}
        return hidden | ({"range": axis.limits} if axis.limits else {})
    settings: dict[str, Any] = {"type": "log" if axis.log else "linear", "showticklabels": True}
    if axis.title and named:
        settings["title"] = plotly_text(axis.title)
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


def _lay_out(figure: go.Figure, chart: Chart, total: int) -> None:
    """Set the height, margins and legend."""
    marks = _marks(chart)
    above = max(panel.notes_above for panel in chart.panels)
    titles = max((bool(panel.title) + bool(panel.subtitle) for panel in chart.panels[: chart.columns]), default=0)
    top, bottom = max(36, 12 + 18 * above), 8
    labels = 36 * any(panel.x.shown for panel in chart.panels) + 40 * chart.legend + 10 * (chart.colors is not None)
    figure.update_layout(
        height=total + top + bottom + labels,
        margin={"l": 8, "r": 8, "t": top, "b": bottom},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1 + (6 + 22 * titles) / total, "x": 0, "traceorder": "normal"},
        showlegend=chart.legend,
        hovermode=chart.hover,
        uirevision=repr(chart.zoom),
    )
    bars = [mark for mark in marks if isinstance(mark, Bars)]
    if bars:
        figure.update_layout(barmode="stack", bargap=bars[0].gap)
    if chart.colors is not None:
        figure.update_layout(coloraxis=_color_axis(chart.colors))


def _color_axis(colors: ColorScale) -> dict[str, Any]:
    bar = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "thickness": 10}
    ticks = {"tickvals": np.log10(colors.ticks).tolist(), "ticktext": [f"{tick:g}" for tick in colors.ticks]}
    low, high = np.log10([colors.low, colors.high]).tolist()
    return {"colorscale": "Cividis", "cmin": low, "cmax": high, "colorbar": bar | ticks}
