"""Arrays and tables in, plotly figures and tables out. Nothing here samples, trains, reads files or knows the dashboard."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

# Okabe & Ito's colours, told apart by colour-blind people too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MAX_POINTS = 2000  # of one curve; a screen shows no more
MAX_COLUMNS = 500  # of a heat map

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
NOISY = ("loss", "grad_norm")  # what differs from batch to batch; the others are drawn as they are
LOG_AXIS = {"type": "log", "tickformat": "~g", "nticks": 3}  # more labels would overlap between one and two powers of ten
LINEAR_AXIS = {"type": "linear", "tickformat": "~g", "nticks": 6}
LINEAR = ("lr", *RECONSTRUCTION)  # on a linear scale even where the others are logarithmic: it ends at 0


def color(index: int) -> str:
    """The index-th colour, starting over after the last."""
    return COLORS[index % len(COLORS)]


def line_styles(runs: Sequence[str], groups: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """A colour for each group, and dashes that tell the runs of a group apart.

    Args:
        runs: names, in the order of the legend.
        groups: each run's group by name; every run is a group of its own by default.
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


def styled(figure: go.Figure, height: int, *zoom: object) -> go.Figure:
    """The looks that all figures share; the legend grows upwards, away from the plot.

    Args:
        height: CSS pixels.
        zoom: what the axes show; a zoom survives new data for as long as this stays the same.
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
    """Move the titles of subplots from the middle to the left edge."""
    figure.update_annotations(x=0, xanchor="left", font={"size": 14})


def _uid(*parts: str) -> str:
    """What tells a trace from the others while its figure is replaced; Plotly makes names of CSS classes of it."""
    return f"trace-{zlib.crc32(repr(parts).encode()):08x}"


def smooth(x: NDArray[np.float64], y: NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """Exponential moving average along ``x``: a point's influence halves every ``half_life`` units of x.

    The weight depends on distances in x, not on how many points there are, so it means the same on every axis and for
    every logging interval; the start is corrected for what is not there yet (Kingma & Ba 2015, section 3). A half-life of
    0 returns y. Points that are not finite are passed over.
    """
    if half_life <= 0 or len(y) == 0:
        return y
    times = pd.to_datetime(((x - x[0]) / half_life * 1e9).astype(np.int64), unit="ns")  # a half-life is a second to pandas
    values = pd.Series(np.where(np.isfinite(y), y, np.nan))
    return values.ewm(halflife="1s", times=times).mean().to_numpy()  # type: ignore[arg-type]  # the stubs forget times


def decimate(count: int, at_most: int | None = None) -> NDArray[np.int64]:
    """At most ``at_most`` (MAX_POINTS) of ``count`` indices, evenly spread, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most or MAX_POINTS)).round().astype(np.int64))


