"""Drawing a chart with Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .chart import Band, Bars, Chart, ColorScale, Curve, Heat, Note, Panel, Rule
from .print_axes import set_axis, thin_labels
from .print_ends import add_end_labels, ends_fit, move_apart
from .print_text import NORMAL, SMALL, as_printed, fitting, inches

PIXEL = 0.5  # points of a CSS pixel of a line or marker
PANEL_PIXEL = 0.0072  # inches of a CSS pixel of a panel's height
ROW = 0.14  # inches of a line of the legend or of a title
DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (4, 1.6)),
    "dot": (0, (1, 1.4)),
    "dashdot": (0, (4, 1.4, 1, 1.4)),
    "longdash": (0, (8, 2)),
}
MARKERS = {"circle": "o", "circle-open": "o", "diamond": "D", "square": "s", "triangle-up": "^", "x": "x", "star": "*"}


def draw_chart(figure: Figure, chart: Chart, width: float, below: float) -> None:
    """Draw a chart on an empty figure and set the figure's size.

    Args:
        width: of the figure, in inches.
        below: inches to leave free below the chart.
    """
    ends = _named_at_ends(chart, width)
    entries = {} if ends or not chart.legend else _entries(chart)
    labels, columns = _legend(list(entries), width)
    above = -(-len(labels) // columns) * ROW + 0.05 if labels else 0.0
    heights = [panel.height * PANEL_PIXEL for panel in chart.panels[:: chart.columns]]
    height = below + above + sum(heights) + sum(_around(chart, row) for row in range(chart.rows)) + 0.5 * bool(chart.colors)
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained", rect=(0, below / height, 1, 1 - below / height), h_pad=0.03, w_pad=0.03)
    axes = figure.subplots(
        chart.rows,
        chart.columns,
        squeeze=False,
        sharex="col" if chart.shared_x else False,
        sharey="row" if chart.shared_y else False,
        gridspec_kw={"height_ratios": heights},
    )
    for place in axes.flat[len(chart.panels) :]:
        place.set_axis_off()
    for number, (panel, place) in enumerate(zip(chart.panels, axes.flat, strict=False)):
        _draw_panel(place, panel, chart.colors, width / chart.columns, explained=bool(entries))
        lowest, leftmost = number // chart.columns == chart.rows - 1, number % chart.columns == 0
        size = width / chart.columns, panel.height * PANEL_PIXEL
        set_axis(place, panel.x, "x", size, outer=lowest or not chart.shared_x)
        set_axis(place, panel.y, "y", size, outer=leftmost or not chart.shared_y)
    if labels:
        _add_legend(figure, [_handle(mark) for mark in entries.values()], labels, columns)
    names = add_end_labels(axes.flat[0], ends)
    if chart.colors is not None:
        _add_colors(figure, chart.colors, axes)
    figure.draw_without_rendering()  # lays out, so that labels that would overlap can be told
    move_apart(axes.flat[0], names, figure.dpi)
    for place in axes.flat:
        thin_labels(place)


def _around(chart: Chart, row: int) -> float:
    """Return the height of what surrounds the panels of a row, in inches: titles, labels and the axis's name."""
    panels = chart.panels[row * chart.columns : (row + 1) * chart.columns]
    above = max(bool(panel.title) + bool(panel.subtitle) + panel.notes_above for panel in panels)
    labelled = any(panel.x.shown for panel in panels) and (row == chart.rows - 1 or not chart.shared_x)
    below = 0.31 if labelled else 0.03
    return above * ROW + below + 0.06


def _named_at_ends(chart: Chart, width: float) -> list[Curve]:
    """Return the curves to name at their ends; none where a legend takes less room."""
    if not chart.end_labels:
        return []
    first = chart.panels[0]
    curves = [mark for mark in first.marks if isinstance(mark, Curve) and chart.entries.get(mark.name) is mark]
    return curves if ends_fit([curve.name for curve in curves], width, first.height * PANEL_PIXEL) else []


