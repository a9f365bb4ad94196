"""Distances between sets of images in a feature space. Features are (N, D) arrays; torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .intervals import SPLITS, Estimate, random_halves, random_subsets, without_blocks
from .paired import permutation_test

Features = NDArray[np.float64]  # (N, D)

PER_FEATURE = 3  # images from which the Fréchet distance can be extrapolated
NEIGHBOURS = 3  # k of the nearest neighbours in precision and recall
ENOUGH = 1000  # reference images for figures that compare all pairs
ROUNDS = 199  # of the permutation tests of distances, which are slow
CLOSEST = 0.05  # share of held-out images that defines what is close to a training image
AT_ONCE = 1000  # batch size of comparisons with all other images


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

    def frechet_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> tuple[Estimate, Features]:
        """Return the Fréchet distance with its interval, and the distances of the halves (see :meth:`Estimate.of_halves`).

        The interval is about other samples of as many images; the reference, and with it the bias, is the same for all of them.
        """
        pairs = random_halves(len(features), splits, seed)
        halves = np.array([[self.frechet_distance(features[rows]) for rows in pair] for pair in pairs])
        return Estimate.of_halves(self.frechet_distance(features), halves), halves

    def frechet_at_infinity(self, features: Features, halves: Features, seed: int = 0) -> Estimate | None:
        """Return the Fréchet distance extrapolated to infinitely many images (Chong & Forsyth 2020), with its interval.

        The distance of N images is that of infinitely many plus a bias b₁/N + b₂/N² + …; both terms are removed with the mean
        distances of three quarters and of halves of the images. (Smaller parts would have fewer images than features, and their
        bias is not such a series.) The bias is also the offset of the interval, whose width is that of the distance of N
        images. The result may be negative if the sets differ by less than chance.

        Args:
            halves: see :meth:`frechet_estimate`.

        Returns:
            None for fewer than PER_FEATURE images per feature, where part of the bias would remain.
        """
        count, dim = features.shape
        if count < PER_FEATURE * dim:
            return None
        parts = without_blocks(count, 4, seed=seed).reshape(-1, count - count // 4)
        three_quarters = np.mean([self.frechet_distance(features[rows]) for rows in parts])
        whole = self.frechet_distance(features)
        value = 8 * whole - 9 * three_quarters + 2 * halves.mean()
        return Estimate.of_halves(value, halves, whole - value)

    def kernel_distance(self, features: Features) -> float:
        """Return the unbiased squared MMD with the kernel (x·y/D + 1)³, or KID (Bińkowski et al. 2018, section 4).

        It may be negative if the sets differ by less than chance.
        """
        own, cross = self._kernel_means(features, np.ones((1, len(features))))
        return float(own[0] + self._own_kernel - 2 * cross[0])

    def kernel_estimate(self, features: Features, splits: int = SPLITS, seed: int = 0) -> tuple[Estimate, Features]:
        """Return the kernel distance with its interval, and the distances of the halves; each kernel is computed once.

        With the kernels k(x, x) included, the distance would be a squared norm and so positive; they make up the offset.
        """
        count = len(features)
        chosen = np.zeros((splits, 2, count))
        np.put_along_axis(chosen, random_halves(count, splits, seed), 1.0, axis=2)
        own, cross = self._kernel_means(features, np.concatenate([np.ones((1, count)), chosen.reshape(-1, count)]))
        value, *others = own + self._own_kernel - 2 * cross
        halves = np.reshape(others, (splits, 2))
        with_themselves = _with_itself(features, own[0]) + _with_itself(self.features, self._own_kernel)
        return Estimate.of_halves(value, halves, with_themselves), halves

    def p_values(self, first: Features, second: Features) -> dict[str, float]:
        """Return the p-values of permutation tests of the differences between both distances of two models' samples.

        Args:
            first, second: (N, D), from the same noise in the same order.
        """
        some = self.thinned(max(ENOUGH, len(first)))
        distances = {"frechet_distance": self.frechet_distance, "kernel_distance": some.kernel_distance}

        def test(distance: Callable[[Features], float]) -> float:
            def swapped_difference(swapped: NDArray[np.bool_]) -> float:
                swap = swapped[:, None]
                return distance(np.where(swap, second, first)) - distance(np.where(swap, first, second))

            return permutation_test(swapped_difference, len(first), ROUNDS)

        return {name: test(distance) for name, distance in distances.items()}

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


def recall_estimate(fake: Features, real: Features, neighbours: int = NEIGHBOURS) -> tuple[Estimate, Features]:
    """Return recall, the share of real images within the fakes' manifold (see :func:`within`), and the recalls of subsets.

    The interval is that of its variation over other fakes: the real images are far from independent cases, because each
    depends on the same fakes.
    """
    from sklearn.metrics import pairwise_distances

    own, across = pairwise_distances(fake), pairwise_distances(real, fake)

    def recall(rows: NDArray[np.int64]) -> float:
        radii = np.partition(own[np.ix_(rows, rows)], neighbours)[:, neighbours]  # the nearest is the image itself
        return float((across[:, rows] <= radii).any(1).mean())

    subsets = np.array([recall(rows) for rows in random_subsets(len(fake), neighbours + 1)])
    return Estimate.of_subsets(recall(np.arange(len(fake))), subsets, len(real)), subsets


def within(points: Features, others: Features, neighbours: int = NEIGHBOURS) -> NDArray[np.bool_]:
    """Return for each point whether it is within the manifold of the others, (N,); precision is the share of fakes that are.

    A point is within it if it is at most as far from one of the others as that one's k-th nearest neighbour among themselves
    (Kynkäänniemi et al. 2019, equation 1).
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radii = NearestNeighbors().fit(others).kneighbors(n_neighbors=neighbours)[0][:, -1]  # excluding themselves
    return np.asarray((pairwise_distances(points, others) <= radii).any(1))


def nearest(points: Features, others: Features) -> tuple[NDArray[np.int64], Features]:
    """Return the index of each point's nearest neighbour among ``others``, (N,), and the distance to it, (N,)."""
    from sklearn.neighbors import NearestNeighbors

    distances, numbers = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(points)
    return numbers[:, 0], distances[:, 0]


def closer_than_held_out(features: Features, reference: Reference, newness: Features) -> NDArray[np.bool_]:
    """Return for each image whether it is closer to a training image than nearly all held-out images are, (N,).

    Args:
        features: (N, D) of the images.
        reference: the training images.
        newness: distances of held-out images from their nearest training images.
    """
    return np.asarray(nearest(features, reference.features)[1] < np.quantile(newness, CLOSEST))