def envelope(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """About MAX_POINTS indices of ``values`` in order, the extremes of equal stretches: no spike is lost."""
    count = len(values)
    if count <= MAX_POINTS:
        return np.arange(count)
    length = -(-count // (MAX_POINTS // 2))
    stretches = np.pad(values, (0, -count % length), mode="edge").reshape(-1, length)
    starts = np.arange(len(stretches)) * length
    extremes = np.concatenate([starts + stretches.argmin(1), starts + stretches.argmax(1), [0, count - 1]])
    return np.unique(extremes.clip(0, count - 1))


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where it has none."""
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)


def _along(table: pd.DataFrame, axis: str) -> NDArray[np.float64]:
    """Where the rows are on an axis of AXES."""
    return _numbers(table, axis) / (60 if axis == "seconds" else 1)


def _curve(table: pd.DataFrame, axis: str, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of a curve from left to right, those that are numbers."""
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
    """One plot a quantity above each other, one curve a run: the logged values faint behind, smoothed ones in front.

    Zooming into one plot shows the same part of training in the others.

    Args:
        runs: metrics by run name.
        quantities: keys of QUANTITIES; only those of NOISY are smoothed.
        axis: a key of AXES.
        smoothing: half-life as a share of the longest curve, 0 for none; the same for all, so that they stay comparable.
            Smoothed first, then thinned out for drawing, so that the curve does not depend on how many points are drawn.
        log: "x" and "y" for logarithmic axes; those of LINEAR have none.
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
    named: set[str] = set()  # in the legend
    for row, quantity in enumerate(quantities, start=1):
        curves = {name: _curve(table, axis, quantity) for name, table in runs.items()}
        half_life = smoothing * max((x[-1] - x[0] for x, _ in curves.values() if len(x)), default=0.0)
        for name, (x, y) in curves.items():
            if not len(x):
                continue
            label = f"{name} ({groups[name]})" if groups else name
            common = {"name": label, "legendgroup": name, "line": styles[name]}
            shown = envelope(y)
            if half_life > 0 and quantity in NOISY:
                figure.add_scatter(
                    x=x[shown],
                    y=y[shown],
                    uid=_uid(name, quantity, "raw"),
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
                uid=_uid(name, quantity),
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
    styled(figure, total + 120, quantities, axis, sorted(log))
    figure.update_layout(hovermode="x unified", showlegend=True, legend={"y": 1 + 30 / total})  # above the first title
    return figure


def loss_by_timestep(
    runs: Mapping[str, Sequence[float]], num_timesteps: Mapping[str, int], groups: Mapping[str, str] | None = None
) -> go.Figure:
    """The validation loss over the range of timesteps, one stepped line a run."""
    figure = go.Figure()
    styles = line_styles(list(runs), groups)
    for name, losses in runs.items():
        edges = np.linspace(0, num_timesteps[name], len(losses) + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        figure.add_scatter(x=middles, y=list(losses), name=name, uid=_uid(name), line=styles[name] | {"shape": "hvh"})
    figure.update_xaxes(title="Timestep t (0 is nearly clean)")
    figure.update_yaxes(title="Validation loss", **LOG_AXIS)
    styled(figure, 340, "timesteps")
    figure.update_layout(showlegend=True)
    return figure


def validations_by_timestep(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run's metrics that carry a loss by timestep, as many numbers as the newest has."""
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
    """The validation loss over training (across) and timesteps (up), one heat map a run, the same colours for all.

    Args:
        runs: metrics by run name, each with at least one row of :func:`validations_by_timestep`.
        num_timesteps: the length T of each run's schedule.
        axis: a key of AXES.
        log: "x" for a logarithmic axis of training; the colours always follow the logarithm of the loss.
        relative: divide by the newest loss of the same timesteps, so that what is still being learnt stands out.
    """
    height, gap = 170, 52
    what = "loss ÷ newest" if relative else "loss"
    total = height * len(runs) + gap * (len(runs) - 1)
    figure = make_subplots(rows=len(runs), cols=1, shared_xaxes=True, vertical_spacing=gap / total, subplot_titles=list(runs))
    lowest, highest = np.inf, -np.inf
    for row, (name, table) in enumerate(runs.items(), start=1):
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
            hovertemplate=f"{AXES[axis].lower()} %{{x}}<br>t ≈ %{{y:.0f}}<br>{what} %{{customdata:.4g}}<extra>{name}</extra>",
            uid=_uid(name),
            row=row,
            col=1,
        )
    digits = (1, 1.1, 1.2, 1.5, 2, 3, 5) if relative else (1, 2, 5)
    ticks = [digit * 10.0**power for power in range(-12, 13) for digit in digits]
    figure.update_xaxes(type="log" if "x" in log else "linear", showticklabels=True)
    figure.update_xaxes(title=AXES[axis], row=len(runs), col=1)
    figure.update_yaxes(title="Timestep t", nticks=5)
    titles_left(figure)
    styled(figure, total + 130, list(runs), axis, sorted(log))
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
    """Settings, nested ones by dotted name such as optimizer.lr, in rows; whose they are in columns; everything as text."""
    flat = pd.json_normalize([dict(values) for values in settings.values()])
    flat.index = pd.Index(settings)
    table = flat.T.map(_as_text)
    return table[table.nunique(axis=1) > 1] if only_differences else table


def _as_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return "–" if value is None or value != value else str(value)


def schedule_curves(schedules: Mapping[str, Mapping[str, NDArray[np.float64]]], marked: int) -> go.Figure:
    """What the schedules look like over the timesteps, one plot a quantity, two a row.

    Args:
        schedules: by name, (T,) tables by quantity, the same quantities for all; beta has a logarithmic axis, and values
            that are not finite are left out.
        marked: the timestep to mark on every curve.
    """
    quantities = list(next(iter(schedules.values())))
    rows = -(-len(quantities) // 2)
    figure = make_subplots(rows=rows, cols=2, subplot_titles=quantities, vertical_spacing=0.3 / rows, horizontal_spacing=0.12)
    for number, (name, tables) in enumerate(schedules.items()):
        line = {"color": color(number), "dash": DASHES[number % len(DASHES)], "width": 2}
        for index, quantity in enumerate(quantities):
            place = {"row": index // 2 + 1, "col": index % 2 + 1}
            y = np.where(np.isfinite(tables[quantity]), tables[quantity], np.nan)
            figure.add_scatter(y=y, name=name, legendgroup=name, showlegend=index == 0, line=line, **place)
            dot = {"color": color(number), "size": 10, "line": {"color": "white", "width": 1.5}}
            common = {"legendgroup": name, "showlegend": False, "hoverinfo": "skip"}
            figure.add_scatter(x=[marked], y=y[marked : marked + 1], name=name, mode="markers", marker=dot, **common, **place)
            if quantity == "beta":
                figure.update_yaxes(**LOG_AXIS, **place)
    figure.add_vline(x=marked, line={"dash": "dot", "color": "#8A8A8A", "width": 1.5})
    figure.update_xaxes(title="Timestep t", row=rows)
    figure.update_xaxes(range=[-15, len(y) + 14])
    figure.update_annotations(font={"size": 14})
    styled(figure, 260 * rows + 60, "schedules")
    figure.update_layout(legend={"y": 1.02 + 30 / (260 * rows)})  # above the titles
    return figure


def pixel_histograms(values: Mapping[str, NDArray[np.float32]]) -> go.Figure:
    """The distribution of pixel values of every picture, each beside the density of N(0, 1).

    The axes are the same whatever the values are, so that nothing jumps while they change: bars end at a density of 1.
    """
    edges = np.linspace(-4, 4, 41)
    middles = (edges[:-1] + edges[1:]) / 2
    normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    titles = [f"{name}<br>mean {pixels.mean():+.2f}, std {pixels.std():.2f}" for name, pixels in values.items()]
    figure = make_subplots(rows=1, cols=len(values), shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    for number, (name, pixels) in enumerate(values.items()):
        density, _ = np.histogram(np.clip(pixels, -4, 4), bins=edges, density=True)
        place = {"row": 1, "col": number + 1}
        figure.add_bar(x=middles, y=density, name=name, marker={"color": color(number)}, opacity=0.6, showlegend=False, **place)
        gaussian = {"color": "#8A8A8A", "width": 2.5}
        figure.add_scatter(x=middles, y=normal, name="N(0, 1)", line=gaussian, showlegend=not number, **place)
    figure.update_xaxes(title="Pixel value", range=[-4, 4])
    figure.update_yaxes(range=[0, 1])
    figure.update_annotations(font={"size": 12})
    styled(figure, 270, "pixels")
    figure.update_layout(bargap=0, legend={"y": 1.28})  # above the titles
    return figure


def step_lengths(moved: Mapping[str, NDArray[np.float64]], marked: int | None = None) -> go.Figure:
    """How far each sampling step moved, one line a quantity.

    Args:
        moved: (S,) root mean square distances by name; the first step is the one that leaves the noise.
        marked: a number of steps taken, 0 … S, to mark.
    """
    figure = go.Figure()
    for number, (name, lengths) in enumerate(moved.items()):
        steps = np.arange(1, len(lengths) + 1)
        mode = "lines+markers" if len(lengths) <= 30 else "lines"
        figure.add_scatter(x=steps, y=lengths, name=name, mode=mode, line={"color": color(number), "dash": DASHES[number]})
    if marked is not None:
        figure.add_vline(x=marked, line={"dash": "dot", "color": "#8A8A8A", "width": 1.5})
    longest = max(map(len, moved.values()))
    figure.update_xaxes(title="steps taken: from noise to sample", range=[-0.03 * longest, 1.03 * longest])
    figure.update_yaxes(title="RMS change", rangemode="tozero")
    return styled(figure, 300)


def column_distances(tables: Mapping[str, pd.DataFrame], marked: float | None = None) -> go.Figure:
    """MSE and SSIM of generations, each against the same other one, over the noise level.

    Args:
        tables: columns log_snr (rising; −inf is pure noise, inf the sample), MSE and SSIM, by name.
        marked: a log-SNR to mark.
    """
    levels = np.unique(np.concatenate([table["log_snr"].to_numpy(np.float64) for table in tables.values()]))
    finite = levels[np.isfinite(levels)]
    low, high = (float(finite[0]), float(finite[-1])) if len(finite) else (0.0, 0.0)
    room = max(1.0, 0.08 * (high - low))  # where the levels that are infinite are drawn

    def position(log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(log_snr, low - room, high + room)

    ticks = np.linspace(low, high, 4).round()[:-1]
    ends = levels[np.isinf(levels)]
    names = [*(f"{tick:g}" for tick in ticks), *("sample" if level > 0 else "pure noise" for level in ends)]
    values = [*ticks, *position(ends)]
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.15)
    for number, (name, table) in enumerate(tables.items()):
        x = position(table["log_snr"].to_numpy(np.float64))
        for place, quantity in enumerate(("MSE", "SSIM"), start=1):
            figure.add_scatter(
                x=x,
                y=table[quantity],
                name=name,
                legendgroup=name,
                showlegend=place == 1,
                mode="lines+markers",
                line={"color": color(number), "dash": DASHES[number % len(DASHES)]},
                row=1,
                col=place,
            )
    if marked is not None:
        figure.add_vline(x=float(position(np.array(marked))), line={"dash": "dot", "color": "#8A8A8A", "width": 1.5})
    figure.update_xaxes(title="log-SNR", tickvals=values, ticktext=names, tickangle=0)
    for place, quantity in enumerate(("MSE", "SSIM"), start=1):
        figure.update_yaxes(title=quantity, rangemode="tozero", row=1, col=place)
    return styled(figure, 330)


def convergence(errors: Mapping[str, Mapping[int, float]]) -> go.Figure:
    """How far samplers end from the exact solution, over network calls; a straight line falls with its order.

    Args:
        errors: by sampler, the root mean square error by number of network calls.
    """
    figure = go.Figure()
    for number, (name, found) in enumerate(errors.items()):
        calls = sorted(found)
        line = {"color": color(number), "dash": DASHES[number % len(DASHES)]}
        label, end = name, calls[-3:]  # before that the order does not show yet
        if len(end) > 1:
            slope = np.polyfit(np.log(end), np.log([found[count] for count in end]), 1)[0]
            label += f": falls with calls^{slope:.1f}"
        figure.add_scatter(x=calls, y=[found[count] for count in calls], name=label, mode="lines+markers", line=line)
    figure.update_xaxes(title="Network calls", type="log", dtick="D2", tickformat="~g")
    figure.update_yaxes(title="Distance from the exact solution", type="log", dtick="D2", tickformat="~g")
    return styled(figure, 380, "convergence").update_layout(hovermode="closest")
