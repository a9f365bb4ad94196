"""Verdicts: which of two models is better in each figure, by how much, how surely, and at what cost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from ..storage.config import LogConfig
from .intervals import Estimate, decimals
from .kept_features import has_features, kept_reference, kept_samples
from .measured import Setting, bound_figure, comparable, loss_figure, sample_figure, samples_at, shared_settings
from .paired import Difference, Figure, difference, p_of_cases
from .results import FIGURES, LARGER_IS_BETTER, MAIN_FIGURES, NEAREST_IS_BEST, Evaluation, Result

VERDICT = "verdict"  # kind of result, kept with those of the first model
TITLES = {
    **{name: FIGURES[name] for name in MAIN_FIGURES},
    "loss": "Loss on held-out images",
    "bound": "Bits per dimension (upper bound)",
    **{name: FIGURES[name] for name in FIGURES if name not in MAIN_FIGURES},
}
COUNTED = (*MAIN_FIGURES, "loss", "bound")  # in the summary; the others say much the same
TESTED = ("frechet_distance", "kernel_distance")  # by permutation tests of features
MEASURED_ON = dict.fromkeys(("loss", "bound"), "held-out images")  # the others on samples
ONE_SEED = "Each model was trained once: what another training seed would change is not in the intervals."
SEEDS = "The spread over training seeds ({} and {}) is part of the intervals."
UNPAIRED = (
    "Some figures were not measured on the same images and the same noise, or by an older Noisescope that did not keep what "
    "pairing needs: evaluate both again for narrower intervals."
)
UNTESTED = (
    "The distances have no p-values yet: python -m pipelines.evaluate computes them, given both models and the settings of "
    "these samples."
)
GONE = (
    "The distances have no p-values, since the features of these samples are no longer in the cache: evaluate both models with "
    "another --seed, which measures new samples and keeps their features."
)


@dataclass(frozen=True)
class Verdict:
    """What the results of two models say about which is better.

    Attributes:
        first, second: the models, or one of each group that differs in the seed of training alone.
        setting: how the samples were made; None if there are none to compare.
        differences: of each figure that can be compared, a key of TITLES.
        costs: what each of the two costs, by title.
        notes: sentences on what the intervals contain, and on what is missing.
        real: what real images score in figures that are best where samples score the same.
    """

    first: str
    second: str
    setting: Setting | None
    differences: dict[str, Difference]
    costs: tuple[dict[str, str], dict[str, str]]
    notes: tuple[str, ...]
    real: dict[str, float] = field(default_factory=dict)

    def better(self, name: str) -> str | None:
        """Return the model that is better in a figure, or None if they are not told apart or neither way is better."""
        found = self.differences[name]
        if not found.told or name in NEAREST_IS_BEST:
            return None
        return self.first if (found.estimate.value > 0) == (name in LARGER_IS_BETTER) else self.second

    def leaning(self, name: str) -> Estimate | None:
        """Return by how many half-widths of the interval a figure speaks for the second model, or None if neither is better.

        It is negative if the figure speaks for the first; the models are told apart where its interval, from one half-width
        less to one more, excludes 0.
        """
        found = self.differences[name].estimate
        half = (found.high - found.low) / 2
        if name in NEAREST_IS_BEST or not half:
            return None
        sign = -1 if name in LARGER_IS_BETTER else 1
        return Estimate(sign * found.value / half, sign * found.value / half - 1, sign * found.value / half + 1)

    @property
    def summary(self) -> str:
        """In how many figures which of the models is better."""
        better = [self.better(name) for name in self.differences if name in COUNTED]
        wins = sorted({name for name in better if name is not None}, key=better.count, reverse=True)
        if not wins:
            return f"{self.first} and {self.second} are not told apart in any of {len(better)} main figures."
        first, *others = wins
        second = f", {others[0]} in {better.count(others[0])}" if others else ""
        apart = f"; {better.count(None)} cannot tell them apart" if None in better else ""
        return f"{first} is better in {better.count(first)} of {len(better)} main figures{second}{apart}."

    def sentence(self, name: str) -> str:
        """Return who is better in a figure and by how much, or how many images would be needed to tell."""
        found = self.differences[name]
        if found.told:
            low, value, high = sorted(map(abs, (found.estimate.low, found.estimate.value, found.estimate.high)))
            digits = max(decimals(high - low), decimals(10 * low))
            by = f"by {value:.{digits}f} (95\u00a0%: {low:.{digits}f}–{high:.{digits}f})"
            if name not in NEAREST_IS_BEST:
                return f"{self.better(name)} is better {by}"
            best = f"; the best is that of real images, {self.real[name]:.{digits}f}" if name in self.real else ""
            return f"larger for {self.first if found.estimate.value > 0 else self.second} {by}{best}"
        if found.tells is None:
            return "equal"
        tells = f"to tell a difference of {_short(found.tells)}"
        if found.needed is None:
            return f"not told apart; more training seeds would be needed {tells}"
        return f"not told apart; about {_about(found.needed)} {MEASURED_ON.get(name, 'samples')} would be needed {tells}"

    def values(self, name: str) -> str:
        """Return both models' figures with as many digits as their difference deserves."""
        found = self.differences[name]
        digits = decimals(found.estimate.high - found.estimate.low)
        return f"{found.first:.{digits}f} against {found.second:.{digits}f}"

    def chance(self, name: str) -> str:
        """Return the p-value of a figure's permutation test for display, or nothing."""
        p = self.differences[name].p
        return "" if p is None else f", p = {p:.3f}"

    def to_json(self) -> dict[str, Any]:
        """Return it as evaluation.json keeps it."""
        told = {name: asdict(found) | {"verdict": self.sentence(name)} for name, found in self.differences.items()}
        return {"first": self.first, "second": self.second, "figures": told, "costs": self.costs, "notes": self.notes}


