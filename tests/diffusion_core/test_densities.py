"""Timesteps are drawn with the density that was asked for, on every schedule."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest, norm

from diffusion_core.choices import DENSITIES
from diffusion_core.densities import probabilities
from diffusion_core.losses import DenoisingLoss
from diffusion_core.schedules import SCHEDULES, make_schedule

EVERY = [(name, zero) for name in SCHEDULES for zero in (False, True)]
COUNT = 20_000
FAR = 1.95 / COUNT**0.5  # the Kolmogorov–Smirnov distance that one sample in a thousand exceeds


def _drawn(schedule, density, **parameters):
    return DenoisingLoss(schedule, density=density, **parameters).sample_timesteps(COUNT, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("parameters", [(None, None), (0.8, 0.6)])
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_log_normal_draws_noise_levels_from_a_normal_distribution(name, zero, parameters):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    drawn = _drawn(schedule, "log_normal", density_mean=parameters[0], density_std=parameters[1])
    mean, std = (-1.2, 1.2) if parameters[0] is None else parameters
    level = -schedule.log_snr / 2
    edges = torch.cat([level[:1] - 9, (level[1:] + level[:-1]) / 2, level[-1:] + 9])
    # Each timestep stands for a range of levels: spread over it, the draws have no steps that the distribution lacks. Ranges
    # at the ends are open, and there the draw is replaced by one from the normal distribution's own tail.
    low, high = (torch.special.ndtr((edges[drawn + side] - mean) / std) for side in (0, 1))
    low, high = torch.where(drawn == 0, 0.0, low), torch.where(high.isfinite() & (drawn < 999), high, 1.0)
    position = torch.rand(COUNT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    levels = norm.ppf((low + position * (high - low)).clamp(1e-12, 1 - 1e-12).numpy(), mean, std)
    assert kstest(levels, norm(mean, std).cdf).statistic < FAR
    assert (level[drawn].isfinite()).all()


@pytest.mark.parametrize(("mean", "std"), [(None, None), (-0.7, 0.5)])
@pytest.mark.parametrize("name", SCHEDULES)
def test_logit_normal_draws_times_whose_logit_is_normal(name, mean, std):
    drawn = _drawn(make_schedule(name), "logit_normal", density_mean=mean, density_std=std)
    position = torch.rand(COUNT, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    time = (drawn + position) / 1000
    found = kstest(time.logit().numpy(), norm(mean or 0.0, std or 1.0).cdf).statistic
    assert found < FAR + 1e-3  # a time is uniform within its thousandth


def test_on_rectified_flow_both_normal_densities_are_one():
    schedule = make_schedule("flow")
    one, other = (probabilities(schedule, name, 0.3, 0.8) for name in ("logit_normal", "log_normal"))
    assert (one.cumsum(0) - other.cumsum(0)).abs().max() < 2e-3  # half a timestep apart


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("timesteps", [1, 2, 1000])
def test_every_density_is_one(density, timesteps):
    for name in SCHEDULES if timesteps > 1 else ("linear", "cosine"):
        table = probabilities(make_schedule(name, timesteps), density)
        assert (table >= 0).all()
        torch.testing.assert_close(table.sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)


def test_validation_covers_the_schedule_evenly_whatever_training_draws(make_trainer, tmp_path):
    """Two runs before their first step differ in the density alone, so their validation loss is the same."""
    losses = [
        make_trainer(tmp_path / density, timestep_density=density).task.validation_loss for density in ("uniform", "log_normal")
    ]
    uniform, other = (loss(loss.__self__.network) for loss in losses)
    assert uniform == other
