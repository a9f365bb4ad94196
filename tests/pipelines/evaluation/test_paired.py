"""Differences between models: simulations in which the truth is known."""

from functools import partial

import numpy as np
import pytest

from pipelines.evaluation.distances import Reference, recall_estimate
from pipelines.evaluation.diversity import density_and_coverage, vendi_estimate
from pipelines.evaluation.intervals import Estimate, mean_error, share_error, strata_error
from pipelines.evaluation.measured import PARTS
from pipelines.evaluation.paired import Difference, Figure, difference, p_of_cases, permutation_test

COUNT, DIM = 150, 6
MIX = np.diag(np.arange(1, DIM + 1) ** -0.75)  # steep: few directions make up most of a distance
REFERENCE = Reference(np.random.default_rng(7).standard_normal((500, DIM)) @ MIX)


def generated(trial, model, shift=0.0, own=0.3):
    """Features of a model's samples: most of an image comes from its noise, which the models share, the rest is the model's."""
    noise = np.random.default_rng(trial).standard_normal((COUNT, DIM))
    rest = np.random.default_rng((trial, model)).standard_normal((COUNT, DIM))
    return shift + ((1 - own**2) ** 0.5 * noise + own * rest) @ MIX


def of_distance(kind, features):
    real = REFERENCE.features[:150]
    estimate, parts = {
        "frechet_distance": REFERENCE.frechet_estimate,
        "kernel_distance": REFERENCE.kernel_estimate,
        "recall": partial(recall_estimate, real=real),
        "density": lambda features: density_and_coverage(features, real)[0],
        "coverage": lambda features: density_and_coverage(features, real)[1],
        "vendi_score": vendi_estimate,
    }[kind](features)
    return Figure(estimate, COUNT, parts, PARTS[kind][1], "the same noise")


def of_cases(kind, trial, model, gain):
    """Agreement, or a loss with strata: an image's difficulty is shared by the models, the rest is the model's."""
    shared, own = np.random.default_rng(trial), np.random.default_rng((trial, model))
    if kind == "agreement":
        right = (shared.random(COUNT) + 0.2 * own.standard_normal(COUNT) < 0.6 + gain).astype(float)
        return Figure(Estimate.of_share(right.mean(), COUNT), COUNT, right, share_error, "pair", np.arange(COUNT))
    strata, cases = shared.permutation(4 * COUNT) % 20, np.arange(4 * COUNT) % COUNT
    hard = shared.exponential(1, COUNT)[cases]
    errors = (strata / 10 + hard) * (1 + gain + 0.1 * own.standard_normal(COUNT)[cases]) + 0.1 * own.standard_normal(4 * COUNT)
    estimate = Estimate.of_strata(errors, strata, cases)
    return Figure(estimate, COUNT, errors, lambda values: strata_error(values, strata, cases), "pair", cases)


def simulated(kind, gain, trials):
    """Differences of two models, of which one is better by ``gain``, in many trials."""
    for trial in range(trials):
        if kind in ("agreement", "loss"):
            yield difference([of_cases(kind, trial, 1, gain)], [of_cases(kind, trial, 2, 0.0)])
        else:
            yield difference([of_distance(kind, generated(trial, 1, gain))], [of_distance(kind, generated(trial, 2))])


@pytest.mark.parametrize(
    ("kind", "gain", "trials"),
    [
        ("frechet_distance", 0.15, 25),
        ("kernel_distance", 0.15, 120),
        ("recall", 0.3, 40),
        ("density", 0.4, 100),
        ("coverage", 0.4, 40),
        ("vendi_score", 0.5, 40),
        ("agreement", 0.12, 400),
        ("loss", 0.035, 400),
    ],
)
def test_intervals_of_differences_are_right_and_sharp(kind, gain, trials):
    """They hold the true difference 95 % of the time; equal models are not told apart; a known small difference is found."""
    equal, better = list(simulated(kind, 0.0, trials)), list(simulated(kind, gain, trials))
    chance = 2 * (0.95 * 0.05 / trials) ** 0.5
    for found, true in ((equal, 0.0), (better, np.mean([one.estimate.value for one in better]))):
        held = np.mean([one.estimate.low <= true <= one.estimate.high for one in found])
        width = np.mean([one.estimate.error for one in found]) / np.std([one.estimate.value for one in found])
        assert 0.92 - chance <= held <= 0.98 + chance
        assert 0.85 < width < (1.5 if kind in ("recall", "coverage") else 1.25)
    assert np.mean([one.told for one in better]) > (0.2 if kind == "recall" else 0.7)
    assert all(one.needed is None for one in better if one.told)
    assert all(one.paired for one in equal)


