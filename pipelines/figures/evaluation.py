"""What has been measured of runs, as plotly figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..evaluation.results import FIGURES, Evaluation, pareto_front
from .style import DASHES, color, style_figure

SMALLER_IS_BETTER = ("frechet_distance", "kernel_distance", "closer_than_held_out")
APART = 1.015  # times further right is each next series, so that its intervals are seen
ROOM = 1.25  # times further right is the next number on an axis of costs, at least
SYMBOLS = ("circle", "diamond", "square", "triangle-up")  # of what one run with one sampler was asked for otherwise
COSTS = {"network_calls": "Network calls", "seconds": "Seconds", "memory": "MiB of memory"}  # of one image
FLOORS = {  # columns of figures of real images: how they are drawn, what they are called, where that is written
    "floor": ("dot", "real against real", "top left"),  # where few steps lie far above it
    "decoded": ("dash", "real, after the autoencoder", "bottom right"),
}
INTERVALS = (  # what figures of samples show
    "Bars and brackets: 95 %. Dotted: held-out images in place of samples, as many where there are as many."
)
TERMS = {"prior": "Prior", "steps": "Denoising steps", "decoder": "To 256 levels"}


def quality_against_cost(table: pd.DataFrame, figure: str, cost: str) -> go.Figure:
    """A figure of samples over what they cost, with intervals, the Pareto front and the real-against-real floor.

    Colours are those of the runs, or, of a single run, those of its samplers.

    Args:
        table: see :func:`pipelines.evaluation.results.samples_table`; of the same data and judge.
        figure: a key of FIGURES.
        cost: a key of COSTS.
    """
    drawn = go.Figure()
    shown = table.dropna(subset=[figure, cost])
    runs = list(dict.fromkeys(shown["run"]))
    samplers = list(dict.fromkeys(shown["sampler"]))
    asked: Counter[object] = Counter()
    series = list(shown.groupby(["run", "sampler", "guidance", "images", "seed"], sort=False))
    for number, ((run, sampler, guidance, images, seed), part) in enumerate(series):
        points = part.sort_values(cost)
        # As many network calls for all would hide one interval behind another.
        apart = APART ** (number - (len(series) - 1) / 2) if cost == "network_calls" else 1.0
        own = shown[shown["run"] == run]
        told = f", guidance {guidance:g}" if own["guidance"].nunique() > 1 else ""
        told += f", {images:,} samples" if own["images"].nunique() > 1 else ""
        told += f", seed {seed}" if own["seed"].nunique() > 1 else ""
        hue = samplers.index(sampler) if len(runs) == 1 else runs.index(run)
        line = {"color": color(hue), "dash": DASHES[samplers.index(sampler) % len(DASHES)]}
        style = {"line": line, "marker": {"size": 8, "symbol": SYMBOLS[asked[run, sampler] % len(SYMBOLS)]}}
        asked[run, sampler] += 1
        errors = {"array": points[f"{figure}_high"] - points[figure], "arrayminus": points[figure] - points[f"{figure}_low"]}
        name = f"{run}, {sampler}{told}"
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
            text = told if value == values[0] else ""  # the outermost one says it for all
            line = {"dash": dash, "color": "#8A8A8A"}
            drawn.add_hline(y=value, line=line, annotation_text=text, annotation_position=place)
    ends = np.log10([shown[cost].min() / 1.5, shown[cost].max() * 1.5])
    drawn.update_xaxes(title=f"{COSTS[cost]} an image", type="log", range=ends, dtick="D2", tickformat="~g")
    if cost == "network_calls":
        drawn.update_xaxes(tickvals=_ticks(shown[cost]))
    drawn.update_yaxes(title=FIGURES[figure], rangemode="tozero")
    style_figure(drawn, 420, figure, cost)
    return drawn.update_layout(hovermode="closest")


def _ticks(costs: pd.Series[float]) -> list[float]:
    """The very numbers that were asked for, the most frequent first, as many as have room beside each other."""
    asked = Counter(costs)
    ticks: list[float] = []
    for value in sorted(asked, key=lambda cost: (-asked[cost], cost)):
        if all(max(value / other, other / value) >= ROOM for other in ticks):
            ticks.append(value)
    return sorted(ticks)


def loss_bands(losses: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Loss by level of noise on held-out images, each run with its 95 % band.

    Args:
        losses: what was found by the kind "loss", by name.
    """
    figure = go.Figure()
    for number, (name, found) in enumerate(losses.items()):
        t = np.array(found["timesteps"])
        around = {"x": np.concatenate([t, t[::-1]]), "y": np.concatenate([found["high"], found["low"][::-1]])}
        band = {"fill": "toself", "fillcolor": color(number), "opacity": 0.2, "line": {"width": 0}}
        figure.add_scatter(**around, **band, showlegend=False, hoverinfo="skip", legendgroup=name, mode="lines")
        figure.add_scatter(x=t, y=found["mean"], name=name, legendgroup=name, line={"color": color(number)})
    figure.update_xaxes(title="timestep of a cosine schedule: from image to noise")
    figure.update_yaxes(title="error in v", type="log", dtick="D2", tickformat="~g")
    return style_figure(figure, 380)


def bound_terms(bounds: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """The bound on the negative log-likelihood in bits per dimension, its three parts on top of each other.

    Args:
        bounds: what was found by the kind "likelihood", by name.
    """
    figure = go.Figure()
    names = list(bounds)
    for number, (term, title) in enumerate(TERMS.items()):
        bits = [float(np.sum(found[term])) for found in bounds.values()]
        figure.add_bar(y=names, x=bits, name=title, orientation="h", marker={"color": color(number)})
    ends = [found["total"] for found in bounds.values()]
    error = {"array": [total["high"] - total["value"] for total in ends], "color": "#8A8A8A"}
    totals = [total["value"] for total in ends]
    figure.add_scatter(y=names, x=totals, error_x=error, mode="markers", name="Bound", marker={"color": "#8A8A8A"})
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="bits per dimension")
    return style_figure(figure, 150 + 45 * len(names))


def newest(evaluations: Sequence[Evaluation], kind: str) -> dict[str, dict[str, Any]]:
    """What was last found by a kind of measurement, by the run's name; runs without one are left out."""
    return {evaluation.name: evaluation.of_kind(kind)[-1].found for evaluation in evaluations if evaluation.of_kind(kind)}
