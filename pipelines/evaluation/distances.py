"""How far two sets of images are apart in a feature space, with error bars. Features are (N, D) arrays; no torch needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (N, D)

NEIGHBOURS = 3  # that span the manifold of precision and recall
RESAMPLINGS = 200  # of a bootstrap
AT_ONCE = 1000  # images compared with all others together
Z95 = 1.959964  # standard deviations to either side of the mean that hold 95 % of a normal distribution


@dataclass(frozen=True, eq=False)
class Reference:
    """The images that others are compared with; what only depends on them is computed once.

    Attributes:
        features: (M, D), M ≥ 2.
    """

    features: Features

    @cached_property
    def _mean(self) -> Features:
        return self.features.mean(0)

    @cached_property
    def _covariance(self) -> Features:
        return _covariance(self.features)

    @cached_property
    def _own_kernel(self) -> float:
        return _mean_of_pairs(_kernel(self.features, self.features))

    def frechet_distance(self, features: Features) -> float:
        """|μ − μ_r|² + tr(Σ + Σ_r − 2·(Σ·Σ_r)^½): the FID in Inception's features (Heusel et al. 2017, equation 6).

        It is biased: fewer images give a larger distance, so compare only what was measured with equally many.
        """
        mean = np.square(features.mean(0) - self._mean).sum()
        root = _root(features)
        # The eigenvalues of Σ·Σ_r = R·Rᵀ·Σ_r are those of the symmetric Rᵀ·Σ_r·R, which are real and not negative.
        cross = np.sqrt(np.linalg.eigvalsh(root.T @ self._covariance @ root).clip(0)).sum()
        return float(mean + np.square(root).sum() + np.trace(self._covariance) - 2 * cross)

    def thinned(self, least: int) -> Reference:
        """At least ``least`` of the images, from all over, because folders come class by class; all where there are fewer."""
        return Reference(self.features[:: max(1, len(self.features) // least)])

    def kernel_distance(self, features: Features) -> float:
        """The squared maximum mean discrepancy with the kernel (x·y/D + 1)³, unbiased: KID (Bińkowski et al. 2018, section 4).

        It may fall below 0, where the sets differ by less than chance.
        """
        return float(self._kernel_distances(features, np.ones((1, len(features))))[0])

    def kernel_estimate(self, features: Features, resamplings: int = RESAMPLINGS, seed: int = 0) -> Estimate:
        """The kernel distance, and what :func:`bootstrap` says of it; what two images have in common is computed once."""
        drawn = [np.bincount(rows, minlength=len(features)) for rows in _drawn(len(features), resamplings, seed)]
        value, *others = self._kernel_distances(features, np.stack([np.ones(len(features)), *drawn]))
        return Estimate.around(value, float(np.std(others, ddof=1)))

    def _kernel_distances(self, features: Features, times: Features) -> Features:
        """(R,) of R sets, which hold each image so many ``times``, (R, N); a part of the images at once, to save memory."""
        count = len(features)
        own, cross = np.zeros(len(times)), np.zeros(len(times))
        for part in np.array_split(np.arange(count), -(-count // AT_ONCE)):
            kernel = _kernel(features[part], features)
            own += (times[:, part] * (times @ kernel.T)).sum(1)
            own -= times[:, part] @ kernel[np.arange(len(part)), part]  # an image and itself are no pair
            cross += times[:, part] @ _kernel(features[part], self.features).mean(1)
        return own / (count * (count - 1)) + self._own_kernel - 2 * cross / count


def _covariance(features: Features) -> Features:
    return np.atleast_2d(np.cov(features, rowvar=False))


def _root(features: Features) -> Features:
    """(D, ≤ D): some R with R·Rᵀ the covariance; the smaller the fewer images there are."""
    count, dim = features.shape
    if count <= dim:
        return (features - features.mean(0)).T / (count - 1) ** 0.5
    values, vectors = np.linalg.eigh(_covariance(features))
    return vectors * np.sqrt(values.clip(0))


def _kernel(a: Features, b: Features) -> Features:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Features) -> float:
    """The mean over all pairs of different images."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def precision_recall(fake: Features, real: Features, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """The share of fakes among the real, and of the real among the fakes (Kynkäänniemi et al. 2019, equations 1 and 2).

    An image is among others if it is as close to one of them as that one's k-th nearest neighbour among its own kind.
    """
    return _share_among(fake, real, neighbours), _share_among(real, fake, neighbours)


def _share_among(points: Features, others: Features, neighbours: int) -> float:
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radii = NearestNeighbors().fit(others).kneighbors(n_neighbors=neighbours)[0][:, -1]  # nobody is a neighbour of himself
    return float((pairwise_distances(points, others) <= radii).any(1).mean())


def nearest(points: Features, others: Features) -> tuple[NDArray[np.int64], Features]:
    """For each point the number of the nearest of ``others``, and how far it is: (N,) and (N,)."""
    from sklearn.neighbors import NearestNeighbors

    distances, numbers = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(points)
    return numbers[:, 0], distances[:, 0]


@dataclass(frozen=True)
class Estimate:
    """A measured figure.

    Attributes:
        value: as measured.
        low, high: its 95 % interval.
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float) -> Estimate:
        """The interval of a figure with this standard error."""
        return cls(float(value), float(value - Z95 * error), float(value + Z95 * error))

    @classmethod
    def of_mean(cls, values: Features) -> Estimate:
        """The mean of (N,) independent values."""
        return cls.around(values.mean(), values.std(ddof=1) / len(values) ** 0.5)

    @classmethod
    def of_strata(cls, values: Features, strata: NDArray[np.int64], cases: NDArray[np.int64]) -> Estimate:
        """The mean of (N,) values that were drawn stratum by stratum, and some of them from the same case.

        How the strata differ is no error then, and what the values of one case have in common is none the less for their
        number (Cochran 1977, chapters 5 and 9).

        Args:
            strata: (N,) the stratum of each value, all of one size.
            cases: (N,) whose it is.
        """
        means = np.bincount(strata, values) / np.bincount(strata)
        sums = np.bincount(cases, values - means[strata])  # of what a case is above its strata
        freedom = len(values) / (len(values) - len(means))
        return cls.around(values.mean(), float((freedom * len(sums) * sums.var(ddof=1)) ** 0.5 / len(values)))

    @classmethod
    def of_share(cls, value: float, count: int) -> Estimate:
        """The share of ``count`` independent cases; the interval stays within 0 to 1 (Wilson 1927).

        It says something of 0 in 60 too, where ± 1.96 standard errors would be ± 0.
        """
        unsure = Z95**2 / count
        middle = (value + unsure / 2) / (1 + unsure)
        half = (unsure * (value * (1 - value) + unsure / 4)) ** 0.5 / (1 + unsure)
        return cls(float(value), float(min(middle - half, value)), float(max(middle + half, value)))


def bootstrap(
    measure: Callable[[NDArray[np.int64]], float], count: int, resamplings: int = RESAMPLINGS, seed: int = 0
) -> Estimate:
    """A figure of ``count`` images, and how much it would vary over other images (Efron & Tibshirani 1993, chapter 13).

    The interval is value ± 1.96 bootstrap standard errors. Percentiles would be off-centre: resampled sets hold images twice,
    which moves distances upwards.

    Args:
        measure: the figure for the images with these numbers, (count,).
        seed: of the resampling.
    """
    value = measure(np.arange(count))
    error = np.std([measure(rows) for rows in _drawn(count, resamplings, seed)], ddof=1)
    return Estimate.around(value, float(error))


def _drawn(count: int, resamplings: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Resampled sets: ``count`` numbers of images, drawn with replacement."""
    random = np.random.default_rng(seed)
    return (random.integers(count, size=count) for _ in range(resamplings))
