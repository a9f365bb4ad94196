"""Data N(m, s²), whose best denoiser is known, and the samplers and schedules to test with it."""

from functools import cache

import pytest
import torch

from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SCHEDULES, make_schedule

MEAN, SPREAD = 0.3, 0.5
ALL_SCHEDULES = {name: make_schedule(name) for name in SCHEDULES} | {
    f"{name}, zero terminal SNR": make_schedule(name, zero_terminal_snr=True) for name in SCHEDULES if name != "flow"
}
DETERMINISTIC = [name for name, choice in SAMPLERS.items() if choice.order]
STOCHASTIC = [name for name, choice in SAMPLERS.items() if not choice.order]

every_schedule = pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
every_deterministic_sampler = pytest.mark.parametrize("name", DETERMINISTIC)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


@cache
def levels(schedule, t):
    alpha, sigma = schedule.at(t)
    return alpha.item(), sigma.item()


def gaussian_denoiser(schedule, mean=MEAN, spread=SPREAD):
    def denoise(x, t, condition=None):
        alpha, sigma = levels(schedule, t)
        return mean + alpha * spread**2 / (alpha**2 * spread**2 + sigma**2) * (x - alpha * mean)

    return denoise


def nonlinear_denoiser(x, t, condition=None):
    return torch.tanh(2 * x) * (1 - 0.5 * t / 1000)


def noise_for(images=3, shape=(2, 4, 4), seed=0):
    return SeededNoise(seed, shape, range(images) if isinstance(images, int) else images)
