"""Charts and tables of training: curves, losses by timestep, and differences between the settings of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..common.public import without_places
from ..common.text import counted, shorten
from ..storage.log_columns import calls_of_loss
from .chart import Axis, Chart, ColorScale, Curve, Heat, Panel
from .style import Look, decimate, envelope, line_styles

MAX_COLUMNS = 500  # per heat map
AXES = {"step": "Training step", "images_seen": "Images seen", "seconds": "Training time in minutes"}
QUANTITIES = {
    "loss": "Training loss",
    "val_loss": "Validation loss",
    "psnr": "PSNR in dB",
    "ssim": "SSIM",
    "kernel_distance": "Kernel distance from training images",
    "grad_norm": "Gradient norm",
    "lr": "Learning rate",
}
RECONSTRUCTION = ("psnr", "ssim")  # of held-out images, by an autoencoder
NOISY = ("loss", "grad_norm")  # vary from batch to batch; only these are smoothed
SETTLED = 0.1  # share of training that scales leave out: the warm-up, with much larger losses
HEIGHT = 150  # of a quantity's panel, in CSS pixels
ROOM = 0.06  # of the scale, above and below the curves
LISTED = 4  # values of a list that a table of settings has
LONGEST = 200  # characters of a text there
LINEAR = ("lr", "kernel_distance", *RECONSTRUCTION)  # always on a linear scale: some of them reach 0


def title_of(quantity: str) -> str:
    """Return the title of a logged quantity: one of QUANTITIES, or the validation loss of a student in some number of calls."""
    calls = calls_of_loss(quantity)
    return QUANTITIES[quantity] if calls is None else f"{QUANTITIES['val_loss']} in {counted(calls, 'call')}"


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


def numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where values are missing."""
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)


def along(table: pd.DataFrame, axis: str) -> NDArray[np.float64]:
    """Return the positions of the rows on an axis of AXES."""
    return numbers(table, axis) / (60 if axis == "seconds" else 1)


