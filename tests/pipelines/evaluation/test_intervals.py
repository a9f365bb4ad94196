"""Intervals hold what they are of 95 % of the time, and the parts they are made of correspond between models."""

import numpy as np
import pytest
import scipy.stats

from pipelines.evaluation.intervals import Estimate, blocks_error, random_halves, random_subsets, share_error, without_blocks


@pytest.mark.parametrize("draws", [1, 5])
def test_how_strata_differ_is_no_error_and_how_cases_differ_is_one(draws):
    """Over and over other draws, 95 % of the time, give or take."""
    strata, cases = np.arange(400) % 20, np.arange(400) % (400 // draws)
    levels = np.linspace(0, 10, 20)[strata]
    held = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        own = random.standard_normal(400 // draws)
        order = random.permutation(400)
        values = levels[order] + own[cases] + 0.5 * random.standard_normal(400)
        found = Estimate.of_strata(values, strata[order], cases)
        held += found.low <= 5 <= found.high
        assert found.value == pytest.approx(values.mean())
    assert 275 <= held <= 294


@pytest.mark.parametrize(("right", "count"), [(0, 60), (1, 60), (30, 60), (60, 60), (997, 1000)])
def test_the_interval_of_a_share_is_that_of_statistics(right, count):
    """At both ends too, where a symmetric one would reach below 0 or above 1, or have no width."""
    found = Estimate.of_share(right / count, count)
    expected = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0


def test_halves_are_random_disjoint_and_equal():
    pairs = random_halves(11, 50, 0)
    assert pairs.shape == (50, 2, 5)
    assert all(len(set(pair.ravel())) == 10 for pair in pairs)
    assert len(np.unique(pairs)) == 11
    assert np.array_equal(pairs, random_halves(11, 50, 0))
    assert not np.array_equal(pairs, random_halves(11, 50, 1))


def test_subsets_are_random_and_large_enough():
    subsets = random_subsets(12, 4)
    assert subsets.shape == (100, 8)
    assert all(len(set(rows)) == 8 for rows in subsets)
    assert np.array_equal(subsets, random_subsets(12, 4))
    assert random_subsets(4, 4).shape == (100, 4)


def test_each_block_is_left_out_once_in_a_split_and_what_is_left_over_never():
    parts = without_blocks(20, 6)
    assert parts.shape == (33, 6, 17)
    for split in parts:
        assert sorted(number for rows in split for number in set(range(20)) - set(rows)) == list(range(18))
    assert len(np.unique(parts[:, 0], axis=0)) == 33
    assert np.array_equal(parts, without_blocks(20, 6))


@pytest.mark.parametrize("blocks", [2, 3, 6])
@pytest.mark.parametrize("pairs", [0.0, 0.7, 1.0])
def test_the_error_from_blocks_is_that_of_single_images_and_of_pairs(blocks, pairs):
    """The square of a sum of values with mean 1 − ``pairs`` is a figure of images and of pairs whose variance is known."""
    count, mean = 36, 1 - pairs
    parts = without_blocks(count, blocks, splits=60)
    found = [
        blocks_error((mean + np.random.default_rng(seed).standard_normal(count))[parts].mean(-1) ** 2) for seed in range(150)
    ]
    true = (4 * mean**2 / count + 2 / count**2) ** 0.5
    ratio = np.mean(np.square(found)) ** 0.5 / true
    assert 0.9 < ratio < (1.5 if pairs == 1 else 1.1), "never less than V₂, which is all of it if pairs are"


@pytest.mark.parametrize(("both", "one"), [(0.9, 0.02), (0.3, 0.2)])
def test_the_interval_of_a_paired_difference_of_shares(both, one):
    """Also where few cases differ. A p-value of McNemar's test below 0.05 is an interval without 0, but for its edge."""
    odds = (both, one, one, 1 - both - 2 * one)
    held = told = 0
    for seed in range(1000):
        draws = np.random.default_rng(seed).choice(4, 200, p=odds)
        values = (draws == 1).astype(float) - (draws == 2)
        found = Estimate.around(values.mean(), share_error(values))
        held += found.low <= 0 <= found.high
        discordant = int(np.abs(values).sum())
        told += scipy.stats.binomtest(int((values > 0).sum()), discordant).pvalue < 0.05 if discordant else 0
    assert 920 <= held <= 990
    assert 1000 - held >= told, "never less powerful than the exact test"


def test_a_share_of_1_has_an_interval_too():
    for subsets in (np.ones(100), np.linspace(0.8, 1, 100)):
        found = Estimate.of_subsets(1.0, subsets, 60)
        assert 0 < found.low < found.value == found.high == 1
