"""Charts of the forward process: noise schedules and distributions of pixel values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .chart import Axis, Bars, Chart, Curve, Mark, Panel, Rule
from .style import Look, color, dash


def schedule_curves(schedules: Mapping[str, Mapping[str, NDArray[np.float64]]], marked: int | None = None) -> Chart:
    """Describe noise schedules over the timesteps, one panel per quantity, two per row.

    Args:
        schedules: by name, (T,) tables by quantity, the same quantities for all; beta has a logarithmic axis, and values
            that are not finite are left out.
        marked: a timestep to mark on every curve.
    """
    quantities = list(next(iter(schedules.values())))
    longest = max(len(tables[quantities[0]]) for tables in schedules.values())
    panels = []
    for quantity in quantities:
        marks: list[Mark] = [] if marked is None else [Rule(x=marked)]
        for index, (name, tables) in enumerate(schedules.items()):
            y = np.where(np.isfinite(tables[quantity]), tables[quantity], np.nan)
            marks.append(Curve(np.arange(len(y)), y, name, Look(color(index), dash(index))))
            if marked is not None:
                dot = Look(color(index), size=10, edge="white")
                marks.append(Curve([marked], y[marked : marked + 1], name, dot, line=False, points=True, quiet=True))
        x = Axis("Timestep t", limits=(-15, longest + 14))
        panels.append(Panel(tuple(marks), x, Axis(log=quantity == "beta"), quantity, height=204))
    return Chart(tuple(panels), columns=2, shared_x=True, zoom=("schedules",))


def pixel_histograms(values: Mapping[str, NDArray[np.float32]]) -> Chart:
    """Describe histograms of the pixel values of each image with the density of N(0, 1).

    The axes are fixed so that they do not jump while the values change; bars are cut off at a density of 1.
    """
    edges = np.linspace(-4, 4, 41)
    middles = (edges[:-1] + edges[1:]) / 2
    normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)
    panels = []
    for number, (name, pixels) in enumerate(values.items()):
        density, _ = np.histogram(np.clip(pixels, -4, 4), len(middles), (-4, 4), density=True)
        marks = (
            Bars(middles, density, name, Look(color(number), opacity=0.6), gap=0, quiet=True),
            Curve(middles, normal, "N(0, 1)", Look(width=2.5)),
        )
        told = f"mean {pixels.mean():+.2f}, std {pixels.std():.2f}".replace("-", "−")
        panels.append(Panel(marks, Axis("Pixel value", limits=(-4, 4)), Axis(limits=(0, 1)), name, told, height=150))
    return Chart(tuple(panels), columns=len(panels), shared_y=True, zoom=("pixels",))
