"""Distances between sets of images in a feature space, with confidence intervals. Features are (N, D) arrays; torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]  # (N, D)

NEIGHBOURS = 3  # k of the nearest neighbours in precision and recall
SPLITS = 200  # random splits into halves from which an interval is estimated
AT_ONCE = 1000  # batch size of comparisons with all other images
Z95 = 1.959964  # half-width of the 95 % interval of a normal distribution, in standard deviations


@dataclass(frozen=True, eq=False)
class Reference:
    """The features of the reference images, whose statistics are computed once.

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
        """Return |μ − μ_r|² + tr(Σ + Σ_r − 2·(Σ·Σ_r)^½), the FID in features of Inception (Heusel et al. 2017, equation 6).

        It is biased: fewer images give a larger distance, so compare only distances of equally many images.
        """
        mean = np.square(features.mean(0) - self._mean).sum()
        root = _root(features)
        # The eigenvalues of Σ·Σ_r = R·Rᵀ·Σ_r are those of the symmetric Rᵀ·Σ_r·R, which are real and not negative.
        cross = np.sqrt(np.linalg.eigvalsh(root.T @ self._covariance @ root).clip(0)).sum()
        return float(mean + np.square(root).sum() + np.trace(self._covariance) - 2 * cross)

    def thinned(self, least: int) -> Reference:
        """Return at least ``least`` of the images, or all, evenly spaced, because datasets are often sorted by class."""
        return Reference(self.features[:: max(1, len(self.features) // least)])

    def frechet_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> Estimate:
        """Return the Fréchet distance with its interval, see :meth:`Estimate.of_halves`."""
        halves = [[self.frechet_distance(features[rows]) for rows in pair] for pair in _halves(len(features), splits, seed)]
        return Estimate.of_halves(self.frechet_distance(features), np.array(halves))

    def kernel_distance(self, features: Features) -> float:
        """Return the unbiased squared MMD with the kernel (x·y/D + 1)³, or KID (Bińkowski et al. 2018, section 4).

        It may be negative if the sets differ by less than chance.
        """
        own, cross = self._kernel_means(features, np.ones((1, len(features))))
        return float(own[0] + self._own_kernel - 2 * cross[0])

    def kernel_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> Estimate:
        """Return the kernel distance with its interval, see :meth:`Estimate.of_halves`; each kernel is computed once.

        With the kernels k(x, x) included, the distance would be a squared norm and so positive; they make up the offset.
        """
        count = len(features)
        chosen = np.zeros((splits, 2, count))
        np.put_along_axis(chosen, _halves(count, splits, seed), 1.0, axis=2)
        own, cross = self._kernel_means(features, np.concatenate([np.ones((1, count)), chosen.reshape(-1, count)]))
        value, *halves = own + self._own_kernel - 2 * cross
        with_themselves = _with_itself(features, own[0]) + _with_itself(self.features, self._own_kernel)
        return Estimate.of_halves(value, np.reshape(halves, (splits, 2)), with_themselves)

    def _kernel_means(self, features: Features, chosen: Features) -> tuple[Features, Features]:
        """Return the mean kernel between different images of each set, and between each set and the reference, (R,) each.

        Kernels are computed in batches of images to save memory.

        Args:
            chosen: (R, N), 1 where an image is in the set, else 0.
        """
        own, cross, count = np.zeros(len(chosen)), np.zeros(len(chosen)), chosen.sum(1)
        for part in np.array_split(np.arange(len(features)), -(-len(features) // AT_ONCE)):
            kernel = _kernel(features[part], features)
            own += (chosen[:, part] * (chosen @ kernel.T)).sum(1)
            own -= chosen[:, part] @ kernel[np.arange(len(part)), part]  # without k(x, x)
            cross += chosen[:, part] @ _kernel(features[part], self.features).mean(1)
        return own / (count * (count - 1)), cross / count


def _covariance(features: Features) -> Features:
    return np.atleast_2d(np.cov(features, rowvar=False))


def _root(features: Features) -> Features:
    """Return a matrix R such that R·Rᵀ is the covariance, (D, min(N, D))."""
    count, dim = features.shape
    if count <= dim:
        return (features - features.mean(0)).T / (count - 1) ** 0.5
    values, vectors = np.linalg.eigh(_covariance(features))
    return vectors * np.sqrt(values.clip(0))


def _kernel(a: Features, b: Features) -> Features:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Features) -> float:
    """Return the mean over all pairs of different images."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _with_itself(features: Features, between: float) -> float:
    """Return by how much including k(x, x) raises the mean kernel above ``between``, that of different images."""
    return float((((np.square(features).sum(1) / features.shape[1] + 1) ** 3).mean() - between) / len(features))


def precision_recall(fake: Features, real: Features, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Return precision and recall, the shares of fake and real images within the other's manifold.

    An image is within the manifold of others if it is at most as far from one of them as that one's k-th nearest neighbour in
    its own set (Kynkäänniemi et al. 2019, equations 1 and 2).
    """
    return _share_among(fake, real, neighbours), _share_among(real, fake, neighbours)


def _share_among(points: Features, others: Features, neighbours: int) -> float:
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radii = NearestNeighbors().fit(others).kneighbors(n_neighbors=neighbours)[0][:, -1]  # excluding themselves
    return float((pairwise_distances(points, others) <= radii).any(1).mean())


def nearest(points: Features, others: Features) -> tuple[NDArray[np.int64], Features]:
    """Return the index of each point's nearest neighbour among ``others``, (N,), and the distance to it, (N,)."""
    from sklearn.neighbors import NearestNeighbors

    distances, numbers = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(points)
    return numbers[:, 0], distances[:, 0]


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % confidence interval.

    Attributes:
        value: the measured value.
        low, high: bounds of the interval.
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float) -> Estimate:
        """Return the estimate of a value with this standard error."""
        return cls(float(value), float(value - Z95 * error), float(value + Z95 * error))

    @classmethod
    def of_mean(cls, values: Features) -> Estimate:
        """Return the mean of (N,) independent values."""
        return cls.around(values.mean(), values.std(ddof=1) / len(values) ** 0.5)

    @classmethod
    def of_strata(cls, values: Features, strata: NDArray[np.int64], cases: NDArray[np.int64]) -> Estimate:
        """Return the mean of (N,) values from a stratified sample in which several values may come from the same case.

        Differences between strata do not contribute to its error, and the common error of a case's values is not reduced by
        their number (Cochran 1977, chapters 5 and 9).

        Args:
            strata: (N,) stratum of each value; all strata have the same size.
            cases: (N,) case of each value.
        """
        means = np.bincount(strata, values) / np.bincount(strata)
        sums = np.bincount(cases, values - means[strata])  # deviations from the stratum means, summed over each case
        freedom = len(values) / (len(values) - len(means))
        return cls.around(values.mean(), float((freedom * len(sums) * sums.var(ddof=1)) ** 0.5 / len(values)))

    @classmethod
    def of_halves(cls, value: float, halves: Features, offset: float = 0.0) -> Estimate:
        """Return a figure of a set of images, with the interval of its variation over other sets of the same size.

        Its variance has contributions of single images and of pairs, V₁ + V₂ (Hoeffding 1948, section 5). With half as many
        images V₁ is twice and V₂ four times as large. A quarter of the mean squared difference between the halves of a split
        (McCarthy 1969, section 4) is therefore V₁ + 2·V₂, as for the jackknife (Efron & Stein 1981, section 2). The variance
        of the mean of both halves over splits is V₂, which is subtracted. A bootstrap would give V₁ + 3·V₂, because its sets
        contain images repeatedly.

        The interval is symmetric in the logarithm of the figure, whose variation grows with its size.

        Args:
            value: the figure of all images.
            halves: (S, 2), the figures of the halves of S random splits.
            offset: added to a figure that may be negative to make it positive.
        """
        apart = np.square(halves[:, 0] - halves[:, 1]).mean() / 4
        error = max(apart - halves.mean(1).var(ddof=1), apart / 2) ** 0.5  # V₁ is not negative
        positive = value + offset
        if error >= positive:  # too close to 0 for a logarithm
            return cls(float(value), float(min(value, -offset)), float(value + Z95 * error))
        factor = np.exp(Z95 * error / positive)
        return cls(float(value), float(positive / factor - offset), float(positive * factor - offset))

    @classmethod
    def of_share(cls, value: float, count: int) -> Estimate:
        """Return a share of ``count`` independent cases with the score interval of Wilson 1927, which lies within [0, 1].

        It is informative even for 0 of 60, where ± 1.96 standard errors would be ± 0.
        """
        unsure = Z95**2 / count
        middle = (value + unsure / 2) / (1 + unsure)
        half = (unsure * (value * (1 - value) + unsure / 4)) ** 0.5 / (1 + unsure)
        return cls(float(value), float(min(middle - half, value)), float(max(middle + half, value)))


def _halves(count: int, splits: int, seed: int) -> NDArray[np.int64]:
    """Return random splits of ``count`` image numbers into halves, (splits, 2, count // 2); one is left out of an odd count."""
    random = np.random.default_rng(seed)
    half = count // 2
    return np.stack([random.permutation(count)[: 2 * half].reshape(2, half) for _ in range(splits)])
