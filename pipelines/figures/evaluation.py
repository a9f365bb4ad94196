"""Charts of evaluation results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from diffusion_core.choices import LEARNED

from ..common.text import counted
from ..evaluation.measured import sampler_title
from ..evaluation.ranking import Ranked
from ..evaluation.results import FIGURES, SMALLER_IS_BETTER, Evaluation, pareto_front
from ..evaluation.verdict import TITLES, Verdict
from .chart import Axis, Band, Bars, Chart, Curve, Mark, Note, Panel, Rule
from .style import COLORS, GREY, MARKING, Look, color, dash, line_styles

APART = 1.015  # horizontal factor between series, so that their intervals do not hide each other
ROOM = 1.25  # smallest ratio of neighbouring tick labels on a cost axis
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")  # tell series of the same colour and dash apart
COSTS = {"network_calls": "Network calls", "seconds": "Seconds", "memory": "MiB of memory"}  # per image
FLOORS = {  # columns with figures of real images: dash and name
    "floor": ("dot", "real against real"),
    "decoded": ("dash", "real, after the autoencoder"),
}
SERIES = ["spacing", "guidance", "images", "seed"]  # what tells apart the series of one run and sampler
FLOOR = "Dotted: held-out images in place of samples, as many as samples if there are enough."
STARS = "Stars: students, which sample in their own steps."
LEVELS = "Noise level (timestep of a cosine schedule)"
SHORT = {  # titles that end before the middle of a narrow figure
    "agreement": "Agreement",
    "closer_than_held_out": "Near training images",
    "frechet_at_infinity": "Fréchet distance at ∞",
    "bound": "Bits per dimension",
}
BESIDE = 40  # letters of two names that fit beside each other above a narrow figure
NEUTRAL = "#222222"  # of symbols in a key, whose colours mean something else
TERMS = {"prior": "Prior", "denoising": "Denoising", "decoder": "Decoder"}


def ranking_bars(ranked: Sequence[Ranked], figure: str, order: Sequence[str]) -> Chart:
    """Describe a ranking: a bar for each model with its interval and its value, the best on top, and what real images score.

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
        marks.append(Note(str(ends), -row, right=True))
    real = sorted({one.real for one in ranked if one.real is not None})
    if real:
        marks += [Rule(x=value, look=MARKING, text="real images" if value == real[-1] else "") for value in real]
    most = max([one.estimate.high for one in ranked] + real)
    names: dict[float, str] = {-row: one.name for row, one in enumerate(ranked)}
    x = Axis(FIGURES[figure], limits=(0.0, 1.45 * most))
    y = Axis(ticks=names, limits=(0.6 - len(ranked), 0.8))
    panel = Panel(tuple(marks), x, y, height=max(90, 38 * len(ranked)))
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


def quality_against_cost(table: pd.DataFrame, figure: str, cost: str, order: Sequence[str] = ()) -> Chart:
    """Describe a figure of samples against their cost, with intervals, the Pareto front and the real-against-real floor.

    Colours distinguish runs, or samplers if there are more of them; dashes and symbols distinguish the others. Symbols also
    distinguish what else differs, such as guidance; those of the learned spacing are open. Students are stars.

    Args:
        table: see :func:`pipelines.evaluation.results.samples_table`; of one dataset, image size and judge.
        figure: a key of FIGURES.
        cost: a key of COSTS.
        order: the names of all runs, which have the same colours as in other figures of them.
    """
    shown = table.dropna(subset=[figure, cost])
    is_student = shown["student"].astype(bool)
    many, stars = shown[~is_student], list(_stars(shown[is_student], figure, cost, order or list(dict.fromkeys(shown["run"]))))
    nowhere = [math.nan]  # so that stars are first in the legend, which leaves out what has no points
    marks: list[Mark] = [Curve(nowhere, nowhere, star.name, star.look, line=False, points=True) for star in stars]
    taken = {star.look.color for star in stars}
    hues = sorted(COLORS, key=taken.__contains__)  # so that samplers have the colours of stars only if no other is left
    marks += _series(many, figure, cost, order, hues, beside=len(stars))
    key = [*_key(many, order, hues)]
    key += stars if key else []
    front = pareto_front(shown, cost, figure)
    same_scale = cost != "seconds" or shown["machine"].nunique() == 1
    if figure in SMALLER_IS_BETTER and len(front) > 1 and same_scale:
        best = Curve(front[cost].to_numpy(), front[figure].to_numpy(), "Pareto front", Look(width=8, opacity=0.35))
        marks.append(best)
        key += [best] * bool(key)
    marks += stars  # which the front would hide
    for floor, (dashed, told) in FLOORS.items():
        values = sorted(set(shown[f"{figure}_{floor}"].dropna()))
        marks += [Rule(y=value, look=Look(dash=dashed), text=told * (value == values[0])) for value in values]
    ends = (shown[cost].min() / 1.5, shown[cost].max() * 1.5)
    ticks = {value: f"{value:g}" for value in _ticks(shown[cost])} if cost == "network_calls" else None
    x = Axis(f"{COSTS[cost]} per image", log=True, fine=True, limits=ends, ticks=ticks)
    panel = Panel(tuple(marks), x, Axis(SHORT.get(figure, FIGURES[figure]), from_zero=True), height=300)
    return Chart((panel,), hover="closest", key=tuple(key), zoom=(figure, cost))


