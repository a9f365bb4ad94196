"""Plotly figures of evaluation results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..common.text import plotly_text
from ..evaluation.results import FIGURES, SMALLER_IS_BETTER, Evaluation, pareto_front
from ..evaluation.verdict import TITLES, Verdict
from .style import DASHES, color, line_styles, style_figure

APART = 1.015  # horizontal factor between series, so that their intervals do not hide each other
ROOM = 1.25  # smallest ratio of neighbouring tick labels on a cost axis
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")  # tell series of the same colour and dash apart
COSTS = {"network_calls": "Network calls", "seconds": "Seconds", "memory": "MiB of memory"}  # per image
FLOORS = {  # columns with figures of real images: line style, label and its position
    "floor": ("dot", "real against real", "top left"),  # where samples of few steps lie far above it
    "decoded": ("dash", "real, after the autoencoder", "bottom right"),
}
INTERVALS = (  # caption of figures of samples
    "Bars and brackets: 95 % confidence intervals. Dotted: held-out images instead of samples, equally many if available."
)
LABEL = 32  # characters of a run's name beside its bar
TERMS = {"prior": "Prior", "denoising": "Denoising", "decoder": "Decoder"}


def quality_against_cost(table: pd.DataFrame, figure: str, cost: str) -> go.Figure:
    """Plot a figure of samples against their cost, with intervals, the Pareto front and the real-against-real floor.

    Colours distinguish runs, or the samplers of a single run; dashes distinguish samplers, and symbols distinguish series whose
    colour and dash are the same, because there are more of them than colours or dashes.

    Args:
        table: see :func:`pipelines.evaluation.results.samples_table`; of one dataset and judge.
        figure: a key of FIGURES.
        cost: a key of COSTS.
    """
    drawn = go.Figure()
    shown = table.dropna(subset=[figure, cost])
    runs = list(dict.fromkeys(shown["run"]))
    samplers = list(dict.fromkeys(shown["sampler"]))
    alike: Counter[tuple[str, str]] = Counter()
    series = list(shown.groupby(["run", "sampler", "guidance", "images", "seed"], sort=False))
    for number, ((run, sampler, guidance, images, seed), part) in enumerate(series):
        points = part.sort_values(cost)
        # Series with equal numbers of network calls would hide each other's intervals.
        apart = APART ** (number - (len(series) - 1) / 2) if cost == "network_calls" else 1.0
        own = shown[shown["run"] == run]
        told = f", guidance {guidance:g}" if own["guidance"].nunique() > 1 else ""
        told += f", {images:,} samples" if own["images"].nunique() > 1 else ""
        told += f", seed {seed}" if own["seed"].nunique() > 1 else ""
        hue = samplers.index(sampler) if len(runs) == 1 else runs.index(run)
        look = color(hue), DASHES[samplers.index(sampler) % len(DASHES)]
        style = {
            "line": {"color": look[0], "dash": look[1]},
            "marker": {"size": 8, "symbol": SYMBOLS[alike[look] % len(SYMBOLS)]},
        }
        alike[look] += 1
        errors = {"array": points[f"{figure}_high"] - points[figure], "arrayminus": points[figure] - points[f"{figure}_low"]}
        name = plotly_text(f"{run}, {sampler}{told}")
        hover = {"customdata": points[cost], "hovertemplate": "%{customdata:.3g}: %{y:.4g}"}
        x = points[cost] * apart
        drawn.add_scatter(x=x, y=points[figure], error_y=errors, name=name, mode="lines+markers", **style, **hover)
    front = pareto_front(shown, cost, figure)
    same_scale = cost != "seconds" or shown["machine"].nunique() == 1
    if figure in SMALLER_IS_BETTER and len(front) > 1 and same_scale:
        wide = {"color": "#8A8A8A", "width": 8}
        drawn.add_scatter(x=front[cost], y=front[figure], name="Pareto front", line=wide, opacity=0.35, mode="lines")
    for floor, (dash, told, place) in FLOORS.items():
        values = sorted(set(shown[f"{figure}_{floor}"].dropna()), reverse=place.startswith("top"))
        for value in values:
            text = told if value == values[0] else ""  # only the outermost line is labelled
            line = {"dash": dash, "color": "#8A8A8A"}
            drawn.add_hline(y=value, line=line, annotation_text=text, annotation_position=place)
    ends = np.log10([shown[cost].min() / 1.5, shown[cost].max() * 1.5])
    drawn.update_xaxes(title=f"{COSTS[cost]} per image", type="log", range=ends, dtick="D2", tickformat="~g")
    if cost == "network_calls":
        drawn.update_xaxes(tickvals=_ticks(shown[cost]))
    drawn.update_yaxes(title=FIGURES[figure], rangemode="tozero")
    style_figure(drawn, 420, figure, cost)
    return drawn.update_layout(hovermode="closest")


def comparison(table: pd.DataFrame) -> str:
    """Return one sentence on what was compared with what, and in which features.

    Args:
        table: as for :func:`quality_against_cost`.
    """
    counts = " or ".join(f"{count:,}" for count in sorted(set(table["images"])))
    judge, _, size = max(table["features"], key=len).partition(", images made ")  # named where it resizes images
    judge += f", which sees every image at {size} pixels" if size else ""
    return f"{counts} samples per point, compared with training images in feature space ({judge})."


def _ticks(costs: pd.Series[float]) -> list[float]:
    """Return the costs to label, rising: as many of the measured ones as fit, with priority to the most frequent."""
    asked = Counter(costs)
    ticks: list[float] = []
    for value in sorted(asked, key=lambda cost: (-asked[cost], cost)):
        if all(max(value / other, other / value) >= ROOM for other in ticks):
            ticks.append(value)
    return sorted(ticks)


def loss_bands(losses: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Plot the loss on held-out images by noise level, one curve with a 95 % band per run.

    Args:
        losses: results of kind "loss" (:attr:`Result.found`) by run name.
    """
    figure = go.Figure()
    styles = line_styles(list(losses))
    for name, found in losses.items():
        t = np.array(found["timesteps"])
        around = {"x": np.concatenate([t, t[::-1]]), "y": np.concatenate([found["high"], found["low"][::-1]])}
        band = {"fill": "toself", "fillcolor": styles[name]["color"], "opacity": 0.2, "line": {"width": 0}}
        figure.add_scatter(**around, **band, showlegend=False, hoverinfo="skip", legendgroup=name, mode="lines")
        figure.add_scatter(x=t, y=found["mean"], name=plotly_text(name), legendgroup=name, line=styles[name])
    figure.update_xaxes(title="timestep of a cosine schedule: from image to noise")
    figure.update_yaxes(title="error in v", type="log", dtick="D2", tickformat="~g")
    return style_figure(figure, 380)


