"""The denoiser: a network that is right about its target is right about x0."""

import pytest
import torch
from torch import nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.process import PREDICTIONS, add_noise, prediction_target
from diffusion_core.schedules import SCHEDULES, make_schedule

POSSIBLE = [
    (name, zero, prediction)
    for name in SCHEDULES
    for zero in (False, True)
    for prediction in PREDICTIONS
    if not (prediction == "epsilon" and (zero or name == "flow"))
]


class Oracle(nn.Module):
    """Outputs the exact target of images that it knows."""

    def __init__(self, x0, noise, schedule, prediction):
        super().__init__()
        self.x0, self.noise, self.schedule, self.prediction = x0, noise, schedule, prediction

    def forward(self, x_t, t, condition=None):
        assert t.ndim == 1
        assert len(t) in (1, len(x_t))
        return prediction_target(self.prediction, self.x0, self.noise, *self.schedule.at(t))


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


@pytest.mark.parametrize("t", [0, 0.5, 500, 998.75, 999])
@pytest.mark.parametrize(("name", "zero", "prediction"), POSSIBLE)
def test_the_exact_target_gives_x0(name, zero, prediction, t):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    denoise = Denoiser(Oracle(x0, noise, schedule, prediction), schedule, prediction, data_range=None)
    found = denoise(add_noise(schedule, x0, noise, t), t)
    assert found.dtype == torch.float32
    # In float32 a rounding of x_t, of up to 3 times 1.2e-7, reaches x0 through 1/alpha with epsilon.
    alpha = schedule.at(t)[0].item()
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-6 / alpha if prediction == "epsilon" else 2e-6)


@pytest.mark.parametrize("t", [torch.tensor([0, 10, 500, 990]), torch.tensor([0.5, 10.25, 500.0, 990.75])])
@pytest.mark.parametrize(("name", "zero", "prediction"), POSSIBLE)
def test_each_image_may_have_its_own_timestep(name, zero, prediction, t):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = images()
    denoise = Denoiser(Oracle(x0, noise, schedule, prediction), schedule, prediction, data_range=None)
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
    with pytest.raises(ValueError, match=r"epsilon-prediction.*predict v, x0 or flow"):
        Denoiser(nn.Identity(), make_schedule(name, zero_terminal_snr=zero), "epsilon")


def test_unknown_predictions_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'noise'.*flow, v, epsilon, x0"):
        Denoiser(nn.Identity(), make_schedule("linear"), "noise")


def test_the_network_is_a_submodule():
    network = nn.Conv2d(1, 1, 1)
    denoise = Denoiser(network, make_schedule("linear"))
    assert list(denoise.parameters()) == list(network.parameters())