def _short(value: float) -> str:
    return f"{value:.{max(0, -math.floor(math.log10(value)))}f}"


def _about(count: int) -> str:
    """Return a number with two digits, such as 2,300."""
    return f"{int(float(f'{count:.2g}')):,}"


def grouped(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Return the evaluations by recipe, by the name of their first: trainings that differ in the seed alone are together."""
    groups: dict[tuple[object, int], list[Evaluation]] = {}
    for evaluation in evaluations:
        config = evaluation.config
        recipe = json.dumps(asdict(replace(config, seed=0, versions={}, log=LogConfig())), sort_keys=True)
        copy = 0  # a seed that the group has already begins another group
        while config.seed in [other.config.seed for other in groups.get((recipe, copy), ())]:
            copy += 1
        groups.setdefault((recipe, copy), []).append(evaluation)
    return {_name(group): group for group in groups.values()}


def _name(group: Sequence[Evaluation]) -> str:
    return group[0].name + (f" ({len(group)} seeds)" if len(group) > 1 else "")


def verdict(first: Sequence[Evaluation], second: Sequence[Evaluation], setting: Setting | None = None) -> Verdict:
    """Compare two models, or two groups of models that differ in the seed of training alone.

    Args:
        setting: of the samples; by default the first that all have in common.
    """
    everyone = [*first, *second]
    setting = setting if setting is not None else next(iter(shared_settings(everyone)), None)
    samples = [] if setting is None else samples_at(everyone, setting)
    figures: dict[str, list[Figure | None]] = {}
    for name in FIGURES if samples else ():
        figures[name] = [sample_figure(one, own, name) for one, own in zip(everyone, samples, strict=True)]
    tested = {} if setting is None else _tested(first, second, setting)
    for kind, figure in (("loss", loss_figure), ("bound", bound_figure)):
        if all(comparable(kind, first[0], other) for other in everyone):
            figures[kind] = [figure(one) for one in everyone]
    differences = {}
    for name, given in figures.items():
        known = [figure for figure in given if figure is not None]
        if len(known) == len(everyone):
            found = difference(known[: len(first)], known[len(first) :])
            p = p_of_cases(*known) if len(known) == 2 else None
            differences[name] = replace(found, p=tested.get(name) if p is None else p)
    differences = {name: differences[name] for name in TITLES if name in differences}
    notes = [ONE_SEED if len(everyone) == 2 else SEEDS.format(len(first), len(second))]
    notes += [UNPAIRED] if not all(found.paired for found in differences.values()) else []
    if len(everyone) == 2 and any(name in differences and differences[name].p is None for name in TESTED):
        kept = all(has_features(one.fingerprint, own.asked) for one, own in zip(everyone, samples, strict=True))
        notes.append(UNTESTED if kept else GONE)
    costs = (_costs(first[0], samples[:1]), _costs(second[0], samples[len(first) :][:1]))
    scores = first[0].real_figures(samples[0]) if samples else {}
    real = {name: scores[name]["value"] for name in NEAREST_IS_BEST if name in scores}
    return Verdict(_name(first), _name(second), setting, differences, costs, tuple(notes), real)


def _asked(first: Sequence[Evaluation], second: Sequence[Evaluation], setting: Setting) -> dict[str, Any]:
    """Return what determines a verdict, as the results keep it."""
    models, against = ([evaluation.fingerprint for evaluation in group] for group in (first, second))
    return {"models": models, "against": against, "request": setting.request} | setting.compared


def _tested(first: Sequence[Evaluation], second: Sequence[Evaluation], setting: Setting) -> dict[str, float]:
    """Return the p-values of the permutation tests that a kept verdict contains, by figure."""
    for one, other in ((first, second), (second, first)):
        kept = one[0].find(VERDICT, _asked(one, other, setting))
        if kept is not None:
            return {name: p for name, figure in kept.found["figures"].items() if (p := figure.get("p")) is not None}
    return {}


def keep_verdict(first: Sequence[Evaluation], second: Sequence[Evaluation], setting: Setting) -> Verdict:
    """Compare two models or groups, and keep the verdict with the first one's results.

    The distances of single models are compared by permutation tests too, where their features are still at hand.
    """
    found = verdict(first, second, setting)
    if UNTESTED in found.notes:
        samples = samples_at([*first, *second], setting)
        reference = kept_reference(samples[0].asked)
        features = [kept_samples(one.fingerprint, own.asked) for one, own in zip((*first, *second), samples, strict=True)]
        if reference is not None and features[0] is not None and features[1] is not None:
            p_values = reference.p_values(features[0], features[1])
            tested = {name: replace(found.differences[name], p=p) for name, p in p_values.items() if name in found.differences}
            notes = tuple(note for note in found.notes if note != UNTESTED)
            found = replace(found, differences=found.differences | tested, notes=notes)
    first[0].add(VERDICT, _asked(first, second, setting), found.to_json())
    return found


def _costs(evaluation: Evaluation, samples: Sequence[Result]) -> dict[str, str]:
    """Return what a model costs, by title."""
    costs = {"Parameters": f"{evaluation.run.num_parameters / 1e6:.1f} M"}
    for found in (result.found for result in samples):
        costs |= {"Network calls": f"{found['network_calls']:,}", "Time per image": f"{1e3 * found['seconds']:.3g} ms"}
        if "memory" in found:
            costs["Memory"] = f"{found['memory'] / 2**20:.0f} MiB"
        costs["Measured on"] = found.get("machine", "not recorded")
    return costs


def paired_losses(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Return paired differences between the losses of runs, on the same held-out images, noise and noise levels.

    Images vary far more than models do, which widens the interval of each loss but not that of a paired difference.

    Returns:
        A row for each run whose errors can be paired with those of an earlier run: columns Run, Compared with, Loss, and
        Difference with half of its 95 % interval; empty if nothing can be paired.
    """
    firsts: dict[object, tuple[str, Figure]] = {}
    rows = []
    for evaluation in evaluations:
        figure = loss_figure(evaluation)
        if figure is None or figure.parts is None:
            continue
        first, other = firsts.setdefault(figure.pair, (evaluation.name, figure))
        if other is not figure:
            found = difference([figure], [other]).estimate
            digits = decimals(found.high - found.low)
            told = f"{found.value:+.{digits}f} ± {found.high - found.value:.{digits}f}"
            loss = f"{figure.estimate.value:.{digits}f}"
            rows.append({"Run": evaluation.name, "Compared with": first, "Loss": loss, "Difference": told})
    return pd.DataFrame(rows)
