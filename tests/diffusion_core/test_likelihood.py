"""The bound on the likelihood: its terms are the divergences they stand for, and it is tight where the optimum is known."""

import math

import pytest
import torch
from torch.distributions import Normal

from diffusion_core.likelihood import LOG_SNR, discretised_gaussian, variational_bound
from diffusion_core.noise import SeededNoise
from diffusion_core.schedules import SCHEDULES, cosine, make_schedule

SHAPE = (1, 8, 8)
LEVELS = 128
GREY = torch.linspace(-1, 1, 256, dtype=torch.float64)


def quantised(values):
    """Rounded to one of 256 levels."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def terms(denoise, x0, schedule, seed=0):
    noise = SeededNoise(seed, SHAPE, range(len(x0)))
    return list(variational_bound(denoise, x0, schedule, noise=noise, levels=LEVELS))


def gaussian_images(mean, deviation, count, seed=0):
    noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return quantised(mean + deviation * noise).float()


def optimal(schedule, mean, deviation):
    """The denoiser of data N(mean, deviation²): E[x0 | x_t]."""

    def denoise(x_t, t, _condition):
        alpha, sigma = (level.float()[:, None, None, None] for level in schedule.at(t))
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
def test_every_term_is_what_it_stands_for(name):
    """For a denoiser that always answers 0, every term has a closed form."""
    schedule = make_schedule(name)
    x0 = gaussian_images(0.1, 0.4, 50)
    found = terms(lambda x_t, _t, _condition: torch.zeros_like(x_t), x0, schedule)
    assert [term.kind for term in found] == ["prior", *["denoising"] * LEVELS, "decoder"]
    assert [found[0].log_snr, found[-1].log_snr] == pytest.approx(LOG_SNR)
    power = x0.double().square().flatten(1).sum(1) / math.log(2)
    torch.testing.assert_close(found[0].bits, math.exp(-9) / 2 * power, rtol=1e-6, atol=0)
    denoising = sum(term.bits for term in found[1:-1])
    torch.testing.assert_close(denoising, (math.exp(8) - math.exp(-9)) / 2 * power, rtol=0.1, atol=0)
    assert denoising.mean().item() == pytest.approx((math.exp(8) / 2 * power).mean().item(), rel=2e-3)
    decoder = -discretised_gaussian(x0.double(), torch.zeros_like(x0).double(), math.exp(-4)).flatten(1).sum(1) / math.log(2)
    torch.testing.assert_close(found[-1].bits, decoder, rtol=1e-6, atol=0)


@pytest.mark.parametrize("deviation", [0.1, 0.3])
def test_the_bound_of_the_optimal_denoiser_is_the_entropy_whatever_the_schedule(deviation):
    x0 = gaussian_images(0.0, deviation, 100)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * deviation**2) + math.log2(127.5)  # of 256 levels
    bounds = {}
    for name in SCHEDULES:
        schedule = make_schedule(name)
        bits = sum(term.bits for term in terms(optimal(schedule, 0.0, deviation), x0, schedule)) / x0[0].numel()
        error = bits.std().item() / len(bits) ** 0.5
        bounds[name] = bits
        assert bits.mean().item() == pytest.approx(entropy, abs=3 * error), name
        assert error < 0.03
    for name, bits in bounds.items():  # on the same images and the same noise they are nearly equal
        assert bits.mean().item() == pytest.approx(bounds["cosine"].mean().item(), abs=0.002), name


def test_a_worse_denoiser_has_a_larger_bound():
    schedule, x0 = cosine(1000), gaussian_images(0.0, 0.3, 50)
    best, worse = (
        sum(term.bits for term in terms(optimal(schedule, 0.0, assumed), x0, schedule)).mean() for assumed in (0.3, 0.4)
    )
    # The divergence of N(0, 0.3²) from N(0, 0.4²)
    cost = (math.log(0.4 / 0.3) + 0.3**2 / (2 * 0.4**2) - 0.5) / math.log(2)
    assert (worse - best).item() / x0[0].numel() == pytest.approx(cost, rel=0.1)


def test_a_schedule_that_does_not_reach_the_ends_is_measured_as_far_as_it_goes():
    schedule = cosine(100)
    found = terms(optimal(schedule, 0.0, 0.3), gaussian_images(0.0, 0.3, 2), schedule)
    assert found[-1].log_snr == pytest.approx(schedule.log_snr[0].item())
    assert found[-1].log_snr < LOG_SNR[1]


def test_images_do_not_depend_on_each_other():
    schedule = cosine(20)
    x0 = gaussian_images(0.2, 0.3, 5)
    denoise = optimal(schedule, 0.2, 0.3)
    whole = torch.stack([term.bits for term in terms(denoise, x0, schedule)])
    noise = SeededNoise(0, SHAPE, [3])
    part = torch.stack([term.bits for term in variational_bound(denoise, x0[3:4], schedule, noise=noise)])
    torch.testing.assert_close(whole[:, 3:4], part)


def test_there_is_a_level():
    with pytest.raises(ValueError, match="choose 1 or more"):
        next(variational_bound(optimal, torch.zeros(1, *SHAPE), cosine(20), noise=SeededNoise(0, SHAPE, [0]), levels=0))
