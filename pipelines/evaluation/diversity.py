"""Density, coverage and the Vendi score of sets of images in a feature space. Features are (N, D) arrays; torch-free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .distances import Features
from .intervals import Estimate, Values, blocks_error, mean_error, without_blocks

NEIGHBOURS = 5  # k of the nearest neighbours in density and coverage, as in the paper
BLOCKS = 6  # of images, each of which is left out in turn to estimate the interval of the Vendi score
LEAST = 30  # images from which the interval of the Vendi score holds


def density_and_coverage(
    fake: Features, real: Features, neighbours: int = NEIGHBOURS
) -> tuple[tuple[Estimate, Values], tuple[Estimate, Values]]:
    """Return density and coverage (Naeem et al. 2020, equations 3 and 4), with the intervals of their variation over fakes.

    A fake is near a real image if it is at most as far from it as that one's k-th nearest neighbour among the real images.
    Density is the mean number of real images that a fake is near, divided by k; unlike precision it does not grow much with a
    few outliers among the real images, whose neighbourhoods are large. Coverage is the share of real images that a fake is
    near. Fakes of the same distribution have density 1 and a coverage of 1 − (N−1)…(N−k) / ((M+N−1)…(M+N−k)) on average, for M
    fakes and N real images.

    Args:
        fake: (M, D), M ≥ 2.
        real: (N, D), N > k.

    Returns:
        Density, and the fakes' values whose mean it is, (M,). Coverage, and values of the fakes, (M,), whose mean has the same
        error: M times what it is less without each.
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radii = NearestNeighbors().fit(real).kneighbors(n_neighbors=neighbours)[0][:, -1]  # excluding themselves
    near = pairwise_distances(fake, real) <= radii
    values = near.sum(1) / neighbours
    return (Estimate.of_mean(values), values), _coverage(near)


def _coverage(near: NDArray[np.bool_]) -> tuple[Estimate, Values]:
    """Return coverage, and M times what it is less without each fake, (M,).

    Its interval is that of a share of as many independent cases as would give the same variance.

    The variance is the sum V₁ + V₂ + … of the contributions of single fakes, pairs, and so on (Hoeffding 1948, section 5).
    Without one fake, coverage lacks the real images that only this one is near. The jackknife of these numbers has the
    expectation V₁ + 2·V₂ + 3·V₃ + …, and that of pairs, from real images near exactly two fakes, V₂ + 3·V₃ + …: the jackknife
    is too large, and without the pairs too small (Bonferroni's inequalities). Their mean is taken.

    Args:
        near: (M, N), which fake is near which real image.
    """
    fakes, reals = near.shape
    alone = near[:, near.sum(0) == 1].sum(1) * fakes / reals
    shared = near[:, near.sum(0) == 2].astype(float)
    pairs = np.square(np.triu(shared @ shared.T, 1)).sum() / reals**2
    jackknife, value = mean_error(alone) ** 2, near.any(0).mean()
    variance = max(jackknife - pairs / 2, jackknife / 2)
    without = value - alone.mean() / fakes  # one fake: less than 1 where the variance is not 0
    count = min(reals, without * (1 - without) / variance) if variance > 0 else reals
    return Estimate.of_share(value, count), alone


def vendi_score(features: Features) -> float:
    """Return the effective number of different images, exp(−Σ λ·log λ) (Friedman & Dieng 2023, definition 3.1).

    λ are the eigenvalues of the matrix of cosine similarities, divided by the number of images: of N different (orthogonal)
    ones the score is N, of equal ones 1. It is biased: fewer images have a smaller score, so compare equally many.

    Args:
        features: (N, D).
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(np.finfo(float).tiny)
    count, dim = unit.shape
    values = np.linalg.eigvalsh((unit @ unit.T if count <= dim else unit.T @ unit) / count)
    present = values[values > np.finfo(float).eps * count]  # others are 0 but for rounding
    return float(np.exp(-present @ np.log(present)))


def vendi_estimate(features: Features) -> tuple[Estimate, Values]:
    """Return the Vendi score with the interval of its variation over other sets of the same size, and those without blocks.

    With fewer than LEAST images the interval would be too narrow.
    """
    splits = without_blocks(len(features), BLOCKS)
    parts = np.array([[vendi_score(features[rows]) for rows in split] for split in splits])
    return Estimate.around(vendi_score(features), blocks_error(parts)), parts
