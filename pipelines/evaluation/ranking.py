"""Ranking models by one figure of their samples, and saying which of them are surely worse than the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd

from ..common.text import some
from ..storage.config import RunConfig
from .intervals import Estimate, strata_error
from .measured import Setting, estimate_in, loss_figure, sample_figure, samples_at
from .paired import Difference, difference, paired_parts
from .results import FIGURES, LARGER_IS_BETTER, NEAREST_IS_BEST, Evaluation, loss_draws, noise_bins
from .verdict import CLAIMS


@dataclass(frozen=True)
class Ranked:
    """A model's place in a ranking.

    Attributes:
        name: of the model.
        estimate: its figure.
        behind: the figure minus that of the best model; None for the best.
        real: what real images score; None if that was not measured.
        pairs: number of pairs of models in the ranking. The best is known only after all of them have been compared, so all
            their intervals must hold.
    """

    name: str
    estimate: Estimate
    behind: Difference | None = None
    real: float | None = None
    pairs: int = 1

    @property
    def surely_worse(self) -> bool:
        """Whether the difference from the best is no chance, also when the number of pairs is allowed for."""
        return self.behind is not None and self.behind.told_among(self.pairs)


def settings_to_rank(
    evaluations: Sequence[Evaluation], judge: str | None = None
) -> dict[str, tuple[Setting, list[Evaluation]]]:
    """Return the settings at which samples were measured, in words, with the models measured there: the most models first.

    Models that were compared with other real images have a setting of their own, which names them.

    Args:
        judge: in whose features (see :attr:`.results.Result.judge`); by default, in those of any judge, but one in a setting.
    """
    found: list[tuple[Setting, list[Evaluation]]] = []
    for evaluation in evaluations:
        for result in evaluation.of_kind("samples"):
            if judge not in (None, result.judge):
                continue
            setting = Setting.of(result)
            members = [other for other in evaluations if other is evaluation or samples_at([evaluation, other], setting)]
            found.append((setting, members))
    groups: list[tuple[Setting, list[Evaluation]]] = []
    for setting, members in sorted(found, key=lambda group: -len(group[1])):
        students = all(_has_one_way(one.config) for one in members)  # whose own steps are compared with any
        before = {one for other, others in groups if students or str(other) == str(setting) for one in others}
        if not before.issuperset(members):
            groups.append((setting, members))
    told = [str(setting) for setting, _ in groups]
    return {
        text if told.count(text) == 1 else f"{text}, of {', '.join(one.name for one in group[1])}": group
        for text, group in zip(told, groups, strict=True)
    }


def _has_one_way(config: RunConfig) -> bool:
    """Return whether a model is a student with a single number of steps."""
    return config.distillation is not None and not config.distillation.varies


def ranking(evaluations: Sequence[Evaluation], setting: Setting, figure: str) -> list[Ranked]:
    """Return the models in the order of a figure of their samples, the best first, without those that have no such figure."""
    samples = samples_at(evaluations, setting)
    figures = {}
    for evaluation, result in zip(evaluations, samples, strict=True):
        if (found := sample_figure(evaluation, result, figure)) is not None:
            real = evaluation.real_figures(result).get(figure)
            figures[evaluation.name] = found, None if real is None else estimate_in(real).value
    sign = -1 if figure in LARGER_IS_BETTER else 1
    order = sorted(figures, key=lambda name: sign * figures[name][0].estimate.value)
    best = figures[order[0]][0] if order else None
    ranked = []
    for name in order:
        found, real = figures[name]
        behind = None if best is None or found is best else difference([found], [best])
        ranked.append(Ranked(name, found.estimate, behind, real, comb(len(order), 2)))
    return ranked


def ranking_sentence(ranked: Sequence[Ranked], figure: str) -> str:
    """Return which model is best in a figure, which are surely worse, and which are not told apart from it."""
    best, *others = ranked
    if figure in NEAREST_IS_BEST:
        return f"{FIGURES[figure]}: best is what real images score; larger is not better."
    worse = [other.name for other in others if other.surely_worse]
    apart = [other.name for other in others if not other.surely_worse]
    if not worse:
        return f"{FIGURES[figure]}: {best.name} is not told apart from {some(apart)}."
    tied = f"; not told apart from {some(apart)}" if apart else ""
    return f"{CLAIMS[figure].format(best.name)}: surely better than {some(worse)}{tied}."


def loss_differences(evaluations: Sequence[Evaluation]) -> dict[str, pd.DataFrame]:
    """Return by how much the loss of each model differs from that of the first, by noise level, with 95 % intervals.

    Both are measured on the same images with the same noise, and so are left out if they are not.

    Returns:
        By model, columns timestep, difference, low and high.
    """
    from scipy.special import stdtrit

    first = loss_figure(evaluations[0])
    found = {}
    for evaluation in evaluations[1:]:
        own = loss_figure(evaluation)
        parts = None if first is None or own is None else paired_parts([own, first])
        if parts is None:
            continue
        asked = evaluation.of_kind("loss")[-1]
        levels, images = loss_draws(asked.asked["images"], asked.asked["seed"])
        bins, apart = noise_bins(levels), parts[0] - parts[1]
        rows = []
        for number, timestep in enumerate(asked.found["timesteps"]):
            inside = bins == number
            values, cases = apart[inside], images[inside]
            half = stdtrit(len(values) - 1, 0.975) * strata_error(values, np.zeros(len(values), np.int64), cases)
            rows.append((timestep, values.mean(), values.mean() - half, values.mean() + half))
        found[evaluation.name] = pd.DataFrame(rows, columns=["timestep", "difference", "low", "high"])
    return found
