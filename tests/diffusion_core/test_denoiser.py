"""The denoiser: a network that is right about its target is right about x0."""

import pytest
import torch
from torch import nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.process import NOISE_SCALE, PREDICTIONS, add_noise, network_input, prediction_target
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SCHEDULES, make_schedule, sampling_timesteps

POSSIBLE = [
    (name, zero, prediction)
    for name in SCHEDULES
    for zero in (False, True)
    for prediction in PREDICTIONS
    if not (prediction == "epsilon" and (zero or name == "flow"))
]


class Oracle(nn.Module):
    """Outputs the exact target of images and timesteps that it knows."""

    def __init__(self, x0, noise, schedule, prediction, t):
        super().__init__()
        self.x0, self.noise, self.schedule, self.prediction = x0, noise, schedule, prediction
        self.t = torch.as_tensor(t).reshape(-1)

    def forward(self, x_t, t, condition=None):
        assert t.shape == self.t.shape
        if not PREDICTIONS[self.prediction].scales_input:
            assert torch.equal(t, self.t.float())
        return prediction_target(self.prediction, self.x0, self.noise, *self.schedule.at(self.t))


class Function(nn.Module):
    """A network made of a plain function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x_t, t, condition=None):
        return self.function(x_t, t, condition)


def images(batch=4):
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(batch, 1, 4, 4, generator=generator) * 2 - 1
    return x0, torch.randn(x0.shape, generator=generator)


@pytest.mark.parametrize(("name", "zero", "prediction"), POSSIBLE)
def test_the_exact_target_gives_x0(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    for t in (0, 0.5, 500, 998.75, 999):
        denoise = Denoiser(Oracle(x0, noise, schedule, prediction, t), schedule, prediction, data_range=None)
        found = denoise(add_noise(schedule, x0, noise, t), t)
        assert found.dtype == torch.float32
        # In float32 a rounding of x_t, of up to 3 times 1.2e-7, reaches x0 through 1/alpha with epsilon.
        alpha = schedule.at(t)[0].item()
        torch.testing.assert_close(found, x0, rtol=0, atol=1e-6 / alpha if prediction == "epsilon" else 2e-6)


@pytest.mark.parametrize(("name", "zero", "prediction"), POSSIBLE)
def test_each_image_may_have_its_own_timestep(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    for t in (torch.tensor([0, 10, 500, 990]), torch.tensor([0.5, 10.25, 500.0, 990.75])):
        denoise = Denoiser(Oracle(x0, noise, schedule, prediction, t), schedule, prediction, data_range=None)
        torch.testing.assert_close(denoise(add_noise(schedule, x0, noise, t), t), x0, rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [0, 3, 500.5, 999])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_number_equals_the_same_timestep_for_every_image(prediction, t):
    schedule = make_schedule("linear")
    x_t = images()[1]
    denoise = Denoiser(Function(lambda x, t, c: torch.tanh(x) + t.view(-1, 1, 1, 1) / 1000), schedule, prediction, None)
    each = denoise(x_t, torch.full((4,), float(t)))
    for shared in (t, torch.tensor(t), torch.tensor([t])):
        torch.testing.assert_close(denoise(x_t, shared), each, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "zero"), [(name, zero) for name in SCHEDULES for zero in (False, True)])
def test_edm_preconditioning_is_table_1_of_the_paper(name, zero):
    """A network that knows only its own two inputs, and the table for x_t = x0 + sigma·ε, denoises N(m, s²) exactly, on every
    schedule and from every noise level to the image."""
    mean, spread, d = 0.3, 0.2, 0.5

    def network(scaled, c_noise, condition):
        sigma = (c_noise.double() / NOISE_SCALE * 4).exp().view(-1, 1, 1, 1)
        c_skip, c_out = d**2 / (sigma**2 + d**2), sigma * d / (sigma**2 + d**2) ** 0.5
        state = scaled * (sigma**2 + d**2) ** 0.5  # scaled is c_in·state
        return ((mean + spread**2 / (spread**2 + sigma**2) * (state - mean)) - c_skip * state) / c_out

    schedule = make_schedule(name, zero_terminal_snr=zero)
    denoise = Denoiser(Function(network), schedule, "edm", data_range=None)
    x = images()[1]
    for t in (0, 1.5, 300, 700.25, 998, 999, torch.tensor([0.0, 10.0, 600.0, 999.0])):
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule.at(t))
        best = mean + alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * (x - alpha * mean)
        # Where alpha/sigma is below exp(−LOUDEST) = 1e-3, c_noise says that x0 is lost, and is right to that.
        torch.testing.assert_close(denoise(x, t).double(), best, rtol=0, atol=2e-3 if alpha.min() < 2e-3 else 1e-5)
    for sampler in ("heun", "dpmpp_2m", "ddim"):
        *_, last = SAMPLERS[sampler](denoise, x, sampling_timesteps(schedule, 200), schedule)
        alpha, sigma = schedule.at(999)
        exact = mean + spread / torch.hypot(alpha * spread, sigma) * (x - alpha * mean)
        torch.testing.assert_close(last.x, exact.float(), rtol=0, atol=0.02)


@pytest.mark.parametrize(("name", "zero"), [(name, zero) for name in SCHEDULES for zero in (False, True)])
def test_edm_inputs_and_targets_have_variance_1(name, zero):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 8, 1, 100, 100, generator=generator, dtype=torch.float64)
    t = torch.tensor([0, 1, 50, 300, 500, 800, 998, 999])
    levels = schedule.at(t)
    scaled, _ = network_input("edm", add_noise(schedule, 0.5 * x0, noise, t), t, *levels)
    for values in (scaled, prediction_target("edm", 0.5 * x0, noise, *levels)):
        torch.testing.assert_close(values.std(dim=(1, 2, 3)), torch.ones(8, dtype=torch.float64), rtol=0.03, atol=0)


def test_the_network_gets_float32_timesteps_and_the_condition():
    condition, seen = object(), []

    def network(x_t, t, given):
        seen.append((t, given))
        return x_t

    denoise = Denoiser(Function(network), make_schedule("linear"))
    denoise(images()[1], 3.5, condition)
    denoise(images()[1], torch.arange(4), condition)
    assert all(given is condition and t.dtype == torch.float32 for t, given in seen)
    assert torch.equal(seen[0][0], torch.tensor([3.5]))
    assert torch.equal(seen[1][0], torch.arange(4.0))


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 1.0), (-0.25, 2.0)])
def test_estimates_are_clipped_to_the_data_range(data_range):
    schedule, x_t = make_schedule("linear"), images()[1]
    network = Function(lambda x, t, c: 5 * x)
    free = Denoiser(network, schedule, "x0", None)(x_t, 10)
    assert torch.equal(free, 5 * x_t)
    clipped = Denoiser(network, schedule, "x0", data_range)(x_t, 10)
    assert torch.equal(clipped, free.clamp(*data_range))
    assert free.abs().max() > 2  # so that there was something to clip


def test_pixel_models_are_clipped_by_default():
    estimate = Denoiser(Function(lambda x, t, c: 5 * x), make_schedule("linear"), "x0")(images()[1], 10)
    assert estimate.min() == -1
    assert estimate.max() == 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_estimates_are_float32_whatever_the_network_computes_in(prediction):
    x_t = images()[1]
    denoise = Denoiser(Function(lambda x, t, c: x.bfloat16()), make_schedule("linear"), prediction, None)
    for state in (x_t, x_t.bfloat16(), x_t.double()):
        for t in (500, torch.full((4,), 500)):
            assert denoise(state, t).dtype == torch.float32


@pytest.mark.parametrize(("name", "zero"), [("linear", True), ("cosine", True), ("sigmoid", True), ("flow", False)])
def test_epsilon_is_refused_on_a_schedule_that_ends_in_pure_noise(name, zero):
    with pytest.raises(ValueError, match=r"epsilon-prediction.*predict v, x0, flow or edm"):
        Denoiser(nn.Identity(), make_schedule(name, zero_terminal_snr=zero), "epsilon")


def test_unknown_predictions_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'noise'.*flow, v, epsilon, x0"):
        Denoiser(nn.Identity(), make_schedule("linear"), "noise")


def test_the_network_is_a_submodule():
    network = nn.Conv2d(1, 1, 1)
    denoise = Denoiser(network, make_schedule("linear"))
    assert list(denoise.parameters()) == list(network.parameters())