def _entries(chart: Chart) -> Mapping[str, Curve | Bars | Rule]:
    """Return what the legend explains: curves and bars, and rules with a text, which could lie on a curve elsewhere."""
    named: dict[str, Curve | Bars | Rule] = {mark.name: mark for mark in chart.key} or {**chart.entries}
    rules = (mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Rule) and mark.text)
    return named | {rule.text: rule for rule in rules}


def _legend(names: Sequence[str], width: float) -> tuple[list[str], int]:
    """Return the legend's labels, and how many of them fit beside each other."""
    labels = [fitting(name, SMALL, width - 0.5) for name in names]
    room = max((inches(label, SMALL) for label in labels), default=0.0) + 0.42
    return labels, max(1, min(len(labels), int(width / room)))


def _add_legend(figure: Figure, handles: list[Line2D | Patch], labels: list[str], columns: int) -> None:
    legend = figure.legend(
        handles,
        [str(number) for number in range(len(labels))],  # Matplotlib would leave out names that begin with an underscore
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        handlelength=2.4,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.25,
        borderpad=0,
        borderaxespad=0.2,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(as_printed(label))


def _handle(mark: Curve | Bars | Rule) -> Line2D | Patch:
    look = mark.look
    if isinstance(mark, Bars):
        return Patch(facecolor=look.color, alpha=look.opacity)
    if isinstance(mark, Rule):
        return Line2D([], [], **_rule_style(mark))
    return Line2D([], [], **_curve_style(mark))


def _curve_style(curve: Curve) -> dict[str, Any]:
    """Return Matplotlib's settings of a curve's line and markers."""
    look = curve.look
    style: dict[str, Any] = {"color": look.color, "alpha": look.opacity, "linewidth": look.width * PIXEL}
    style["linestyle"] = DASHES[look.dash] if curve.line else "none"
    style["drawstyle"] = "steps-mid" if curve.steps else "default"
    if curve.points:
        edge = look.color if look.symbol in ("x", "circle-open") else look.edge or "none"
        face = "white" if look.symbol == "circle-open" else look.color
        style |= {"marker": MARKERS[look.symbol], "markersize": look.size * PIXEL, "markeredgecolor": edge}
        style |= {"markerfacecolor": face, "markeredgewidth": 0.8}
    return style


def _draw_panel(axes: Axes, panel: Panel, colors: ColorScale | None, width: float, explained: bool) -> None:
    """Draw a panel's title and marks; rules without their texts if a legend explains them."""
    if panel.title:
        title = "\n".join(fitting(line, NORMAL, width - 0.2) for line in (panel.title, panel.subtitle) if line)
        axes.set_title("\n".join(map(as_printed, title.split("\n"))), loc="left", fontsize=NORMAL, pad=3)
    stacked: dict[float, float] = {}
    for mark in panel.marks:
        if isinstance(mark, Bars):
            _draw_bars(axes, mark, stacked)
        elif isinstance(mark, Heat):
            norm = LogNorm(colors.low, colors.high) if colors else None
            values = np.ma.masked_invalid(np.where(mark.values > 0, mark.values, np.nan))
            edges = _edges(np.asarray(mark.x, float)), _edges(np.asarray(mark.y, float))
            axes.pcolormesh(*edges, values, norm=norm, cmap="cividis", rasterized=True)
        elif isinstance(mark, Rule):
            _draw_rule(axes, replace(mark, text="") if explained else mark)
        else:
            _draw(mark, axes)


@singledispatch
def _draw(mark: object, axes: Axes) -> None:
    """Draw a mark that does not depend on others."""
    raise TypeError(f"{type(mark).__name__} cannot be drawn alone")


@_draw.register
def _(mark: Curve, axes: Axes) -> None:
    bars: dict[str, Any] = {
        "color": mark.look.color,
        "linewidth": mark.look.width * PIXEL if not mark.line else 0.7,
        "zorder": 1.9,
    }
    if mark.x_interval is not None:
        axes.hlines(mark.y, *mark.x_interval, **bars)
    if mark.y_interval is not None:
        axes.vlines(mark.x, *mark.y_interval, **bars)
    axes.plot(mark.x, mark.y, **_curve_style(mark))


@_draw.register
def _(mark: Band, axes: Axes) -> None:
    axes.fill_between(np.asarray(mark.x), np.asarray(mark.low), np.asarray(mark.high), color=mark.look.color, alpha=0.2, lw=0)


def _rule_style(rule: Rule) -> dict[str, Any]:
    look = rule.look
    return {"color": look.color, "linestyle": DASHES[look.dash], "linewidth": look.width * PIXEL}


def _draw_rule(axes: Axes, mark: Rule) -> None:
    style = _rule_style(mark)
    if mark.x is not None:
        axes.axvline(mark.x, **style)
    if mark.y is not None:
        axes.axhline(mark.y, **style)
    if not mark.text:
        return
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, "color": "#555555"}
    look["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}
    text = as_printed(mark.text)
    if mark.x is not None:
        axes.annotate(text, (mark.x, 1), (-2, -1), xycoords=("data", "axes fraction"), ha="right", va="top", **look)
    else:
        axes.annotate(text, (0, mark.y), (2, 1.5), xycoords=("axes fraction", "data"), ha="left", va="bottom", **look)


@_draw.register
def _(mark: Note, axes: Axes) -> None:
    x = 1 if mark.right else 0
    look: dict[str, Any] = {"ha": "right" if mark.right else "left", "fontsize": SMALL, "color": mark.color or "black"}
    if mark.y is None:
        place: dict[str, Any] = {"xytext": (0, 2 + 9.5 * mark.line), "textcoords": "offset points", "va": "bottom"}
        axes.annotate(as_printed(mark.text), (x, 1), xycoords="axes fraction", **place, **look)
    else:
        axes.annotate(as_printed(mark.text), (x, mark.y), xycoords=("axes fraction", "data"), va="center", **look)


def _draw_bars(axes: Axes, bars: Bars, stacked: dict[float, float]) -> None:
    """Draw bars on top of those drawn before; ``stacked`` is the height reached at every position."""
    at = np.asarray(bars.at, float)
    start = [stacked.get(position, 0.0) for position in at.tolist()]
    thickness = (1 - bars.gap) * (float(np.diff(at).min()) if len(at) > 1 else 1.0)
    look: dict[str, Any] = {"color": bars.look.color, "alpha": bars.look.opacity, "linewidth": 0}
    if bars.horizontal:
        axes.barh(at, np.asarray(bars.length), thickness, left=start, **look)
    else:
        axes.bar(at, np.asarray(bars.length), thickness, bottom=start, **look)
    stacked |= {position: low + length for position, low, length in zip(at.tolist(), start, bars.length, strict=True)}


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges of cells, halfway between their centres."""
    if len(centres) == 1:
        return centres + np.array([-0.5, 0.5]) * max(1.0, abs(centres[0]))
    middles = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[centres[0] - (middles[0] - centres[0])], middles, [centres[-1] + (centres[-1] - middles[-1])]])


def _add_colors(figure: Figure, colors: ColorScale, axes: NDArray[Any]) -> None:
    """Add the colour scale below the panels."""
    meshes = axes.flat[0].collections
    bar = figure.colorbar(meshes[0], ax=list(axes.flat), orientation="horizontal", aspect=50, pad=0.02, shrink=0.9)
    ticks = [tick for tick in colors.ticks if colors.low <= tick <= colors.high] or [colors.low]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL, width=0.6, length=2, pad=2)
    bar.outline.set_linewidth(0.4)
    bar.set_label(as_printed(colors.title), fontsize=NORMAL, labelpad=1)