def _curve(table: pd.DataFrame, axis: str, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the finite points of a curve from left to right."""
    x, y = along(table, axis), numbers(table, quantity)
    order = np.argsort(x, kind="stable")
    order = order[np.isfinite(x[order]) & np.isfinite(y[order])]
    return x[order], y[order]


def settled_limits(curves: Sequence[tuple[ArrayLike, ArrayLike]], log: bool = False) -> tuple[float, float] | None:
    """Return limits of a y axis that show curves from SETTLED of their length on, because losses are much larger before."""
    values = np.concatenate([np.asarray(y)[np.asarray(x) >= SETTLED * np.max(x)] for x, y in curves] or [np.zeros(0)])
    values = np.log10(values[values > 0]) if log else values
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    room = ROOM * (high - low) or 0.1 * abs(high) or 1.0
    return (10 ** (low - room), 10 ** (high + room)) if log else (low - room, high + room)


def training_curves(
    runs: Mapping[str, pd.DataFrame],
    quantities: Sequence[str] = ("loss",),
    axis: str = "step",
    smoothing: float = 0.0,
    log: Collection[str] = (),
    groups: Mapping[str, str] | None = None,
) -> Chart:
    """Describe one panel per quantity, one above the other, and a curve per run: smoothed, with the logged values faint behind.

    The panels share their x axis, so that zooming into one zooms all.

    Args:
        runs: metrics by run name.
        quantities: see :func:`title_of`; only those of NOISY are smoothed.
        axis: a key of AXES.
        smoothing: half-life as a share of the longest curve, 0 for none; the same for all curves, so that they are comparable.
            Curves are smoothed before they are thinned for drawing, so that they do not depend on the number of points drawn.
        log: "x" and "y" for logarithmic axes; quantities of LINEAR keep a linear y axis.
        groups: runs of the same group share a colour (:func:`line_styles`).
    """
    styles = line_styles(list(runs), groups)
    panels: list[Panel] = []
    for quantity in quantities:
        curves = {name: _curve(table, axis, quantity) for name, table in runs.items()}
        curves = {name: curve for name, curve in curves.items() if len(curve[0])}
        longest = max((x[-1] - x[0] for x, _ in curves.values()), default=0.0)
        half_life = smoothing * longest if quantity in NOISY else 0.0
        marks: list[Curve] = []
        for name, (x, y) in curves.items():
            label = f"{name} ({groups[name]})" if groups else name
            marks += _smoothed(x, y, half_life, label, styles[name])
        logarithmic = "y" in log and quantity not in LINEAR
        drawn = [(mark.x, mark.y) for mark in marks if not mark.quiet]
        limits = settled_limits(drawn, logarithmic) if quantity not in LINEAR else None
        y_axis = Axis(log=logarithmic, limits=limits)
        panels.append(Panel(tuple(marks), Axis(AXES[axis], log="x" in log), y_axis, title_of(quantity), height=HEIGHT))
    zoom = (quantities, axis, sorted(log))
    return Chart(tuple(panels), shared_x=True, hover="x unified", zoom=zoom)


def _smoothed(x: NDArray[np.float64], y: NDArray[np.float64], half_life: float, name: str, look: Look) -> Iterator[Curve]:
    """Yield a curve as it was logged, or faint and with the smoothed curve in front of it."""
    shown = envelope(y)
    if half_life > 0:
        yield Curve(x[shown], y[shown], name, replace(look, width=1, dash="solid", opacity=0.3), quiet=True)
        y = smooth(x, y, half_life)
        shown = decimate(len(x))
    yield Curve(x[shown], y[shown], name, look, points=len(shown) <= 30)


def loss_by_timestep(
    runs: Mapping[str, Sequence[float]], num_timesteps: Mapping[str, int], groups: Mapping[str, str] | None = None
) -> Chart:
    """Describe the validation loss over timesteps, one step curve per run."""
    styles = line_styles(list(runs), groups)
    curves = tuple(
        Curve(_middles(num_timesteps[name], len(losses)), losses, name, styles[name], steps=True)
        for name, losses in runs.items()
    )
    panel = Panel(curves, Axis("Timestep t (0 is nearly clean)"), Axis("Validation loss", log=True), height=220)
    return Chart((panel,), zoom=("timesteps",))


def _middles(length: int, bins: int) -> NDArray[np.float64]:
    """Return the middles of equally wide bins of a schedule's timesteps."""
    edges = np.linspace(0, length, bins + 1)
    return (edges[:-1] + edges[1:]) / 2


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
) -> Chart:
    """Describe heat maps of the validation loss over training (x) and timesteps (y), one per run, with a common colour scale.

    Args:
        runs: metrics by run name, each with at least one row of :func:`validations_by_timestep`.
        num_timesteps: the length T of each run's schedule.
        axis: a key of AXES.
        log: "x" for a logarithmic x axis; the colour scale is always logarithmic.
        relative: divide by the latest loss of the same timesteps, which shows where the loss is still decreasing.
    """
    what = "loss ÷ newest" if relative else "loss"
    panels, drawn = [], []
    for name, table in runs.items():
        rows = validations_by_timestep(table)
        rows = rows.iloc[decimate(len(rows), MAX_COLUMNS)]
        losses = np.array(rows["loss_by_timestep"].tolist(), np.float64).T  # (bins, validations)
        with np.errstate(divide="ignore", invalid="ignore"):
            losses = losses / losses[:, -1:] if relative else losses
        drawn.append(losses[np.isfinite(losses) & (losses > 0)])
        heat = Heat(along(rows, axis), _middles(num_timesteps[name], len(losses)), losses, name, what)
        panels.append(Panel((heat,), Axis(AXES[axis], log="x" in log), Axis("Timestep t"), name, height=170))
    found = np.concatenate(drawn)
    low, high = (float(found.min()), float(found.max())) if len(found) else (1.0, 10.0)
    digits = (1, 1.1, 1.2, 1.5, 2, 3, 5) if relative else (1, 2, 5)
    ticks = tuple(digit * 10.0**power for power in range(-12, 13) for digit in digits)
    colors = ColorScale(low, high, ticks, f"Validation {what}")
    zoom = (list(runs), axis, sorted(log))
    return Chart(tuple(panels), shared_x=True, legend=False, hover="closest", colors=colors, zoom=zoom)


def settings_table(settings: Mapping[str, Mapping[str, Any]], only_differences: bool = True) -> pd.DataFrame:
    """Return a table of settings as text, one row per setting (dotted names such as optimizer.lr) and one column per run.

    Of long lists, such as the names of classes, the table has the number of values.
    """
    flat = pd.json_normalize([dict(values) for values in settings.values()])
    flat.index = pd.Index(settings)
    table = flat.T
    if only_differences:
        table = table[table.map(repr).nunique(axis=1) > 1]
    return table.map(_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} values" if len(value) > LISTED else ", ".join(map(str, value)) or "–"
    if value is None or value != value or value == "":
        return "–"
    if isinstance(value, float):  # as pandas makes whole numbers where another run has none
        return str(value).removesuffix(".0")
    return shorten(without_places(str(value)), LONGEST)