def _stars(shown: pd.DataFrame, figure: str, cost: str, order: Sequence[str]) -> Iterator[Curve]:
    """Yield the only point of each student, or more where it was measured with several numbers of samples or seeds."""
    for run, points in shown.groupby("run", sort=False):
        look = Look(color(list(order).index(str(run))), symbol="star", size=15)
        name = f"{run}, {counted(int(points['steps'].iloc[0]), 'step')}"
        yield replace(_points(points.sort_values(cost), figure, cost, name, look), line=False)


def _series(
    shown: pd.DataFrame, figure: str, cost: str, order: Sequence[str], hues: Sequence[str], beside: int
) -> Iterator[Curve]:
    """Yield a curve for each run, sampler and whatever else distinguishes what was asked of them.

    Args:
        hues: the colours for samplers, if colours distinguish them.
        beside: number of series that are drawn besides, at their very cost.
    """
    runs = list(dict.fromkeys(shown["run"]))
    samplers = list(dict.fromkeys(shown["sampler"]))
    taken: set[Look] = set()
    series = list(shown.groupby(["run", "sampler", *SERIES], sort=False))
    for number, ((run, sampler, spacing, guidance, images, seed), part) in enumerate(series):
        points = part.sort_values(cost)
        # Series with equal numbers of network calls would hide each other's intervals.
        place = number - (len(series) + beside - 1) / 2
        apart = APART ** (place + beside * (place >= 0)) if cost == "network_calls" else 1.0
        own = shown[shown["run"] == run]
        told = f", {spacing} spacing" if own["spacing"].nunique() > 1 else ""
        told += f", guidance {guidance:g}" if own["guidance"].nunique() > 1 else ""
        told += f", {images:,} samples" if own["images"].nunique() > 1 else ""
        told += f", seed {seed}" if own["seed"].nunique() > 1 else ""
        made = f", {sampler_title(str(sampler))}" if len(runs) == 1 or len(samplers) > 1 else ""
        look = _look(runs, samplers, str(run), str(sampler), order, hues)
        others = (replace(look, symbol=symbol) for symbol in SYMBOLS)
        if spacing == LEARNED:
            look = replace(look, symbol="circle-open", edge=look.color)
        look = look if look not in taken else next((other for other in others if other not in taken), look)
        taken.add(look)
        yield _points(points, figure, cost, f"{run}{made}{told}", look, apart)


def _points(points: pd.DataFrame, figure: str, cost: str, name: str, look: Look, apart: float = 1.0) -> Curve:
    """Return a curve through measurements with their intervals.

    Args:
        apart: factor by which it is moved to the right.
    """
    return Curve(
        points[cost].to_numpy() * apart,
        points[figure].to_numpy(),
        name,
        look,
        points=True,
        y_interval=(points[f"{figure}_low"].to_numpy(), points[f"{figure}_high"].to_numpy()),
        about=[f"{x:.3g}: {y:.4g}" for x, y in zip(points[cost], points[figure], strict=True)],
    )


def _look(runs: list[str], samplers: list[str], run: str, sampler: str, order: Sequence[str], hues: Sequence[str]) -> Look:
    """Return the look of a run's curve: its colour says the run, its dash and symbol the sampler, or the other way round.

    Args:
        order: the names of all runs, whose numbers are their colours.
        hues: the colours for samplers.
    """
    number, other = (order or runs).index(run), samplers.index(sampler)
    hue = color(number)
    if len(samplers) > len(runs):
        hue, other = hues[other % len(hues)], runs.index(run)
    return Look(hue, dash(other), symbol=SYMBOLS[other % len(SYMBOLS)], size=8)


def _key(shown: pd.DataFrame, order: Sequence[str], hues: Sequence[str]) -> Iterator[Curve]:
    """Yield what explains colours and symbols one by one; nothing unless only runs and samplers differ, and their looks too."""
    runs, samplers = list(dict.fromkeys(shown["run"])), list(dict.fromkeys(shown["sampler"]))
    learned = shown["spacing"] == LEARNED  # whose symbols are explained as well
    others = shown[~learned].groupby(["run", "sampler"])[SERIES].nunique()
    few, many = sorted((len(runs), len(samplers)))
    if few < 2 or few > len(SYMBOLS) or many > len(COLORS) or (others > 1).any(axis=None):
        return
    by_sampler = len(samplers) > len(runs)
    looks = [(run, _look(runs, samplers, run, samplers[0], order, hues), not by_sampler) for run in runs]
    looks += [(sampler_title(name), _look(runs, samplers, runs[0], name, order, hues), by_sampler) for name in samplers]
    for name, look, coloured in looks:
        look = Look(look.color, size=look.size) if coloured else replace(look, color=NEUTRAL)
        yield Curve([], [], name, look, points=True)
    if learned.any():
        yield Curve(
            [], [], "learned spacing", Look(NEUTRAL, symbol="circle-open", edge=NEUTRAL, size=8), line=False, points=True
        )


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
