"""Inversion leads to where DDIM starts: there and back is where one was."""

import math

import pytest
import torch

from diffusion_core.inversion import invert
from diffusion_core.samplers import ddim
from diffusion_core.schedules import SCHEDULES, make_schedule, sampling_timesteps

MEAN, SPREAD = 0.3, 0.5


def gaussian_denoiser(schedule):
    def denoise(x, t, condition=None):
        alpha, sigma = (level.item() for level in schedule.at(t))
        return MEAN + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (x - alpha * MEAN)

    return denoise


@pytest.fixture
def images():
    return MEAN + SPREAD * torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def round_trip_error(schedule, images, steps, refinements):
    denoise = gaussian_denoiser(schedule)
    timesteps = sampling_timesteps(schedule, steps, "linspace")
    *_, top = invert(denoise, images, timesteps, schedule, refinements=refinements)
    assert top.timestep == timesteps[0]
    *_, last = ddim(denoise, top.x, timesteps, schedule)
    return (last.x - images).abs().max().item()


@pytest.mark.parametrize("name", SCHEDULES)
def test_there_and_back_is_where_one_was(name, images):
    schedule = make_schedule(name, 200)
    rough, fine, exact = (round_trip_error(schedule, images, 20, refinements) for refinements in (0, 3, 200))
    assert fine < 0.5 * rough
    assert exact < 0.02 * rough  # the last step, to pure noise, is the one that cannot be undone exactly


def test_more_steps_lose_less(images):
    schedule = make_schedule("cosine", 200)
    few, many = (round_trip_error(schedule, images, steps, 0) for steps in (20, 160))
    assert many < few / 4


def test_images_of_the_data_become_standard_noise():
    schedule = make_schedule("cosine", 200)
    images = MEAN + SPREAD * torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(1))
    *_, top = invert(gaussian_denoiser(schedule), images, sampling_timesteps(schedule, 100, "linspace"), schedule)
    assert top.x.mean().item() == pytest.approx(0, abs=0.05)
    assert top.x.std().item() == pytest.approx(1, abs=0.05)


def test_steps_rise_and_calls_are_counted(images):
    schedule = make_schedule("cosine", 200)
    timesteps = sampling_timesteps(schedule, 6, "linspace")
    steps = list(invert(gaussian_denoiser(schedule), images, timesteps, schedule, refinements=1))
    assert [step.timestep for step in steps] == timesteps.flip(0).tolist()
    assert [step.index for step in steps] == list(range(6))
    assert steps[-1].nfe == 3 + 5 * 2
    assert all(math.isfinite(step.x.abs().max().item()) for step in steps)


def test_negative_refinements_are_refused(images):
    schedule = make_schedule("cosine", 20)
    with pytest.raises(ValueError, match="refinements=-1"):
        next(invert(gaussian_denoiser(schedule), images, sampling_timesteps(schedule, 5), schedule, refinements=-1))
