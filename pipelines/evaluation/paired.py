"""Differences between the figures of two models, whose samples come from the same noise. Needs NumPy and SciPy alone.

What an image's noise does to one model it does, in part, to the other, so their difference is known better than either figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .intervals import Z95, Estimate, Values

ROUNDS = 999  # of a permutation test
POWER = 0.841621  # quantile of the normal distribution for 80 of 100 cases


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of one model.

    Attributes:
        estimate: the figure with its interval.
        count: number of images that it is measured on.
        parts: what it is computed from, one value per image or subset, or two per split; None if not recorded.
        error: the standard error of the figure from such parts, and of a weighted sum of figures from the sum of their parts.
        pair: equal for figures whose parts correspond, because they are measured on the same images and the same noise.
        cases: (N,) which of the parts come from the same image; None if they are not of single images.
    """

    estimate: Estimate
    count: int
    parts: Values | None = None
    error: Callable[[Values], float] | None = None
    pair: object = None
    cases: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Difference:
    """The difference of a figure between two models, or between the means of two groups of them.

    Attributes:
        first, second: the figures.
        estimate: first − second, with its interval.
        seeds: the numbers of models.
        paired: whether the figures are measured on the same images and noise.
        p: p-value of a permutation test; None if none was made.
        needed: about how many images would tell the difference ``tells`` in 80 of 100 cases; None if that would take more
            training seeds.
        tells: a difference worth telling, the measured one or at least a sixth of the interval; None if the models are told
            apart, or equal.
    """

    first: float
    second: float
    estimate: Estimate
    seeds: tuple[int, int]
    paired: bool
    p: float | None = None
    needed: int | None = None
    tells: float | None = None

    @property
    def told(self) -> bool:
        """Whether the interval excludes 0."""
        return self.told_among(1)

    def told_among(self, comparisons: int) -> bool:
        """Return whether the interval excludes 0 even if it is widened until all of several intervals hold in 95 % of cases.

        This is Bonferroni's correction: without it, of 20 comparisons of equal models one would tell a difference by chance.
        """
        wider = NormalDist().inv_cdf(1 - 0.025 / comparisons) / Z95
        low, high = (
            self.estimate.value + wider * (end - self.estimate.value) for end in (self.estimate.low, self.estimate.high)
        )
        return low > 0 or high < 0


def paired_parts(figures: Sequence[Figure]) -> Values | None:
    """Return the parts of figures, (M, …), if they correspond, else None."""
    parts = [one.parts for one in figures if one.parts is not None and one.pair == figures[0].pair]
    return np.stack(parts) if len(parts) == len(figures) and len({part.shape for part in parts}) == 1 else None


def sum_error(figures: Sequence[Figure], weights: Values) -> float:
    """Return the standard error of a weighted sum of figures, as of independent ones if they are not paired."""
    parts = paired_parts(figures)
    if parts is not None and figures[0].error is not None:
        return figures[0].error(np.tensordot(weights, parts, 1))
    return float(sum((weight * one.estimate.error) ** 2 for weight, one in zip(weights, figures, strict=True)) ** 0.5)


def difference(first: Sequence[Figure], second: Sequence[Figure]) -> Difference:
    """Return the difference between two models, or between the means of models that differ in the seed of training alone."""
    figures, sizes = (*first, *second), (len(first), len(second))
    sign, size = np.repeat([1.0, -1.0], sizes), np.repeat(sizes, sizes)
    values = np.array([one.estimate.value for one in figures])
    error = sum_error(figures, sign / size)
    half = Z95 * error if len(figures) == 2 else _half_with_seeds(figures, sign, size, error)
    means = [float(values[sign == one].mean()) for one in (1.0, -1.0)]
    value = means[0] - means[1]
    estimate = Estimate(value, value - half, value + half)
    found = Difference(means[0], means[1], estimate, sizes, paired_parts(figures) is not None)
    if found.told or not half:
        return found
    tells = float(f"{max(abs(value), half / 3):.1g}")
    needed = None if len(figures) > 2 else round(first[0].count * ((Z95 + POWER) * error / tells) ** 2)
    return replace(found, needed=needed, tells=tells)


def _half_with_seeds(figures: Sequence[Figure], sign: Values, size: Values, error: float) -> float:
    """Return half of the interval of the difference between two groups, with the spread over seeds of training.

    The spread is pooled over both groups, because a few seeds say too little about that of each. It contains the part of the
    measurement's error in which seeds differ; the common part, from the same noise and the same images, is added. The squared
    halves of their intervals, Student's and the normal distribution's, are added (Howe 1974).

    Args:
        sign, size: (M,) which group each figure belongs to, 1 or −1, and the size of that group.
        error: standard error of the measured difference.
    """
    from scipy.stats import t

    freedom = len(figures) - 2
    deviations = np.eye(len(figures)) - (sign[:, None] == sign) / size  # of each figure from the mean of its group
    share = (1 / size[0] + 1 / size[-1]) / freedom
    spread = share * np.square(deviations @ [one.estimate.value for one in figures]).sum()
    common = error**2 - share * sum(sum_error(figures, weights) ** 2 for weights in deviations)
    return float(max(t.ppf(0.975, freedom) ** 2 * spread + Z95**2 * max(common, 0.0), Z95**2 * error**2) ** 0.5)


def permutation_test(statistic: Callable[[NDArray[np.bool_]], float], count: int, rounds: int = ROUNDS, seed: int = 0) -> float:
    """Return how often a difference as large as that of two models arises when the models of random pairs are swapped.

    The p-value is that of the hypothesis that it makes no difference which of the two models made which image of a pair.

    Args:
        statistic: (N,) bool, which pairs are swapped -> the difference.
        count: N, the number of pairs.
    """
    random = np.random.default_rng(seed)
    least = abs(statistic(np.zeros(count, np.bool_))) * (1 - 1e-9)
    extreme = sum(abs(statistic(random.random(count) < 0.5)) >= least for _ in range(rounds))
    return (1 + extreme) / (1 + rounds)


def p_of_cases(first: Figure, second: Figure) -> float | None:
    """Return the p-value of a permutation test of two figures that are means over the same images; None if they are not."""
    parts = paired_parts((first, second))
    if parts is None or first.cases is None:
        return None
    return _p_of_sums(np.bincount(first.cases, parts[0] - parts[1]).tobytes())  # an image's parts are swapped together


@lru_cache(maxsize=128)  # pages ask again whenever they are drawn; of at most some thousand images
def _p_of_sums(content: bytes) -> float:
    sums = np.frombuffer(content)
    return permutation_test(lambda swapped: float(sums.sum() - 2 * sums[swapped].sum()), len(sums))
