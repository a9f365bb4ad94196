"""Charts of the quality of samples against their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from diffusion_core.choices import LEARNED

from ..common.text import counted, either
from ..evaluation.measured import sampler_title
from ..evaluation.results import FIGURES, SMALLER_IS_BETTER
from ..evaluation.tables import pareto_front
from .chart import NOWHERE, Axis, Chart, Curve, Mark, Panel, Rule
from .style import COLORS, Look, color, dash

APART = 1.015  # horizontal factor between series, so that their intervals do not hide each other
ROOM = 0.11  # of the axis of costs between neighbouring labels, so that they do not touch on a telephone
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")  # tell series of the same colour and dash apart
COSTS = {"network_calls": "Network calls", "seconds": "Seconds", "memory": "MiB of memory"}  # per image
FLOORS = {  # columns with figures of real images: dash and name
    "floor": ("dot", "real against real"),
    "decoded": ("dash", "real, after the autoencoder"),
}
SERIES = ["spacing", "guidance", "images", "seed"]  # what tells apart the series of one run and sampler
FLOOR = "Dotted: held-out images in place of samples, as many as samples if there are enough."
STARS = "Stars: students, which sample in their own steps."
SHORT = {  # titles that end before the middle of a narrow figure
    "agreement": "Agreement",
    "closer_than_held_out": "Near training images",
    "frechet_at_infinity": "Fréchet distance at ∞",
    "bound": "Bits per dimension",
}
NEUTRAL = "#777777"  # of symbols in a key, whose colours mean something else


def quality_against_cost(table: pd.DataFrame, figure: str, cost: str, order: Sequence[str] = ()) -> Chart:
    """Describe a figure of samples against their cost, with intervals, the Pareto front and the real-against-real floor.

    Colours distinguish runs, or samplers if there are more of them; dashes and symbols distinguish the others. Symbols also
    distinguish what else differs, such as guidance; those of the learned spacing are open. Students are stars.

    Args:
        table: see :func:`pipelines.evaluation.tables.samples_table`; of one dataset, image size and judge.
        figure: a key of FIGURES.
        cost: a key of COSTS.
        order: the names of all runs, which have the same colours as in other figures of them.
    """
    shown, many, stars = _parted(table, figure, cost, order)
    taken = {star.look.color for star in stars}
    hues = sorted(COLORS, key=taken.__contains__)  # so that samplers have the colours of stars only if no other is left
    series = list(_series(many, figure, cost, order, hues, beside=len(stars)))
    key = [*_key(many, order, hues)]
    return _chart(shown, figure, cost, series, stars, [*stars, *key] if key else [])


def best_against_cost(table: pd.DataFrame, figure: str, cost: str, order: Sequence[str] = ()) -> Chart:
    """Describe the best that was measured of each run at every cost, whatever the sampler: a curve for each run.

    The text of each point says how its samples were made. Students are stars.

    Args:
        table, cost, order: see :func:`quality_against_cost`.
        figure: a key of FIGURES of which smaller or larger values are better.
    """
    _, many, stars = _parted(table, figure, cost, order)
    names = list(order or dict.fromkeys(table["run"]))
    fronts = {str(run): pareto_front(own, cost, figure) for run, own in many.groupby("run", sort=False)}
    series = []
    for place, (run, points) in enumerate(fronts.items()):
        number = names.index(run)
        look = Look(color(number), dash(number // len(COLORS)), symbol=SYMBOLS[place % len(SYMBOLS)], size=8)
        apart = _apart(cost, place, len(fronts), len(stars))
        about = [f"{row[figure]:.4g} at {row[cost]:.3g}: {_made(row)}" for row in points.to_dict("records")]
        series.append(replace(_points(points, figure, cost, run, look, apart), about=about))
    shown = pd.concat([*fronts.values(), table[table["student"].astype(bool)].dropna(subset=[figure, cost])])
    return _chart(shown, figure, cost, series, stars, [])


def _made(row: Mapping[Any, Any]) -> str:
    """Return how the samples of a row of the table were made."""
    told = [sampler_title(row["sampler"]), counted(int(row["steps"]), "step")]
    told += [f"{row['spacing']} spacing"] * (row["spacing"] == LEARNED) + [f"guidance {row['guidance']:g}"] * (
        row["guidance"] != 1
    )
    return ", ".join(told)


def _parted(
    table: pd.DataFrame, figure: str, cost: str, order: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[Curve]]:
    """Return the rows with a figure and a cost, those of them that are not of students, and the stars of students."""
    shown = table.dropna(subset=[figure, cost])
    is_student = shown["student"].astype(bool)
    stars = _stars(shown[is_student], figure, cost, order or list(dict.fromkeys(shown["run"])))
    return shown, shown[~is_student], list(stars)


def _chart(
    shown: pd.DataFrame, figure: str, cost: str, series: Sequence[Curve], stars: Sequence[Curve], key: Sequence[Curve]
) -> Chart:
    """Return the chart of some series and stars, with the Pareto front of the rows shown and what real images score."""
    # So that stars are first in the legend.
    marks: list[Mark] = [Curve(NOWHERE, NOWHERE, star.name, star.look, line=False, points=True) for star in stars]
    marks += series
    front = pareto_front(shown, cost, figure)
    same_scale = cost != "seconds" or shown["machine"].nunique() == 1
    best = Curve(front[cost].to_numpy(), front[figure].to_numpy(), "Pareto front", Look(width=8, opacity=0.35))
    has_front = figure in SMALLER_IS_BETTER and len(front) > 1 and same_scale
    marks += [best] * has_front
    marks += stars  # which the front would hide
    for floor, (dashed, told) in FLOORS.items():
        values = sorted(set(shown[f"{figure}_{floor}"].dropna()))
        marks += [Rule(y=value, look=Look(dash=dashed), text=told * (value == values[0])) for value in values]
    ends = (shown[cost].min() / 1.5, shown[cost].max() * 1.5)
    ticks = {value: f"{value:g}" for value in _ticks(shown[cost], ends)} if cost == "network_calls" else None
    x = Axis(f"{COSTS[cost]} per image", log=True, fine=True, limits=ends, ticks=ticks)
    panel = Panel(tuple(marks), x, Axis(SHORT.get(figure, FIGURES[figure]), from_zero=True), height=300)
    return Chart((panel,), hover="closest", key=(*key, *[best] * (bool(key) and has_front)), zoom=(figure, cost))


def _stars(shown: pd.DataFrame, figure: str, cost: str, order: Sequence[str]) -> Iterator[Curve]:
    """Yield the points of each student: one for each number of steps, and more with several numbers of samples or seeds."""
    for run, points in shown.groupby("run", sort=False):
        look = Look(color(list(order).index(str(run))), symbol="star", size=15)
        steps = sorted(set(points["steps"].astype(int)))
        name = f"{run}, {either(steps)} step{'s' * (steps != [1])}"
        joined = 1 < len(steps) == len(points)
        yield replace(_points(points.sort_values(cost), figure, cost, name, look), line=joined)


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
        apart = _apart(cost, number, len(series), beside)
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


def _apart(cost: str, number: int, series: int, beside: int) -> float:
    """Return the factor that moves a series aside: those with equally many network calls would hide each other's intervals."""
    place = number - (series + beside - 1) / 2
    return float(APART ** (place + beside * (place >= 0))) if cost == "network_calls" else 1.0


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
            [],
            [],
            "learned spacing",
            Look(NEUTRAL, symbol="circle-open", edge=NEUTRAL, size=8),
            line=False,
            points=True,
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


def _ticks(costs: pd.Series[float], ends: tuple[float, float]) -> list[float]:
    """Return the costs to label, rising: as many of the measured ones as fit, with priority to the most frequent."""
    asked = Counter(costs)
    room = (ends[1] / ends[0]) ** ROOM
    ticks: list[float] = []
    for value in sorted(asked, key=lambda cost: (-asked[cost], cost)):
        if all(max(value / other, other / value) >= room for other in ticks):
            ticks.append(value)
    return sorted(ticks)
