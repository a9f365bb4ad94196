"""Plotly figures and tables of training: curves, losses by timestep, and differences between the settings of runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ..common.text import plotly_text
from .style import LINEAR_AXIS, LOG_AXIS, decimate, envelope, line_styles, style_figure, titles_left, uid

MAX_COLUMNS = 500  # per heat map
AXES = {"step": "Training step", "images_seen": "Images seen", "seconds": "Training time in minutes"}
QUANTITIES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "psnr": "PSNR in dB",
    "ssim": "SSIM",
    "grad_norm": "Gradient norm",
    "lr": "Learning rate",
}
RECONSTRUCTION = ("psnr", "ssim")  # of held-out images, by an autoencoder
NOISY = ("loss", "grad_norm")  # vary from batch to batch; only these are smoothed
LINEAR = ("lr", *RECONSTRUCTION)  # always on a linear scale: the learning rate ends at 0


def smooth(x: NDArray[np.float64], y: NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """Return the exponential moving average of y along x, in which a point's weight halves every ``half_life`` units of x.

    The weights depend on distances in x rather than on the number of points, so the result does not depend on the logging
    interval. The start is bias-corrected (Kingma & Ba 2015, section 3). A half-life of 0 returns y. Points that are not finite
    are ignored.
    """
    if half_life <= 0 or len(y) == 0:
        return y
    times = pd.to_datetime(((x - x[0]) / half_life * 1e9).astype(np.int64), unit="ns")  # scaled to a half-life of 1 second
    values = pd.Series(np.where(np.isfinite(y), y, np.nan))
    return values.ewm(halflife="1s", times=times).mean().to_numpy()  # type: ignore[arg-type]  # times is missing in the stubs


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where values are missing."""
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)


def _along(table: pd.DataFrame, axis: str) -> NDArray[np.float64]:
    """Return the positions of the rows on an axis of AXES."""
    return _numbers(table, axis) / (60 if axis == "seconds" else 1)


