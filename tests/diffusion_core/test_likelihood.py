"""The bound on the likelihood: its terms are the divergences they stand for, and it is tight where the optimum is known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core.likelihood import discretised_gaussian, variational_bound
from diffusion_core.noise import SeededNoise
from diffusion_core.process import add_noise
from diffusion_core.schedules import SCHEDULES, NoiseSchedule, cosine, make_schedule, sampling_timesteps

SHAPE = (1, 8, 8)
GREY = torch.linspace(-1, 1, 256, dtype=torch.float64)


def quantised(values):
    """Rounded to one of 256 levels."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def terms(denoise, x0, timesteps, schedule, seed=0):
    return list(variational_bound(denoise, x0, timesteps, schedule, noise=SeededNoise(seed, SHAPE, range(len(x0)))))


def gaussian_images(mean, deviation, count, seed=0):
    noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return quantised(mean + deviation * noise).float()


def optimal(schedule, mean, deviation):
    """The denoiser of data N(mean, deviation²): E[x0 | x_t]."""

    def denoise(x_t, t, _condition):
        alpha, sigma = (level.item() for level in schedule.at(t))
        gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        return mean + gain * (x_t - alpha * mean)

    return denoise


@pytest.mark.parametrize("deviation", [0.003, 0.02, 0.3, 5.0])
@pytest.mark.parametrize("mean", [-1.2, -1.0, 0.0, 0.7, 1.0])
def test_the_256_levels_share_a_probability_of_1(mean, deviation):
    log = discretised_gaussian(GREY, torch.full_like(GREY, mean), deviation)
    assert log.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert log.isfinite().all()


def test_a_level_has_the_mass_of_its_bin():
    x, mean, deviation = GREY[100:101], torch.tensor([0.05], dtype=torch.float64), 0.3
    normal = Normal(mean, deviation)
    expected = (normal.cdf(x + 1 / 255) - normal.cdf(x - 1 / 255)).log()
    torch.testing.assert_close(discretised_gaussian(x, mean, deviation), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_term_is_the_divergence_it_stands_for(name):
    """Computed from the definitions, for a denoiser that is wrong."""
    schedule = make_schedule(name, 50)
    x0 = gaussian_images(0.1, 0.4, 3)
    timesteps = torch.tensor([49.0, 30.0, 7.0, 0.0])

    def denoise(x_t, _t, _condition):
        return (0.8 * x_t).clamp(-1, 1)

    found = terms(denoise, x0, timesteps, schedule)
    to_bits = 1 / (64 * math.log(2))
    alpha, sigma = schedule.at(49.0)
    prior = kl_divergence(Normal(alpha * x0.double(), sigma), Normal(0.0, 1.0)).flatten(1).sum(1) * to_bits
    torch.testing.assert_close(found[0].bits, prior.to(found[0].bits))
    noise = SeededNoise(0, SHAPE, range(3))
    for index, (t, s) in enumerate([(49.0, 30.0), (30.0, 7.0), (7.0, 0.0)]):
        (alpha, sigma), (alpha_s, sigma_s) = schedule.at(t), schedule.at(s)
        ratio = alpha / alpha_s
        added = sigma**2 - ratio**2 * sigma_s**2
        deviation = (added * sigma_s**2 / sigma**2).sqrt()
        x_t = add_noise(schedule, x0, noise.at_step(index), t)
        means = [(ratio * sigma_s**2 * x_t + alpha_s * added * clean) / sigma**2 for clean in (x0, denoise(x_t, t, None))]
        step = kl_divergence(Normal(means[0].double(), deviation), Normal(means[1].double(), deviation))
        torch.testing.assert_close(found[index + 1].bits, step.flatten(1).sum(1) * to_bits, rtol=1e-4, atol=1e-6)
    assert [term.kind for term in found] == ["prior", "step", "step", "step", "decoder"]


@pytest.mark.parametrize("deviation", [0.1, 0.3])
def test_the_bound_is_tight_for_the_optimal_denoiser(deviation):
    """Above the data's own entropy: by nearly nothing where the log-SNR changes little a step, by more with larger steps."""
    x0 = gaussian_images(0.0, deviation, 40)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * deviation**2) + math.log2(127.5)  # of 256 levels
    bounds = []
    for steps in (1000, 30, 10):
        signal = torch.linspace(9, -12, steps, dtype=torch.float64).sigmoid()  # the least noise covers a few levels
        schedule = NoiseSchedule("even log-SNR", signal.sqrt(), (1 - signal).sqrt())
        timesteps = torch.arange(steps - 1.0, -1, -1)
        total = sum(term.bits for term in terms(optimal(schedule, 0.0, deviation), x0, timesteps, schedule))
        bounds.append(total.mean().item())
    assert entropy - 0.05 < bounds[0] < entropy + 0.05  # the mean over 40 × 64 pixels and their noise is not exact
    assert bounds[0] + 0.1 < bounds[1] < bounds[2]


def test_images_do_not_depend_on_each_other():
    schedule = cosine(20)
    x0 = gaussian_images(0.2, 0.3, 5)
    timesteps = sampling_timesteps(schedule, 20)
    denoise = optimal(schedule, 0.2, 0.3)
    whole = torch.stack([term.bits for term in terms(denoise, x0, timesteps, schedule)])
    noise = SeededNoise(0, SHAPE, [3])
    part = torch.stack([term.bits for term in variational_bound(denoise, x0[3:4], timesteps, schedule, noise=noise)])
    torch.testing.assert_close(whole[:, 3:4], part)


@pytest.mark.parametrize("timesteps", [[], [1.0, 1.0], [0.0, 5.0]])
def test_timesteps_descend(timesteps):
    with pytest.raises(ValueError, match="each below the one before"):
        terms(lambda x, _t, _c: x, torch.zeros(1, *SHAPE), torch.tensor(timesteps), cosine(20))
