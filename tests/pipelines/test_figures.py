import numpy as np
import pandas as pd
import pytest

from pipelines import figures
from pipelines.figures import decimate, loss_by_timestep, pixel_histogram, schedule_curves, smooth, training_curves


def test_smoothing_a_constant_changes_nothing():
    x = np.sort(np.random.default_rng(0).uniform(0, 100, 50))
    assert np.allclose(smooth(x, np.full(50, 3.0), 7.0), 3.0)


def test_half_life_zero_returns_the_values():
    y = np.random.default_rng(0).normal(size=20)
    assert np.array_equal(smooth(np.arange(20.0), y, 0.0), y)


def test_a_step_is_half_followed_after_one_half_life():
    x = np.arange(20_000.0)
    y = (x >= 10_000).astype(float)
    assert smooth(x, y, 500.0)[10_500 - 1] == pytest.approx(0.5, abs=1e-3)


def test_smoothing_scales_with_the_axis():
    y = np.random.default_rng(0).normal(size=100)
    x = np.arange(100.0)
    assert np.allclose(smooth(x, y, 5.0), smooth(64 * x, y, 64 * 5.0))


def test_values_that_are_not_finite_are_passed_over():
    smoothed = smooth(np.arange(5.0), np.array([1.0, np.nan, 1.0, np.inf, 1.0]), 2.0)
    assert np.allclose(smoothed, 1.0)


@pytest.mark.parametrize("count", [1, 2, 1999, 2000, 2001, 54_321])
def test_decimation_keeps_both_ends_and_the_order(count):
    shown = decimate(count)
    assert shown[0] == 0
    assert shown[-1] == count - 1
    assert len(shown) == min(count, figures.MAX_POINTS)
    assert (np.diff(shown) > 0).all()


@pytest.mark.parametrize("drawn", [2, 11, 500, 5001])
def test_smoothing_does_not_change_with_decimation(monkeypatch, drawn):
    """Every drawn point is the smoothed value of all points before it, however many points are drawn."""
    steps, losses = np.arange(5001.0), np.random.default_rng(0).normal(1, 0.1, 5001)
    monkeypatch.setattr(figures, "MAX_POINTS", drawn)
    curve = training_curves({"run": pd.DataFrame({"step": steps, "loss": losses})}, smoothing=0.02).data[-1]
    assert len(curve.x) == drawn
    assert np.array_equal(curve.y, smooth(steps, losses, 100.0)[np.asarray(curve.x, int)])


def test_every_run_keeps_its_colour_when_another_has_nothing_to_show():
    full = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    figure = training_curves({"empty": pd.DataFrame(), "full": full})
    assert [trace.name for trace in figure.data] == ["full"]
    assert figure.data[0].line.color == figures.color(1)


def test_loss_by_timestep_covers_the_schedule():
    trace = loss_by_timestep({"run": [0.1] * 20}, {"run": 1000}).data[0]
    assert trace.x[0] == 25
    assert trace.x[-1] == 975


def test_schedule_curves_survive_zero_terminal_snr():
    alpha, sigma = np.array([1.0, 0.5, 0.0]), np.array([0.01, 0.5, 1.0])
    figure = schedule_curves({"flow": (alpha, sigma)}, marked=1)
    assert len(figure.data) == 3
    assert np.isnan(figure.data[2].y[-1])


def test_the_histogram_of_standard_noise_follows_its_density():
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    bars, curve = pixel_histogram(noise).data
    assert np.abs(np.array(bars.y)[1:-1] - np.array(curve.y)[1:-1]).max() < 0.02