def _curve(table: pd.DataFrame, axis: str, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the finite points of a curve from left to right."""
    x, y = _along(table, axis), _numbers(table, quantity)
    order = np.argsort(x, kind="stable")
    order = order[np.isfinite(x[order]) & np.isfinite(y[order])]
    return x[order], y[order]


def training_curves(
    runs: Mapping[str, pd.DataFrame],
    quantities: Sequence[str] = ("loss",),
    axis: str = "step",
    smoothing: float = 0.0,
    log: Collection[str] = (),
    groups: Mapping[str, str] | None = None,
) -> go.Figure:
    """Plot one panel per quantity, one above the other, and one curve per run: smoothed, with the logged values faint behind.

    The panels share their x axis, so that zooming into one zooms all.

    Args:
        runs: metrics by run name.
        quantities: keys of QUANTITIES; only those of NOISY are smoothed.
        axis: a key of AXES.
        smoothing: half-life as a share of the longest curve, 0 for none; the same for all curves, so that they are comparable.
            Curves are smoothed before they are thinned for drawing, so that they do not depend on the number of points drawn.
        log: "x" and "y" for logarithmic axes; quantities of LINEAR keep a linear y axis.
        groups: runs of the same group share a colour (:func:`line_styles`).
    """
    rows, gap = len(quantities), 52
    heights = [280] + [150] * (rows - 1)
    total = sum(heights) + gap * (rows - 1)
    figure = make_subplots(
        rows=rows,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=gap / total,
        row_heights=heights,
        subplot_titles=[QUANTITIES[quantity] for quantity in quantities],
    )
    styles = line_styles(list(runs), groups)
    named: set[str] = set()  # runs already in the legend
    for row, quantity in enumerate(quantities, start=1):
        curves = {name: _curve(table, axis, quantity) for name, table in runs.items()}
        half_life = smoothing * max((x[-1] - x[0] for x, _ in curves.values() if len(x)), default=0.0)
        for name, (x, y) in curves.items():
            if not len(x):
                continue
            label = plotly_text(f"{name} ({groups[name]})" if groups else name)
            common = {"name": label, "legendgroup": name, "line": styles[name]}
            shown = envelope(y)
            if half_life > 0 and quantity in NOISY:
                figure.add_scatter(
                    x=x[shown],
                    y=y[shown],
                    uid=uid(name, quantity, "raw"),
                    opacity=0.3,
                    showlegend=False,
                    hoverinfo="skip",
                    **common | {"line": styles[name] | {"width": 1, "dash": "solid"}},
                    row=row,
                    col=1,
                )
                y = smooth(x, y, half_life)
                shown = decimate(len(x))
            figure.add_scatter(
                x=x[shown],
                y=y[shown],
                uid=uid(name, quantity),
                mode="lines+markers" if len(shown) <= 30 else "lines",
                showlegend=name not in named,
                **common,
                row=row,
                col=1,
            )
            named.add(name)
        logarithmic = "y" in log and quantity not in LINEAR
        figure.update_yaxes(**(LOG_AXIS if logarithmic else LINEAR_AXIS), row=row, col=1)
    figure.update_xaxes(type="log" if "x" in log else "linear", showticklabels=True)
    figure.update_xaxes(title=AXES[axis], row=rows, col=1)
    titles_left(figure)
    style_figure(figure, total + 120, quantities, axis, sorted(log))
    figure.update_layout(hovermode="x unified", showlegend=True, legend={"y": 1 + 30 / total})  # above the first title
    return figure


def loss_by_timestep(
    runs: Mapping[str, Sequence[float]], num_timesteps: Mapping[str, int], groups: Mapping[str, str] | None = None
) -> go.Figure:
    """Plot the validation loss over timesteps, one step curve per run."""
    figure = go.Figure()
    styles = line_styles(list(runs), groups)
    for name, losses in runs.items():
        edges = np.linspace(0, num_timesteps[name], len(losses) + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        figure.add_scatter(
            x=middles, y=list(losses), name=plotly_text(name), uid=uid(name), line=styles[name] | {"shape": "hvh"}
        )
    figure.update_xaxes(title="Timestep t (0 is nearly clean)")
    figure.update_yaxes(title="Validation loss", **LOG_AXIS)
    style_figure(figure, 340, "timesteps")
    figure.update_layout(showlegend=True)
    return figure


def validations_by_timestep(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a run's metrics with a loss by timestep in as many bins as the latest one."""
    if "loss_by_timestep" not in table:
        return table[:0]
    lengths = table["loss_by_timestep"].map(lambda losses: len(losses) if isinstance(losses, list | np.ndarray) else 0)
    rows = table[lengths > 0]
    return rows[lengths[rows.index] == lengths[rows.index[-1]]] if len(rows) else rows


def loss_heat_maps(
    runs: Mapping[str, pd.DataFrame],
    num_timesteps: Mapping[str, int],
    axis: str = "step",
    log: Collection[str] = (),
    relative: bool = False,
) -> go.Figure:
    """Plot heat maps of the validation loss over training (x) and timesteps (y), one per run, with a common colour scale.

    Args:
        runs: metrics by run name, each with at least one row of :func:`validations_by_timestep`.
        num_timesteps: the length T of each run's schedule.
        axis: a key of AXES.
        log: "x" for a logarithmic x axis; the colour scale is always logarithmic.
        relative: divide by the latest loss of the same timesteps, which shows where the loss is still decreasing.
    """
    height, gap = 170, 52
    what = "loss ÷ newest" if relative else "loss"
    total = height * len(runs) + gap * (len(runs) - 1)
    titles = [plotly_text(name) for name in runs]
    hover = f"{AXES[axis].lower()} %{{x}}<br>t ≈ %{{y:.0f}}<br>{what} %{{customdata:.4g}}"
    figure = make_subplots(rows=len(runs), cols=1, shared_xaxes=True, vertical_spacing=gap / total, subplot_titles=titles)
    lowest, highest = np.inf, -np.inf
    for row, (title, (name, table)) in enumerate(zip(titles, runs.items(), strict=True), start=1):
        rows = validations_by_timestep(table)
        rows = rows.iloc[decimate(len(rows), MAX_COLUMNS)]
        losses = np.array(rows["loss_by_timestep"].tolist(), np.float64).T  # (bins, validations)
        with np.errstate(divide="ignore", invalid="ignore"):
            losses = losses / losses[:, -1:] if relative else losses
            levels = np.log10(losses)
        levels[~np.isfinite(levels)] = np.nan
        if np.isfinite(levels).any():
            lowest, highest = min(lowest, np.nanmin(levels)), max(highest, np.nanmax(levels))
        edges = np.linspace(0, num_timesteps[name], len(losses) + 1)
        figure.add_heatmap(
            x=_along(rows, axis),
            y=(edges[:-1] + edges[1:]) / 2,
            z=levels,
            customdata=losses,
            coloraxis="coloraxis",
            hovertemplate=f"{hover}<extra>{title}</extra>",
            uid=uid(name),
            row=row,
            col=1,
        )
    digits = (1, 1.1, 1.2, 1.5, 2, 3, 5) if relative else (1, 2, 5)
    ticks = [digit * 10.0**power for power in range(-12, 13) for digit in digits]
    figure.update_xaxes(type="log" if "x" in log else "linear", showticklabels=True)
    figure.update_xaxes(title=AXES[axis], row=len(runs), col=1)
    figure.update_yaxes(title="Timestep t", nticks=5)
    titles_left(figure)
    style_figure(figure, total + 130, list(runs), axis, sorted(log))
    figure.update_layout(
        hovermode="closest",
        coloraxis={
            "colorscale": "Cividis",
            "cmin": lowest if np.isfinite(lowest) else 0.0,
            "cmax": highest if np.isfinite(highest) else 1.0,
            "colorbar": {
                "orientation": "h",
                "yref": "container",
                "yanchor": "bottom",
                "y": 0,
                "thickness": 10,
                "tickvals": np.log10(ticks).tolist(),
                "ticktext": [f"{tick:g}" for tick in ticks],
            },
        },
    )
    return figure


def settings_table(settings: Mapping[str, Mapping[str, Any]], only_differences: bool = True) -> pd.DataFrame:
    """Return a table of settings as text, one row per setting (dotted names such as optimizer.lr) and one column per run."""
    flat = pd.json_normalize([dict(values) for values in settings.values()])
    flat.index = pd.Index(settings)
    table = flat.T.map(_as_text)
    return table[table.nunique(axis=1) > 1] if only_differences else table


def _as_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return "–" if value is None or value != value else str(value)