def bound_terms(bounds: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Plot the bound on the negative log-likelihood in bits per dimension as a stack of its three parts.

    Args:
        bounds: results of kind "bound" (:attr:`Result.found`) by run name.
    """
    figure = go.Figure()
    names = list(range(len(bounds)))  # the labels of different runs may be equal
    for number, (term, title) in enumerate(TERMS.items()):
        bits = [float(np.sum(found[term])) for found in bounds.values()]
        figure.add_bar(y=names, x=bits, name=title, orientation="h", marker={"color": color(number)})
    ends = [found["total"] for found in bounds.values()]
    error = {"array": [total["high"] - total["value"] for total in ends], "color": "#8A8A8A"}
    totals = [total["value"] for total in ends]
    figure.add_scatter(y=names, x=totals, error_x=error, mode="markers", name="Bound", marker={"color": "#8A8A8A"})
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="bits per dimension")
    figure.update_yaxes(tickvals=names, ticktext=[plotly_text(name, LABEL) for name in bounds])
    return style_figure(figure, 150 + 45 * len(names))


def leanings(verdict: Verdict) -> go.Figure:
    """Plot for which of two models each figure speaks, and how clearly: a row per figure, the first model to the left.

    Differences are in half-widths of their intervals, drawn on a scale of inverse hyperbolic sines: as they are near 0, and
    compressed where a difference is beyond doubt.
    """
    figure = go.Figure()
    found = {name: leaning for name in verdict.differences if (leaning := verdict.leaning(name)) is not None}
    for row, (name, leaning) in enumerate(found.items()):
        better = verdict.better(name)
        hue = "#8A8A8A" if better is None else color(int(better == verdict.second))
        low, value, high = np.arcsinh([leaning.low, leaning.value, leaning.high])
        bars = {"array": [high - value], "arrayminus": [value - low], "thickness": 4, "width": 0}
        text = plotly_text(f"{TITLES[name]}: {verdict.sentence(name)}")
        marker = {"color": hue, "size": 11, "symbol": "circle-open" if better is None else "circle", "line": {"width": 2}}
        hover = {"name": text, "hovertemplate": "%{fullData.name}<extra></extra>"}
        figure.add_scatter(x=[value], y=[-row], error_x=bars, marker=marker, mode="markers", **hover)
        label = {"x": 0, "xref": "paper", "xanchor": "left", "y": 0.36 - row, "yanchor": "middle", "showarrow": False}
        figure.add_annotation(text=plotly_text(TITLES[name]), font={"size": 12}, **label)
    figure.add_vline(x=0, line={"color": "#8A8A8A", "width": 1})
    for x, text, number in ((0, f"← {verdict.first} better", 0), (1, f"{verdict.second} better →", 1)):
        where = {"x": x, "xanchor": "right" if x else "left", "y": 1, "yanchor": "bottom", "yshift": 0 if x else 18}
        look = {"xref": "paper", "yref": "paper", "showarrow": False, "font": {"color": color(number)}}
        figure.add_annotation(text=plotly_text(text), **where, **look)
    widest = max([2.5, *(abs(end) + 0.3 for one in found.values() for end in np.arcsinh([one.low, one.high]))])
    figure.update_xaxes(range=[-widest, widest], showticklabels=False, zeroline=False, showgrid=False, fixedrange=True)
    figure.update_yaxes(range=[0.6 - len(found), 0.6], showticklabels=False, zeroline=False, showgrid=False, fixedrange=True)
    style_figure(figure, 70 + 42 * len(found), verdict.first, verdict.second)
    return figure.update_layout(showlegend=False, hovermode="closest", margin={"l": 8, "r": 8, "t": 48, "b": 8})


def newest(evaluations: Sequence[Evaluation], kind: str) -> dict[str, dict[str, Any]]:
    """Return each run's latest result of a kind, by name; runs without one are left out."""
    return {evaluation.name: evaluation.of_kind(kind)[-1].found for evaluation in evaluations if evaluation.of_kind(kind)}
