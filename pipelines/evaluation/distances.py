"""How far two sets of images are apart in a feature space, with error bars. Features are (N, D) arrays; no torch needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (N, D)

NEIGHBOURS = 3  # that span the manifold of precision and recall
SPLITS = 200  # into halves, that an interval is estimated from
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

    def frechet_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> Estimate:
        """Return the Fréchet distance with its interval, see :meth:`Estimate.of_halves`."""
        halves = [[self.frechet_distance(features[rows]) for rows in pair] for pair in _halves(len(features), splits, seed)]
        return Estimate.of_halves(self.frechet_distance(features), np.array(halves))

    def kernel_distance(self, features: Features) -> float:
        """The squared maximum mean discrepancy with the kernel (x·y/D + 1)³, unbiased: KID (Bińkowski et al. 2018, section 4).

        It may fall below 0, where the sets differ by less than chance.
        """
        own, cross = self._kernel_means(features, np.ones((1, len(features))))
        return float(own[0] + self._own_kernel - 2 * cross[0])

    def kernel_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> Estimate:
        """Return the kernel distance with its interval, see :meth:`Estimate.of_halves`; each kernel is computed once.

        With the kernels of images with themselves it would be a squared norm, and positive.
        """
        count = len(features)
        chosen = np.zeros((splits, 2, count))
        np.put_along_axis(chosen, _halves(count, splits, seed), 1.0, axis=2)
        own, cross = self._kernel_means(features, np.concatenate([np.ones((1, count)), chosen.reshape(-1, count)]))
        value, *halves = own + self._own_kernel - 2 * cross
        with_themselves = _with_itself(features, own[0]) + _with_itself(self.features, self._own_kernel)
        return Estimate.of_halves(value, np.reshape(halves, (splits, 2)), with_themselves)

    def _kernel_means(self, features: Features, chosen: Features) -> tuple[Features, Features]:
        """The mean kernel between different images of a set, and between the set and the reference: (R,) and (R,).

        Args:
            chosen: (R, N), 1 where an image is in the set; a part of the images at once, to save memory.
        """
        own, cross, count = np.zeros(len(chosen)), np.zeros(len(chosen)), chosen.sum(1)
        for part in np.array_split(np.arange(len(features)), -(-len(features) // AT_ONCE)):
            kernel = _kernel(features[part], features)
            own += (chosen[:, part] * (chosen @ kernel.T)).sum(1)
            own -= chosen[:, part] @ kernel[np.arange(len(part)), part]  # an image and itself are no pair
            cross += chosen[:, part] @ _kernel(features[part], self.features).mean(1)
        return own / (count * (count - 1)), cross / count


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


def _with_itself(features: Features, between: float) -> float:
    """How much larger the mean kernel is with the pairs of an image and itself than ``between`` different images."""
    return float((((np.square(features).sum(1) / features.shape[1] + 1) ** 3).mean() - between) / len(features))


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
    def of_halves(cls, value: float, halves: Features, offset: float = 0.0) -> Estimate:
        """A figure of a set of images, and how much it would vary over other sets of as many.

        Its variance is what single images and what pairs of them contribute, V₁ + V₂ (Hoeffding 1948, section 5). Of half as
        many images V₁ is twice and V₂ four times as large. So a quarter of the mean squared difference between the halves of
        a split (McCarthy 1969, section 4) is V₁ + 2·V₂, as of the jackknife (Efron & Stein 1981, section 2); and what the
        mean of both halves varies from split to split is V₂, which is subtracted. A bootstrap would give V₁ + 3·V₂: its
        sets hold images twice.

        The interval is symmetric in the figure's logarithm, because the figure varies the more the larger it is.

        Args:
            value: the figure of all images.
            halves: (S, 2), that of the halves of S random splits.
            offset: what makes a figure positive that may fall below 0.
        """
        apart = np.square(halves[:, 0] - halves[:, 1]).mean() / 4
        error = max(apart - halves.mean(1).var(ddof=1), apart / 2) ** 0.5  # V₁ is not negative
        positive = value + offset
        if error >= positive:  # so close to 0 that a logarithm says nothing
            return cls(float(value), float(min(value, -offset)), float(value + Z95 * error))
        factor = np.exp(Z95 * error / positive)
        return cls(float(value), float(positive / factor - offset), float(positive * factor - offset))

    @classmethod
    def of_share(cls, value: float, count: int) -> Estimate:
        """The share of ``count`` independent cases; the interval stays within 0 to 1 (Wilson 1927).

        It says something of 0 in 60 too, where ± 1.96 standard errors would be ± 0.
        """
        unsure = Z95**2 / count
        middle = (value + unsure / 2) / (1 + unsure)
        half = (unsure * (value * (1 - value) + unsure / 4)) ** 0.5 / (1 + unsure)
        return cls(float(value), float(min(middle - half, value)), float(max(middle + half, value)))


def _halves(count: int, splits: int, seed: int) -> NDArray[np.int64]:
    """Random splits of ``count`` images into halves, by number: (splits, 2, count // 2); of an odd count one is left out."""
    random = np.random.default_rng(seed)
    half = count // 2
    return np.stack([random.permutation(count)[: 2 * half].reshape(2, half) for _ in range(splits)])
