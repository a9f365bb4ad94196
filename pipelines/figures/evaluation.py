"""Charts of evaluation results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.ranking import Ranked
from ..evaluation.results import FIGURES, Evaluation
from ..evaluation.verdict import TITLES, Verdict
from .chart import Axis, Band, Bars, Chart, Curve, Mark, Note, Panel, Rule
from .cost import SHORT
from .style import GREY, MARKING, Look, color, line_styles

LEVELS = "Noise level (timestep of a cosine schedule)"
BESIDE = 40  # letters of two names that fit beside each other above a narrow figure
TERMS = {"prior": "Prior", "denoising": "Denoising", "decoder": "Decoder"}


def ranking_bars(ranked: Sequence[Ranked], figure: str, order: Sequence[str]) -> Chart:
    """Describe a ranking: a bar with an interval for each model, the best on top, and what real images score.

    Names and values are beside the axis, where no bar reaches.

    Args:
        figure: a key of FIGURES.
        order: the names of all runs, which have the same colours as in other figures of them.
    """
    styles = line_styles(order)
    marks: list[Mark] = []
    for row, one in enumerate(ranked):
        look, ends = styles[one.name], one.estimate
        marks.append(Bars([-row], [ends.value], one.name, replace(look, opacity=0.55), horizontal=True, gap=0.45, quiet=True))
        marks.append(
            Curve(
                [ends.value],
                [-row],
                one.name,
                look,
                line=False,
                points=True,
                quiet=True,
                x_interval=([ends.low], [ends.high]),
            )
        )
    real = sorted({one.real for one in ranked if one.real is not None})
    if real:
        marks += [Rule(x=value, look=MARKING, text="real images" if value == real[-1] else "") for value in real]
    most = max([one.estimate.high for one in ranked] + real)
    names = {0.21 - row: one.name for row, one in enumerate(ranked)}
    values = {-0.21 - row: str(one.estimate) for row, one in enumerate(ranked)}
    x = Axis(FIGURES[figure], limits=(0.0, 1.05 * most))
    y = Axis(ticks=names | values, limits=(0.5 - len(ranked), 0.9))
    panel = Panel(tuple(marks), x, y, height=18 + 42 * len(ranked))
    return Chart((panel,), legend=False, hover="closest", zoom=(figure, tuple(names.values())))


def loss_gaps(differences: Mapping[str, pd.DataFrame], first: str, order: Sequence[str]) -> Chart:
    """Describe by how much the losses of models differ from that of the first, by noise level, with 95 % bands.

    Args:
        differences: see :func:`pipelines.evaluation.ranking.loss_differences`.
        first: the name of the first model.
        order: the names of all runs, which have the same colours as in other figures of them.
    """
    styles = line_styles(order)
    marks: list[Mark] = [Rule(y=0, look=replace(styles[first], width=1.5))]
    for name, table in differences.items():
        t, middle, low, high = (table[column].to_numpy() for column in ("timestep", "difference", "low", "high"))
        marks += [Band(t, low, high, name, styles[name]), Curve(t, middle, name, styles[name])]
    y = Axis(f"loss minus that of {first}")
    return Chart((Panel(tuple(marks), Axis(LEVELS), y, height=260),), end_labels=True, zoom=("gaps", first))


def loss_bands(losses: Mapping[str, Mapping[str, Any]], order: Sequence[str] = ()) -> Chart:
    """Describe the loss on held-out images by noise level, one curve with a 95 % band per run.

    Args:
        losses: results of kind "loss" (:attr:`Result.found`) by run name.
        order: the names of all runs, which have the same colours as in other figures of them.
    """
    styles = line_styles(order or list(losses))
    marks: list[Mark] = []
    for name, found in losses.items():
        t, mean, low, high = (np.array(found[part], float) for part in ("timesteps", "mean", "low", "high"))
        marks += [Band(t, low, high, name, styles[name]), Curve(t, mean, name, styles[name])]
    x = Axis(LEVELS)
    return Chart((Panel(tuple(marks), x, Axis("error in v", log=True, fine=True), height=260),))


def bound_terms(bounds: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Describe the bound on the negative log-likelihood in bits per dimension as a stack of its three parts.

    Args:
        bounds: results of kind "bound" (:attr:`Result.found`) by run name.
    """
    names = list(range(len(bounds)))  # the labels of different runs may be equal
    marks: list[Mark] = []
    for number, (term, title) in enumerate(TERMS.items()):
        bits = [float(np.sum(found[term])) for found in bounds.values()]
        marks.append(Bars(names, bits, title, Look(color(number)), horizontal=True))
    value, low, high = ([found["total"][end] for found in bounds.values()] for end in ("value", "low", "high"))
    marks.append(Curve(value, names, "Bound", line=False, points=True, x_interval=(low, high)))
    panel = Panel(
        tuple(marks), Axis("bits per dimension"), Axis(ticks=dict(zip(names, bounds, strict=True))), height=30 + 45 * len(names)
    )
    return Chart((panel,))


def leanings(verdict: Verdict) -> Chart:
    """Describe for which of two models each figure speaks, and how clearly: a row per figure, the first model to the left.

    Differences are in half-widths of their intervals, drawn on a scale of inverse hyperbolic sines: as they are near 0, and
    compressed where a difference is beyond doubt.
    """
    found = {name: leaning for name in verdict.differences if (leaning := verdict.leaning(name)) is not None}
    marks: list[Mark] = []
    for row, (name, leaning) in enumerate(found.items()):
        better = verdict.better(name)
        hue = GREY if better is None else color(int(better == verdict.second))
        low, value, high = np.arcsinh([leaning.low, leaning.value, leaning.high])
        look = Look(hue, width=4, symbol="circle-open" if better is None else "circle", size=11, edge=hue)
        about = f"{TITLES[name]}: {verdict.sentence(name)}"
        marks.append(Curve([value], [-row], "", look, line=False, points=True, x_interval=([low], [high]), about=[about]))
        marks.append(Note(SHORT.get(name, TITLES[name]), 0.36 - row))
    marks += [
        Rule(x=0, look=Look(width=1)),
        Note(f"← {verdict.first} better", color=color(0)),
        Note(f"{verdict.second} better →", right=True, line=int(len(verdict.first + verdict.second) > BESIDE), color=color(1)),
    ]
    widest = max([2.5, *(abs(end) + 0.3 for one in found.values() for end in np.arcsinh([one.low, one.high]))])
    x, y = Axis(limits=(-widest, widest), shown=False), Axis(limits=(0.6 - len(found), 0.6), shown=False)
    panel = Panel(tuple(marks), x, y, height=14 + 42 * len(found))
    return Chart((panel,), legend=False, hover="closest", zoom=(verdict.first, verdict.second))


def newest(evaluations: Sequence[Evaluation], kind: str) -> dict[str, dict[str, Any]]:
    """Return each run's latest result of a kind, by name; runs without one are left out."""
    return {evaluation.name: evaluation.of_kind(kind)[-1].found for evaluation in evaluations if evaluation.of_kind(kind)}
