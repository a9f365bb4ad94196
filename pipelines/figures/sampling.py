"""Plotly figures of sampling: step lengths, distances between generations, and convergence of samplers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ..common.text import plotly_text
from .style import DASHES, color, style_figure


def step_lengths(moved: Mapping[str, NDArray[np.float64]], marked: int | None = None) -> go.Figure:
    """Plot how far each sampling step moved, one line per quantity.

    Args:
        moved: (S,) root mean square distances by name, from noise to sample.
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
    return style_figure(figure, 300)


def column_distances(tables: Mapping[str, pd.DataFrame], marked: float | None = None) -> go.Figure:
    """Plot MSE and SSIM of generations, each relative to the same reference, over the noise level.

    Args:
        tables: columns log_snr (increasing; −inf is pure noise, inf the sample), MSE and SSIM, by name.
        marked: a log-SNR to mark.
    """
    levels = np.unique(np.concatenate([table["log_snr"].to_numpy(np.float64) for table in tables.values()]))
    finite = levels[np.isfinite(levels)]
    low, high = (float(finite[0]), float(finite[-1])) if len(finite) else (0.0, 0.0)
    room = max(1.0, 0.08 * (high - low))  # distance at which infinite log-SNRs are drawn

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
                name=plotly_text(name),
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
    return style_figure(figure, 330)


def convergence(errors: Mapping[str, Mapping[int, float]]) -> go.Figure:
    """Plot the distance of samplers from the exact solution over network calls; the slope is the order of convergence.

    Args:
        errors: root mean square error by number of network calls, by sampler.
    """
    figure = go.Figure()
    for number, (name, found) in enumerate(errors.items()):
        calls = sorted(found)
        line = {"color": color(number), "dash": DASHES[number % len(DASHES)]}
        label, end = name, calls[-3:]  # the order shows only in the last points
        if len(end) > 1:
            slope = np.polyfit(np.log(end), np.log([found[count] for count in end]), 1)[0]
            label += f": falls with calls^{slope:.1f}"
        figure.add_scatter(x=calls, y=[found[count] for count in calls], name=label, mode="lines+markers", line=line)
    figure.update_xaxes(title="Network calls", type="log", dtick="D2", tickformat="~g")
    figure.update_yaxes(title="Distance from the exact solution", type="log", dtick="D2", tickformat="~g")
    return style_figure(figure, 380, "convergence").update_layout(hovermode="closest")
