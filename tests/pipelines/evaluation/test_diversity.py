"""Density, coverage, the Vendi score, and the Fréchet distance of infinitely many images: closed forms and honest intervals."""

import math

import numpy as np
import pytest

from pipelines.evaluation.distances import Reference
from pipelines.evaluation.diversity import NEIGHBOURS, density_and_coverage, vendi_score


def cloud(count, dim, seed, mean=0.0, scale=1.0):
    return mean + scale * np.random.default_rng(seed).standard_normal((count, dim))


def test_density_and_coverage_are_their_definitions():
    fake, real = cloud(40, 3, 0, scale=1.5), cloud(50, 3, 1)
    distance = np.linalg.norm(real[:, None] - real, axis=-1)
    radius = np.sort(distance, axis=1)[:, NEIGHBOURS]  # the first is the point itself
    near = np.linalg.norm(fake[:, None] - real, axis=-1) <= radius
    density, coverage = density_and_coverage(fake, real)
    assert density.value == pytest.approx(near.sum() / (NEIGHBOURS * 40))
    assert coverage.value == pytest.approx(near.any(0).mean())
    assert [estimate.value for estimate in density_and_coverage(fake + 100, real)] == [0, 0]


@pytest.mark.parametrize(("fakes", "reals"), [(60, 100), (100, 60)])
def test_fakes_of_the_same_distribution_have_the_expectation_of_the_paper(fakes, reals):
    """Naeem et al. 2020, section 3.3, in any number of dimensions."""
    drawn = [density_and_coverage(cloud(fakes, 4, seed), cloud(reals, 4, 1000 + seed)) for seed in range(100)]
    densities, coverages = (np.array([estimate.value for estimate in column]) for column in zip(*drawn, strict=True))
    missed = math.prod((reals - k) / (fakes + reals - k) for k in range(1, NEIGHBOURS + 1))
    for found, expected in ((densities, 1), (coverages, 1 - missed)):
        assert abs(found.mean() - expected) < 3 * found.std() / 10


def test_the_vendi_score_counts_different_images():
    different = np.eye(12)[:8]
    assert vendi_score(different).value == pytest.approx(8)
    assert vendi_score(3 * np.repeat(different, 20, axis=0)).value == pytest.approx(8), "copies and lengths count for nothing"
    same = vendi_score(np.ones((50, 6)))
    assert (same.low, same.value, same.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("count", [5, 40])
def test_the_vendi_score_is_its_definition(count):
    features = cloud(count, 12, 0, 0.5)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / count)
    assert vendi_score(features).value == pytest.approx(np.exp(-sum(one * np.log(one) for one in values if one > 1e-12)))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.2)])
def test_the_fréchet_distance_is_extrapolated_to_the_closed_form(shift, scale):
    """Of Gaussians whose covariances are multiples of the identity: |μ − μ_r|² + D·(σ − σ_r)². The interval holds it."""
    dim, count = 6, 60
    random = np.random.default_rng(7)
    white = random.standard_normal((1000, dim))
    white -= white.mean(0)
    reference = Reference(white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T)  # covariance exactly 1
    truth = dim * (shift**2 + (scale - 1) ** 2)
    plain, found = [], []
    for seed in range(120):
        features = cloud(count, dim, seed, shift, scale)
        estimate, halves = reference.frechet_estimate(features, splits=40)
        plain.append(estimate.value)
        found.append(reference.frechet_at_infinity(features, halves))
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / len(values) ** 0.5
    assert np.mean(plain) > truth + 0.1, "which the distance of so few images is far from"
    assert 0.9 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
    assert reference.frechet_at_infinity(features[:17], halves) is None


def with_outliers(seed):
    features = cloud(200, 8, seed, 0.3)
    features[:, :3] *= 2
    return features


@pytest.mark.parametrize(
    ("figure", "width"),
    [
        (lambda features, real: density_and_coverage(features, real)[0], 0.12),
        (lambda features, real: density_and_coverage(1.4 * features, real)[1], 0.12),
        (lambda features, real: vendi_score(features), 0.12),
    ],
    ids=["density", "coverage", "vendi"],
)
def test_intervals_are_neither_too_narrow_nor_too_wide(figure, width):
    """Over and over other images they hold the mean figure of as many 92 to 98 % of the time."""
    real = with_outliers(5000)
    found = [figure(with_outliers(seed), real) for seed in range(250)]
    values = np.array([one.value for one in found])
    assert 0.92 <= np.mean([one.low <= values.mean() <= one.high for one in found]) <= 0.98
    widths = np.median([one.high - one.low for one in found]) / (2 * 1.96 * values.std())
    assert abs(widths - 1) < width
