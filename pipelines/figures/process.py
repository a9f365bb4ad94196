"""Plotly figures of the forward process: noise schedules and distributions of pixel values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from .style import DASHES, LOG_AXIS, color, style_figure


def schedule_curves(schedules: Mapping[str, Mapping[str, NDArray[np.float64]]], marked: int) -> go.Figure:
    """Plot noise schedules over the timesteps, one plot per quantity, two per row.

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
    style_figure(figure, 260 * rows + 60, "schedules")
    figure.update_layout(legend={"y": 1.02 + 30 / (260 * rows)})  # above the titles
    return figure


def pixel_histograms(values: Mapping[str, NDArray[np.float32]]) -> go.Figure:
    """Plot histograms of the pixel values of each image with the density of N(0, 1).

    The axes are fixed so that they do not jump while the values change; bars are cut off at a density of 1.
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
    style_figure(figure, 270, "pixels")
    figure.update_layout(bargap=0, legend={"y": 1.28})  # above the titles
    return figure