def test_the_best_of_many_equal_models_is_seldom_told_from_the_others_by_chance():
    models, trials = 6, 2000
    values = np.sort(np.random.default_rng(0).standard_normal((trials, models)), axis=1)
    apart = [Difference(high, low, Estimate.around(high - low, 2**0.5), (1, 1), False) for low, *_, high in values]
    assert np.mean([one.told for one in apart]) > 0.3, "with the interval of a single pair"
    assert np.mean([one.told_among(models * (models - 1) // 2) for one in apart]) < 0.06


def test_pairing_is_what_finds_it():
    """Taken for independent, the same two distances would not be told apart."""
    figures = [of_distance("frechet_distance", generated(0, model, shift)) for model, shift in ((1, 0.05), (2, 0.0))]
    apart = [Figure(one.estimate, one.count, one.parts, one.error, number) for number, one in enumerate(figures)]
    paired, independent = difference(figures[:1], figures[1:]), difference(apart[:1], apart[1:])
    assert paired.estimate.value == independent.estimate.value
    assert paired.estimate.error < 0.7 * independent.estimate.error
    assert independent.estimate.error == pytest.approx(np.hypot(*(one.estimate.error for one in figures)))
    assert not independent.paired


def test_as_many_images_as_are_said_to_be_needed_tell_it():
    """In 80 of 100 trials."""

    def trial(seed, count):
        values = 0.2 + np.random.default_rng(seed).standard_normal(count)
        figures = [Figure(Estimate.of_mean(own), count, own, mean_error, "pair") for own in (values, np.zeros(count))]
        return difference(figures[:1], figures[1:])

    needed = [one.needed * (one.tells / 0.2) ** 2 for one in (trial(seed, 40) for seed in range(300)) if not one.told]
    assert len(needed) > 100
    found = np.mean([trial(seed, round(np.median(needed))).told for seed in range(1000, 1300)])
    assert 0.7 < found < 0.9


@pytest.mark.parametrize("seeds", [(2, 2), (3, 1), (4, 3)])
@pytest.mark.parametrize("of_training", [0.0, 0.5, 3.0])
def test_the_spread_over_seeds_is_part_of_the_interval(seeds, of_training):
    """Of the measurement's error one part is common to all, another to each; two recipes of the same quality."""
    held, told_alone = 0, 0
    for trial in range(400):
        random = np.random.default_rng(trial)
        common = 5 * random.standard_normal(50)
        groups = []
        for group, size in enumerate(seeds):
            own = 3 * random.standard_normal(50) if group == 0 else np.zeros(50)  # how the recipes differ over images
            parts = [common + own + random.standard_normal(50) + of_training * random.standard_normal() for _ in range(size)]
            groups.append([Figure(Estimate.of_mean(values), 50, values, mean_error, "pair") for values in parts])
        found = difference(*groups)
        held += found.estimate.low <= 0 <= found.estimate.high
        told_alone += difference(groups[0][:1], groups[1][:1]).told
        assert found.seeds == seeds
    assert 0.92 <= held / 400 <= 0.99
    assert of_training < 3 or told_alone > 200, "with one seed each, training's chance is taken for a difference"


def test_more_seeds_would_be_needed_where_they_differ_much():
    values = np.random.default_rng(0).standard_normal(50)
    parts = [values + level for level in (0.0, 9.0, 1.0, 11.0)]
    figures = [Figure(Estimate.of_mean(own), 50, own, mean_error, "pair") for own in parts]
    found = difference(figures[:2], figures[2:])
    assert not found.told
    assert found.needed is None
    assert found.tells > 1


def test_p_values_of_equal_models_are_evenly_spread_and_those_of_others_small():
    p = []
    for trial in range(60):
        first, second, other = (generated(trial, model, shift) for model, shift in ((1, 0.0), (2, 0.0), (3, 0.4)))

        def swapped(swap, first=first, second=second):
            swap = swap[:, None]
            return REFERENCE.frechet_distance(np.where(swap, second, first)) - REFERENCE.frechet_distance(
                np.where(swap, first, second)
            )

        p.append(permutation_test(swapped, COUNT, rounds=39))
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.1) <= 0.2
    assert max(REFERENCE.p_values(other, first).values()) < 0.02
    assert min(REFERENCE.p_values(first, first).values()) == 1


def test_p_values_of_cases_swap_an_images_parts_together():
    agreement = [p_of_cases(of_cases("agreement", trial, 1, 0.0), of_cases("agreement", trial, 2, 0.0)) for trial in range(60)]
    assert np.mean(np.array(agreement) <= 0.1) <= 0.2
    alike = np.repeat([0.5, -0.4, 0.3], 100)  # three images, whose parts differ all alike, tell nothing
    cases = np.repeat([0, 1, 2], 100)
    figures = [Figure(Estimate.of_mean(parts), 3, parts, mean_error, "pair", cases) for parts in (alike, 0 * alike)]
    assert p_of_cases(*figures) > 0.2
    assert p_of_cases(figures[0], Figure(figures[1].estimate, 3)) is None
