"""Arrays and tables in, plotly figures out. Nothing here samples, trains, reads files or knows the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

# Okabe & Ito's colours, told apart by colour-blind people too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
DASHES = ("solid", "dash", "dot", "dashdot")
MAX_POINTS = 2000  # of one curve; a screen shows no more

AXES = {"step": "Training step", "images_seen": "Images seen", "seconds": "Training time in seconds"}
QUANTITIES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "grad_norm": "Gradient norm",
    "lr": "Learning rate",
}


def color(index: int) -> str:
    """The index-th colour, starting over after the last."""
    return COLORS[index % len(COLORS)]


def _styled(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="x",
        uirevision="keep",  # zoom and pan survive new data
    )
    return figure


def smooth(x: NDArray[np.float64], y: NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """Exponential moving average along ``x``: a point's influence halves every ``half_life`` units of x.

    The weight depends on distances in x, not on how many points there are, so it means the same on every axis and for
    every logging interval; the start is corrected for what is not there yet (Kingma & Ba 2015, section 3). A half-life of
    0 returns y. Points that are not finite are passed over.
    """
    if half_life <= 0 or len(y) == 0:
        return y
    keep = np.exp2(-np.diff(x, prepend=x[0]) / half_life)
    result, total, weight = np.empty(len(y)), 0.0, 0.0
    for i, (value, kept) in enumerate(zip(y, keep, strict=True)):
        total, weight = total * kept, weight * kept
        if np.isfinite(value):
            total, weight = total + value, weight + 1.0
        result[i] = total / weight if weight else np.nan
    return result


def decimate(count: int) -> NDArray[np.int64]:
    """At most MAX_POINTS of ``count`` indices, evenly spread, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_POINTS)).round().astype(np.int64))


def training_curves(
    runs: Mapping[str, pd.DataFrame],
    quantity: str = "loss",
    axis: str = "step",
    smoothing: float = 0.0,
    log_y: bool = False,
) -> go.Figure:
    """One curve a run: the logged values faint behind, smoothed ones in front.

    Args:
        runs: metrics by run name.
        quantity, axis: keys of QUANTITIES and AXES.
        smoothing: half-life as a share of the longest curve, 0 for none; the same for all, so that they stay comparable.
            Smoothed first, then thinned out for drawing, so that the curve does not depend on how many points are drawn.
        log_y: logarithmic vertical axis.
    """
    figure = go.Figure()
    curves = {}
    for name, table in runs.items():
        rows = table.dropna(subset=[quantity, axis]) if {quantity, axis} <= set(table.columns) else table[:0]
        if len(rows):
            curves[name] = rows[axis].to_numpy(np.float64), rows[quantity].to_numpy(np.float64)
    half_life = smoothing * max((x[-1] - x[0] for x, _ in curves.values()), default=0.0)
    for number, name in enumerate(runs):
        if name not in curves:
            continue
        x, y = curves[name]
        shown = decimate(len(x))
        line = {"color": color(number), "width": 2, "dash": DASHES[number // len(COLORS) % len(DASHES)]}
        if half_life > 0:
            figure.add_scatter(
                x=x[shown], y=y[shown], line=line | {"width": 1}, opacity=0.3, showlegend=False, hoverinfo="skip", name=name
            )
            y = smooth(x, y, half_life)
        mode = "lines+markers" if len(shown) <= 30 else "lines"
        figure.add_scatter(x=x[shown], y=y[shown], mode=mode, line=line, name=name)
    figure.update_xaxes(title=AXES[axis])
    figure.update_yaxes(title=QUANTITIES[quantity], type="log" if log_y else "linear")
    return _styled(figure, 420)


def loss_by_timestep(runs: Mapping[str, Sequence[float]], num_timesteps: Mapping[str, int]) -> go.Figure:
    """The validation loss over the range of timesteps, one stepped line a run."""
    figure = go.Figure()
    for number, (name, losses) in enumerate(runs.items()):
        edges = np.linspace(0, num_timesteps[name], len(losses) + 1)
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2, y=list(losses), name=name, line={"color": color(number), "shape": "hvh"}
        )
    figure.update_xaxes(title="Timestep t (0 is nearly clean)")
    figure.update_yaxes(title="Validation loss", type="log")
    return _styled(figure, 340)


def schedule_curves(
    schedules: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], marked: float | None = None
) -> go.Figure:
    """alpha, sigma and log-SNR over the timesteps.

    Args:
        schedules: (alpha, sigma) tables by name.
        marked: a timestep to mark on all three.
    """
    figure = make_subplots(rows=1, cols=3, subplot_titles=("alpha", "sigma", "log-SNR"))
    for number, (name, (alpha, sigma)) in enumerate(schedules.items()):
        with np.errstate(divide="ignore"):
            curves = (alpha, sigma, 2 * np.log(alpha / sigma))
        for column, y in enumerate(curves, start=1):
            shown = np.where(np.isfinite(y), y, np.nan)
            figure.add_scatter(
                y=shown, name=name, legendgroup=name, showlegend=column == 1, line={"color": color(number)}, row=1, col=column
            )
    if marked is not None:
        figure.add_vline(x=marked, line={"dash": "dot", "color": "#8A8A8A", "width": 1.5})
    figure.update_xaxes(title="timestep t")
    _styled(figure, 330)
    figure.update_layout(margin={"t": 60}, legend={"y": 1.12})
    return figure


def pixel_histogram(values: NDArray[np.float32]) -> go.Figure:
    """The distribution of pixel values beside the density of N(0, 1)."""
    edges = np.linspace(-4, 4, 65)
    density, _ = np.histogram(np.clip(values, -4, 4), bins=edges, density=True)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure()
    figure.add_bar(x=middles, y=density, name="pixels of x_t", marker={"color": COLORS[5]})
    normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    figure.add_scatter(x=middles, y=normal, name="N(0, 1)", line={"color": COLORS[1], "width": 2})
    figure.update_xaxes(title="pixel value", range=[-4, 4])
    figure.update_yaxes(title="density", range=[0, max(0.5, min(2.0, float(density.max()) * 1.05))])
    figure.update_layout(bargap=0)
    return _styled(figure, 330)
