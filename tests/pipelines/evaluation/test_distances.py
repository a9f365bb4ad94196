"""Distances in feature space: closed forms, and the numbers of libraries that others use."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from pipelines.evaluation.distances import Reference, nearest, recall_estimate, within
from pipelines.evaluation.intervals import Estimate, blocks_error, random_halves


def cloud(count, dim, seed, mean=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((dim, dim)) / dim**0.5
    return mean + scale * random.standard_normal((count, dim)) @ mix


class AsItIs(torch.nn.Module):
    """A feature extractor for images that are features already."""

    num_features = 6

    def forward(self, x):
        return x.flatten(1)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    """In one dimension: (μ_a − μ_b)² + (σ_a − σ_b)²."""
    a, b = cloud(400, 1, 0, 1.0, 2.0), cloud(300, 1, 1, -0.5, 0.5)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert Reference(b).frechet_distance(a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_agrees_with_scipy_and_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = cloud(200, 6, 0), cloud(150, 6, 1, 0.3, 1.5)
    found = Reference(b).frechet_distance(a)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert found == pytest.approx(expected, rel=1e-6)
    metric = FrechetInceptionDistance(feature=AsItIs(), normalize=True, input_img_size=(1, 1, 6)).set_dtype(torch.float64)
    for part, real in ((b, True), (a, False)):
        metric.update(torch.from_numpy(part), real=real)
    assert found == pytest.approx(metric.compute().item(), rel=1e-4)


def test_fewer_images_than_features():
    a, b = cloud(20, 50, 0), cloud(30, 50, 1)
    assert np.isfinite(Reference(b).frechet_distance(a))
    assert Reference(a).frechet_distance(a) == pytest.approx(0, abs=1e-4)


def test_kernel_distance_agrees_with_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    a, b = cloud(120, 6, 0), cloud(120, 6, 1, 0.3)
    parts = [torch.from_numpy(x) for x in (a, b)]
    assert Reference(b).kernel_distance(a) == pytest.approx(poly_mmd(*parts).item(), rel=1e-6)


def test_kernel_distance_of_the_same_kind_is_0_on_average():
    found = [Reference(cloud(100, 4, seed)).kernel_distance(cloud(100, 4, 1000 + seed)) for seed in range(60)]
    assert abs(np.mean(found)) < 3 * np.std(found) / len(found) ** 0.5
    assert min(found) < 0


@pytest.mark.parametrize("at_once", [7, 1000])
def test_the_kernel_distance_of_a_half_is_that_of_its_images(monkeypatch, at_once):
    monkeypatch.setattr("pipelines.evaluation.distances.AT_ONCE", at_once)
    reference, features = Reference(cloud(50, 4, 0)), cloud(41, 4, 1, 0.3)
    given = {}
    monkeypatch.setattr(Estimate, "of_halves", lambda *parts: given.update(enumerate(parts)))
    assert reference.kernel_estimate(features, splits=5, seed=3)[1] is given[1]
    value, halves, offset = given.values()
    expected = [[reference.kernel_distance(features[rows]) for rows in pair] for pair in random_halves(41, 5, 3)]
    assert value == pytest.approx(reference.kernel_distance(features))
    np.testing.assert_allclose(halves, expected, rtol=1e-9)
    everything = [
        (a @ b.T / 4 + 1) ** 3 for a, b in ((features, features), (reference.features,) * 2, (features, reference.features))
    ]
    assert value + offset == pytest.approx(everything[0].mean() + everything[1].mean() - 2 * everything[2].mean())


def test_fewer_reference_images_are_from_all_over():
    """Images often come class by class; the first of them are a few classes only."""
    by_class = Reference(np.concatenate([cloud(300, 3, number, 4.0 * number) for number in range(4)]))
    few = by_class.thinned(100)
    assert 100 <= len(few.features) < 200
    assert few.frechet_distance(by_class.features) < 0.02 * Reference(by_class.features[:100]).frechet_distance(
        by_class.features
    )
    assert len(by_class.thinned(5000).features) == 1200


def test_precision_and_recall():
    real = cloud(300, 3, 0)
    few = real[np.linalg.norm(real, axis=1).argsort()[:20]] + 1e-6  # true to life, but all alike
    for fake, precision, recall in ((real, 1, (1, 1)), (real + 100, 0, (0, 0)), (few, 1, (0.05, 0.7))):
        assert within(fake, real).mean() == precision
        assert recall[0] <= recall_estimate(fake, real)[0].value <= recall[1]


def test_precision_is_the_definition():
    fake, real = cloud(40, 3, 0, scale=1.5), cloud(50, 3, 1)
    distance = np.linalg.norm(real[:, None] - real, axis=-1)
    radius = np.sort(distance, axis=1)[:, 3]  # the first is the point itself
    expected = (np.linalg.norm(fake[:, None] - real, axis=-1) <= radius).any(1).mean()
    assert within(fake, real).mean() == pytest.approx(expected)
    assert recall_estimate(real, fake)[0].value == pytest.approx(expected), "which is precision with the sets exchanged"


def test_nearest():
    points, others = cloud(30, 4, 0), cloud(50, 4, 1)
    distance = np.linalg.norm(points[:, None] - others, axis=-1)
    numbers, distances = nearest(points, others)
    assert np.array_equal(numbers, distance.argmin(1))
    np.testing.assert_allclose(distances, distance.min(1))


@pytest.mark.parametrize(("spectrum", "shift"), [("flat", 0.0), ("flat", 0.3), ("steep", 0.0), ("steep", 0.1), ("steep", 0.3)])
@pytest.mark.parametrize("figure", ["frechet", "kernel"])
def test_intervals_are_neither_too_narrow_nor_too_wide(figure, spectrum, shift):
    """Over and over other samples they hold the mean figure of as many images 95 % of the time, give or take.

    A regression: it was 88 % of the time where a few directions make up most of a distance little larger than chance.
    """
    deviations = np.arange(1, 13) ** (-0.75 if spectrum == "steep" else 0.0)

    def drawn(count, seed, shift=0.0):
        return (np.random.default_rng(seed).standard_normal((count, 12)) + shift) * deviations

    reference = Reference(drawn(1000, 7))
    estimate, distance = (getattr(reference, f"{figure}_{what}") for what in ("estimate", "distance"))
    samples = [drawn(80, 1000 + seed, shift) for seed in range(500)]
    values = np.array([distance(part) for part in samples])
    found, halves = zip(*(estimate(part, splits=50) for part in samples[:160]), strict=True)
    held = np.mean([one.low <= values.mean() <= one.high for one in found])
    assert 0.92 <= held <= 0.99
    errors = [one.error for one in found] if shift == 0.3 else [blocks_error(part) for part in halves]  # symmetric there
    assert (0.85 if shift != 0.1 else 0.75) < np.median(errors) / values.std() < 1.15
    assert all(one.low < one.value < one.high for one in found)
    assert figure == "kernel" or min(one.low for one in found) >= 0


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 0.7)], ids=["nearly all", "half"])
def test_the_interval_of_recall_is_neither_too_narrow_nor_too_wide(shift, scale):
    """A regression: that of as many independent cases as there are real images was up to three times too narrow."""
    real = cloud(200, 6, 7)
    found = [recall_estimate(cloud(60, 6, 1000 + seed, shift, scale), real)[0] for seed in range(100)]
    values = np.array([one.value for one in found])
    assert 90 <= sum(one.low <= values.mean() <= one.high for one in found) <= 99
    assert 0.85 < np.median([one.high - one.low for one in found]) / (2 * 1.96 * values.std()) < 1.3
    assert all(0 <= one.low < one.high <= 1 for one in found)


def test_the_interval_of_a_figure_that_is_0():
    features = cloud(40, 4, 0)
    found, _ = Reference(features).frechet_estimate(features)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.low <= found.value <= found.high
    assert np.isfinite([found.low, found.high]).all()
