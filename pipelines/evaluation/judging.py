"""Judging two models, or one at two settings, by what was measured of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from ..common.text import counted, in_short
from ..common.threads import threads_for_matrices
from ..storage.config import LogConfig
from .intervals import decimals
from .kept_features import has_features, kept_reference, kept_samples
from .measured import Setting, bound_figure, comparable, loss_figure, sample_figure, samples_at, shared_settings
from .paired import Figure, difference, p_of_cases
from .results import FIGURES, NEAREST_IS_BEST, Evaluation, Result
from .verdict import TITLES, Verdict

VERDICT = "verdict"  # kind of result, kept with those of the first model
TESTED = ("frechet_distance", "kernel_distance")  # by permutation tests of features
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
    tested = {} if setting is None else _tested(first, second, setting)
    return judge(first, second, samples, setting, tested)


def judge(
    first: Sequence[Evaluation],
    second: Sequence[Evaluation],
    samples: Sequence[Result],
    setting: Setting | None = None,
    tested: Mapping[str, float] | None = None,
    names: tuple[str, str] | None = None,
) -> Verdict:
    """Compare the given samples of two models or groups, or of one model at two settings, and what else was measured.

    Args:
        samples: of each evaluation of both groups; empty if there are none to compare.
        setting: at which all samples were made; None if they were made at several.
        tested: p-values of permutation tests, by figure.
        names: of the two in sentences; by default those of the models.
    """
    everyone = [*first, *second]
    same_model = len({one.fingerprint for one in everyone}) == 1
    figures: dict[str, list[Figure | None]] = {}
    for name in FIGURES if samples else ():
        figures[name] = [sample_figure(one, own, name) for one, own in zip(everyone, samples, strict=True)]
    for kind, figure in (("loss", loss_figure), ("bound", bound_figure)):
        if not same_model and all(comparable(kind, first[0], other) for other in everyone):
            figures[kind] = [figure(one) for one in everyone]
    differences = {}
    for name, given in figures.items():
        known = [figure for figure in given if figure is not None]
        if len(known) == len(everyone):
            found = difference(known[: len(first)], known[len(first) :])
            p = p_of_cases(*known) if len(known) == 2 else None
            differences[name] = replace(found, p=(tested or {}).get(name) if p is None else p)
    differences = {name: differences[name] for name in TITLES if name in differences}
    notes = [] if same_model else [ONE_SEED if len(everyone) == 2 else SEEDS.format(len(first), len(second))]
    students = enumerate(everyone) if not same_model else ()
    notes += [_own_steps_told(one, samples[number : number + 1]) for number, one in students if one.config.is_student]
    notes += [UNPAIRED] if not all(found.paired for found in differences.values()) else []
    untested = any(name in differences and differences[name].p is None for name in TESTED)
    if untested and setting is not None and len(everyone) == 2:
        kept = all(has_features(one.fingerprint, own.asked) for one, own in zip(everyone, samples, strict=True))
        notes.append(UNTESTED if kept else GONE)
    costs = (_costs(first[0], samples[:1]), _costs(second[0], samples[len(first) :][:1]))
    scores = first[0].real_figures(samples[0]) if samples else {}
    real = {name: scores[name]["value"] for name in NEAREST_IS_BEST if name in scores}
    named = names or (_name(first), _name(second))
    measured = {name for name, given in figures.items() if any(given)}
    measured |= set() if same_model else {kind for kind in ("loss", "bound") if any(one.of_kind(kind) for one in everyone)}
    absent = tuple(name for name in TITLES if name in measured and name not in differences)
    return Verdict(*named, setting, differences, costs, tuple(notes), real, absent)


def _own_steps_told(student: Evaluation, samples: Sequence[Result]) -> str:
    """Say that a student samples in its own steps: those of its samples, if there are any to compare."""
    own = student.config.distillation
    taken = [counted(one.asked["request"]["steps"], "step") for one in samples]
    return "" if own is None else f"{student.name} is a student and samples in its own {(taken or [own.in_words])[0]}."


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
            with threads_for_matrices(features[0].shape[1]):
                p_values = reference.p_values(features[0], features[1])
            tested = {name: replace(found.differences[name], p=p) for name, p in p_values.items() if name in found.differences}
            notes = tuple(note for note in found.notes if note != UNTESTED)
            found = replace(found, differences=found.differences | tested, notes=notes)
    first[0].add(VERDICT, _asked(first, second, setting), found.to_json())
    return found


def _costs(evaluation: Evaluation, samples: Sequence[Result]) -> dict[str, str]:
    """Return what a model costs, by title."""
    costs = {"Parameters": in_short(evaluation.run.num_parameters)}
    for found in (result.found for result in samples):
        costs |= {"Network calls": f"{found['network_calls']:,}", "Time per image": f"{1e3 * found['seconds']:.3g} ms"}
        if "memory" in found:
            costs["Memory for one image"] = f"{found['memory'] / 2**20:.0f} MiB"
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
