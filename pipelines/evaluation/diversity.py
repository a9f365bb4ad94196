"""Density, coverage and the Vendi score of sets of images in a feature space. Features are (N, D) arrays; torch-free."""

from __future__ import annotations

import numpy as np

from .distances import Features
from .intervals import Z95, Estimate, random_subsets

NEIGHBOURS = 5  # k of the nearest neighbours in density and coverage, as in the paper
LEFT_OUT = 4  # one in so many fakes is left out of each subset from which the interval of coverage is estimated


def density_and_coverage(fake: Features, real: Features, neighbours: int = NEIGHBOURS) -> tuple[Estimate, Estimate]:
    """Return density and coverage (Naeem et al. 2020, equations 3 and 4), with the intervals of their variation over fakes.

    A fake is near a real image if it is at most as far from it as that one's k-th nearest neighbour among the real images.
    Density is the mean number of real images that a fake is near, divided by k; unlike precision it does not grow much with a
    few outliers among the real images, whose neighbourhoods are large. Coverage is the share of real images that a fake is
    near. Fakes of the same distribution have density 1 and a coverage of 1 − (N−1)…(N−k) / ((M+N−1)…(M+N−k)) on average, for M
    fakes and N real images.

    Args:
        fake: (M, D), M ≥ 2.
        real: (N, D), N > k.
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    radii = NearestNeighbors().fit(real).kneighbors(n_neighbors=neighbours)[0][:, -1]  # excluding themselves
    near = pairwise_distances(fake, real) <= radii
    subsets = np.array([near[rows].any(0).mean() for rows in random_subsets(len(fake), 1, left_out=LEFT_OUT)])
    coverage = Estimate.of_subsets(near.any(0).mean(), subsets, len(real), LEFT_OUT)
    return Estimate.of_mean(near.sum(1) / neighbours), coverage


def vendi_score(features: Features) -> Estimate:
    """Return the effective number of different images, exp(−Σ λ·log λ) (Friedman & Dieng 2023, definition 3.1).

    λ are the eigenvalues of the matrix of cosine similarities, divided by the number of images: of N different (orthogonal)
    ones the score is N, of equal ones 1. It is biased: fewer images have a smaller score, so compare equally many. The interval
    is that of its variation over other sets of the same size: the entropy is the mean of −xᵀ·log(Σ)·x over the unit feature
    vectors x, to first order as if Σ, their second moments, were known (delta method).

    Args:
        features: (N, D), N ≥ 2.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(np.finfo(float).tiny)
    count, dim = unit.shape
    if count <= dim:
        values, vectors = np.linalg.eigh(unit @ unit.T / count)
        parts = values * np.square(vectors) * count
    else:
        values, vectors = np.linalg.eigh(unit.T @ unit / count)
        parts = np.square(unit @ vectors)
    present = values > np.finfo(float).eps * count  # others are 0 but for rounding
    entropies = -parts[:, present] @ np.log(values[present])
    value, factor = np.exp(entropies.mean()), np.exp(Z95 * entropies.std(ddof=1) / count**0.5)
    return Estimate(float(value), float(value / factor), float(value * factor))
