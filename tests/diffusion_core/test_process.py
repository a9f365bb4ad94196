"""The forward process, and the four views of its one unknown."""

import pytest
import torch
from diffusers import DDPMScheduler

from diffusion_core.process import (
    PREDICTIONS,
    add_noise,
    check_prediction,
    noise_from_x0,
    prediction_target,
    x0_coefficients,
    x0_from_prediction,
)
from diffusion_core.schedules import SCHEDULES, make_schedule

EVERY = [(name, zero) for name in SCHEDULES for zero in (False, True)]


def images(batch=3):
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(batch, 2, 4, 6, generator=generator, dtype=torch.float64) * 2 - 1
    return x0, torch.randn(x0.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_every_prediction_round_trips_at_both_ends(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    for t in (0, 0.5, 1, 500, 998, 998.5, 999):
        x_t = add_noise(schedule, x0, noise, t)
        alpha, sigma = schedule.at(t)
        output = prediction_target(prediction, x0, noise, alpha, sigma)
        if prediction == "epsilon" and alpha == 0:
            with pytest.raises(ValueError, match=r"alpha is 0.*predict v, x0, flow or edm"):
                x0_from_prediction(prediction, output, x_t, alpha, sigma)
            continue
        # epsilon divides the roundings of x_t (up to 4, so 4e-16 each) by alpha, which is 5e-5 at the end of cosine.
        atol = 2e-15 / alpha.item() if prediction == "epsilon" else 1e-14
        torch.testing.assert_close(x0_from_prediction(prediction, output, x_t, alpha, sigma), x0, rtol=0, atol=atol)
        torch.testing.assert_close(noise_from_x0(x0, x_t, alpha, sigma), noise, rtol=0, atol=1e-11)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_round_trip_assumes_nothing_about_alpha_and_sigma(prediction):
    x0, noise = images()
    for alpha in (0.01, 0.5, 1.0, 3.0):
        for sigma in (0.0, 0.02, 0.7, 2.0):
            output = prediction_target(prediction, x0, noise, alpha, sigma)
            again = x0_from_prediction(prediction, output, alpha * x0 + sigma * noise, alpha, sigma)
            torch.testing.assert_close(again, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_targets_are_what_they_are_called(prediction):
    x0, noise = images()
    wanted = {"epsilon": noise, "x0": x0, "v": 0.6 * noise - 0.8 * x0, "flow": noise - x0}
    wanted["edm"] = (0.8 * x0 - 0.6 * 0.25 * noise) / ((0.64 + 0.36 * 0.25) ** 0.5 * 0.5)
    torch.testing.assert_close(prediction_target(prediction, x0, noise, 0.6, 0.8), wanted[prediction], rtol=0, atol=1e-15)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_one_level_an_image_equals_one_image_at_a_time(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    t = torch.tensor([0.0, 500.25, 998.0], dtype=torch.float64)
    alpha, sigma = schedule.at(t)
    x_t = add_noise(schedule, x0, noise, t)
    output = prediction_target(prediction, x0, noise, alpha, sigma) + 0.1
    batch = x0_from_prediction(prediction, output, x_t, alpha, sigma)
    found_noise = noise_from_x0(batch, x_t, alpha, sigma)
    for i in range(3):
        a, s, row = alpha[i].item(), sigma[i].item(), slice(i, i + 1)
        one_t = add_noise(schedule, x0[row], noise[row], t[i].item())
        one_output = prediction_target(prediction, x0[row], noise[row], a, s) + 0.1
        one = x0_from_prediction(prediction, one_output, one_t, a, s)
        torch.testing.assert_close(x_t[row], one_t, rtol=0, atol=1e-14)
        torch.testing.assert_close(batch[row], one, rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(found_noise[row], noise_from_x0(one, one_t, a, s), rtol=1e-12, atol=1e-9)


def test_states_keep_the_precision_of_the_images():
    schedule = make_schedule("linear")
    for dtype in (torch.float32, torch.float64):
        x0, noise = (image.to(dtype) for image in images())
        for t in (3, 3.5, torch.tensor(3), torch.tensor([3, 500, 999])):
            x_t = add_noise(schedule, x0, noise, t)
            assert x_t.dtype == dtype
            for prediction in PREDICTIONS:
                assert prediction_target(prediction, x0, noise, *schedule.at(t)).dtype == dtype
                assert x0_from_prediction(prediction, noise, x_t, *schedule.at(t)).dtype == dtype


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_add_noise_is_that_of_diffusers(name, theirs):
    oracle = DDPMScheduler(beta_schedule=theirs, beta_start=1e-4, beta_end=0.02)
    x0, noise = images(8)
    t = torch.tensor([0, 1, 10, 250, 500, 750, 998, 999])
    # Their table is float32: an error of 6e-8 of 1 − ᾱ[0] = 1e-4 moves sigma[0] by 3e-6.
    torch.testing.assert_close(add_noise(make_schedule(name), x0, noise, t), oracle.add_noise(x0, noise, t), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_noised_pixels_have_the_stated_mean_and_deviation(name, zero):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    noise = torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for t in (0, 500, 999):
        alpha, sigma = schedule.at(t)
        x_t = add_noise(schedule, torch.full_like(noise, 0.5), noise, t)
        assert abs(x_t.mean() - 0.5 * alpha) < 4 * sigma / 100  # 4 standard errors of 10,000 draws
        assert abs(x_t.std() / sigma - 1) < 4 / 200**0.5 / 10


@pytest.mark.parametrize("call", [check_prediction, lambda name: x0_coefficients(name, 1.0, 1.0)])
def test_unknown_predictions_are_refused_with_the_known_ones(call):
    with pytest.raises(ValueError, match=r"'eps'.*flow, v, epsilon, x0"):
        call("eps")
    x0, noise = images()
    with pytest.raises(ValueError, match=r"'eps'.*flow, v, epsilon, x0"):
        prediction_target("eps", x0, noise, 1.0, 1.0)


def test_epsilon_is_refused_where_any_image_is_pure_noise():
    x0, _ = images(2)
    levels = torch.tensor([0.5, 0.0]), torch.tensor([0.5, 1.0])
    with pytest.raises(ValueError, match="alpha is 0"):
        x0_from_prediction("epsilon", x0, x0, *levels)
