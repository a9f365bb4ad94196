"""Schedules and timestep spacings: what must hold for every one of them, then their closed forms and diffusers' tables."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as diffusers_rescale

from diffusion_core.schedules import (
    SCHEDULES,
    SPACINGS,
    NoiseSchedule,
    linear,
    make_schedule,
    rescale_zero_terminal_snr,
    sampling_timesteps,
    shift_noise,
)

VARIANCE_PRESERVING = ("linear", "cosine", "sigmoid")
LENGTHS = (2, 3, 10, 100, 1000, 4000)
EVERY = [(name, zero) for name in SCHEDULES for zero in (False, True)]


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_tables_are_ordered_bounded_and_float64(name, zero):
    for length in LENGTHS:
        schedule = make_schedule(name, length, zero)
        assert schedule.num_timesteps == len(schedule.alpha) == len(schedule.sigma) == length
        assert schedule.alpha.dtype == schedule.sigma.dtype == torch.float64
        assert (schedule.alpha.diff() <= 0).all(), length
        assert (schedule.sigma.diff() >= 0).all(), length
        assert schedule.alpha.min() >= 0
        assert schedule.alpha.max() <= 1
        assert schedule.sigma.min() > 0
        assert schedule.sigma.max() <= 1


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name, zero):
    for length in LENGTHS:
        schedule = make_schedule(name, length, zero)
        total = schedule.alpha.square() + schedule.sigma.square()
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_derived_tables_agree_with_alpha_and_sigma(name, zero):
    schedule = make_schedule(name, 1000, zero)
    torch.testing.assert_close((1 - schedule.betas).cumprod(0), schedule.alphas_cumprod, rtol=1e-9, atol=0)
    torch.testing.assert_close(schedule.snr * schedule.sigma**2, schedule.alphas_cumprod, rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.log_snr.exp(), schedule.snr, rtol=1e-12, atol=0)
    assert bool(schedule.log_snr.isneginf()[-1]) == (zero or name == "flow")


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_the_timesteps_at_a_noise_level_have_it(name, zero):
    schedule = make_schedule(name, 1000, zero)
    finite = schedule.log_snr[schedule.log_snr.isfinite()]
    wanted = torch.linspace(float(finite[-1]), float(finite[0]), 777, dtype=torch.float64)
    alpha, sigma = schedule.at(schedule.timesteps_at(wanted))
    torch.testing.assert_close(2 * (alpha / sigma).log(), wanted, rtol=1e-6, atol=1e-6)
    ends = schedule.timesteps_at(torch.tensor([math.inf, 99.0, -99.0, -math.inf]))
    last = int((schedule.log_snr > finite[-1]).sum())  # the first of equally noisy rows
    assert ends.tolist()[:2] == pytest.approx([0, 0], abs=1e-9)
    assert all(last - 1e-9 <= end <= len(finite) - 1 for end in ends.tolist()[2:])


def test_linear_is_the_cumprod_of_equally_spaced_betas():
    schedule, kept = linear(1000, 1e-4, 0.02), 1.0
    for t in range(1000):
        kept *= 1 - (1e-4 + t * (0.02 - 1e-4) / 999)
        assert schedule.alphas_cumprod[t].item() == pytest.approx(kept, rel=1e-10)


@pytest.mark.parametrize("length", [100, 250, 4000])
def test_linear_betas_scale_with_the_length(length):
    """The same ends at every length: the sum of the betas, so the noise at the end, hardly depends on it."""
    betas = linear(length).betas
    assert betas[0].item() == pytest.approx(1e-4 * 1000 / length, rel=1e-9)
    assert betas[-1].item() == pytest.approx(0.02 * 1000 / length, rel=1e-9)
    assert betas.sum().item() == pytest.approx(linear(1000).betas.sum().item(), rel=1e-9)


def test_cosine_closed_form():
    kept = make_schedule("cosine").alphas_cumprod
    for t in range(999):  # the last beta is clipped
        wanted = (math.cos(((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
        assert kept[t].item() == pytest.approx(wanted, rel=1e-9)
    assert (kept[-1] / kept[-2]).item() == pytest.approx(1 - 0.999, rel=1e-9)


def test_sigmoid_is_a_logistic_curve_stretched_to_both_ends():
    kept = make_schedule("sigmoid").alphas_cumprod
    assert kept[-1].item() == pytest.approx(1e-4, rel=1e-12)
    assert kept[499].item() == pytest.approx(0.5, rel=1e-12)
    # Symmetric around the middle, whatever the stretch.
    torch.testing.assert_close(kept[:-1] + kept[:-1].flip(0), torch.ones(999, dtype=torch.float64), rtol=0, atol=1e-12)
    # Undoing the stretch gives logits that are equally spaced from −3 to 3.
    low, high = 1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))
    logits = torch.logit(high - kept[:-1] * (high - low))
    torch.testing.assert_close(logits, torch.linspace(-3, 3, 1001, dtype=torch.float64)[1:-1], rtol=0, atol=1e-9)


def test_flow_is_straight():
    schedule = make_schedule("flow")
    torch.testing.assert_close(schedule.sigma, torch.arange(1, 1001, dtype=torch.float64) / 1000, rtol=1e-14, atol=0)
    torch.testing.assert_close(schedule.alpha + schedule.sigma, torch.ones(1000, dtype=torch.float64), rtol=0, atol=1e-15)
    assert schedule.alpha[-1] == 0


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_tables_are_those_of_diffusers(name, theirs):
    oracle = DDPMScheduler(beta_schedule=theirs, beta_start=1e-4, beta_end=0.02).alphas_cumprod.double()
    ours = make_schedule(name).alphas_cumprod
    torch.testing.assert_close(ours, oracle, rtol=0, atol=1e-5)
    # Their table is a float32 product of up to 1,000 factors: its relative error stays below 1,000 roundings of 6e-8.
    torch.testing.assert_close(ours[:-1], oracle[:-1], rtol=6e-5, atol=0)


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_zero_terminal_snr_keeps_the_start_and_empties_the_end(name):
    plain, rescaled = make_schedule(name), make_schedule(name, zero_terminal_snr=True)
    assert rescaled.alpha[-1] == 0
    assert rescaled.sigma[-1] == 1
    assert rescaled.alpha[0].item() == pytest.approx(plain.alpha[0].item(), rel=1e-12)
    assert rescaled.name != plain.name
    oracle = diffusers_rescale(plain.betas)
    # Betas near 1 lose digits to the subtraction 1 − ᾱ[t]/ᾱ[t−1]; both do it in float64.
    torch.testing.assert_close(rescaled.betas, oracle, rtol=0, atol=1e-9)


def test_zero_terminal_snr_leaves_a_schedule_that_ends_in_noise_alone():
    schedule = make_schedule("flow")
    assert rescale_zero_terminal_snr(schedule) is schedule
    rescaled = make_schedule("linear", zero_terminal_snr=True)
    assert rescale_zero_terminal_snr(rescaled) is rescaled


def test_zero_terminal_snr_refuses_schedules_that_do_not_preserve_variance():
    time = torch.linspace(0.1, 0.9, 10, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'straight'.*preserve variance"):
        rescale_zero_terminal_snr(NoiseSchedule("straight", 1 - time, time))


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_zero_terminal_snr_of_a_single_timestep_is_refused_or_finite(name):
    """One timestep cannot both keep its alpha and lose it."""
    try:
        schedule = make_schedule(name, 1, zero_terminal_snr=True)
    except ValueError:
        return
    assert schedule.alpha.isfinite().all()
    assert schedule.sigma.isfinite().all()


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_a_shift_multiplies_the_noise_level_and_keeps_what_is_preserved(name, zero):
    before = make_schedule(name, 50, zero)
    finite = before.alpha > 0
    power = 1 if name == "flow" else 2
    for factor in (0.25, 1.0, 3.0):
        after = make_schedule(name, 50, zero, factor)
        expected = before.log_snr[finite] - 2 * math.log(factor)
        torch.testing.assert_close(after.log_snr[finite], expected, rtol=1e-9, atol=1e-9)
        assert torch.equal(after.alpha[~finite], before.alpha[~finite])
        torch.testing.assert_close(after.alpha**power + after.sigma**power, torch.ones(50, dtype=torch.float64))


def test_a_shift_of_a_flow_is_that_of_stable_diffusion_3():
    t = make_schedule("flow", 100).sigma
    torch.testing.assert_close(make_schedule("flow", 100, noise_shift=3.0).sigma, 3 * t / (1 + 2 * t))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_shift_is_refused(factor):
    with pytest.raises(ValueError, match="noise_shift"):
        make_schedule("cosine", 10, noise_shift=factor)


def test_a_schedule_that_preserves_nothing_is_not_shifted():
    odd = NoiseSchedule("odd", torch.tensor([0.5, 0.1]).double(), torch.tensor([0.1, 0.9]).double())
    with pytest.raises(ValueError, match="preserves neither"):
        shift_noise(odd, 2.0)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_at_is_the_table_at_whole_timesteps_and_linear_between(name, zero):
    schedule = make_schedule(name, 50, zero)
    whole = torch.arange(50)
    alpha, sigma = schedule.at(whole)
    assert torch.equal(alpha, schedule.alpha)
    assert torch.equal(sigma, schedule.sigma)
    for weight in (0.25, 0.5, 0.9):
        alpha, sigma = schedule.at(whole[:-1] + torch.tensor(weight, dtype=torch.float64))
        for level, table in ((alpha, schedule.alpha), (sigma, schedule.sigma)):
            torch.testing.assert_close(level, (1 - weight) * table[:-1] + weight * table[1:], rtol=0, atol=1e-15)


def test_at_takes_numbers_and_any_shape_and_stays_in_the_table():
    schedule = make_schedule("cosine", 50)
    for t in (7, 7.0, torch.tensor(7), torch.tensor(7.0)):
        alpha, sigma = schedule.at(t)
        assert alpha.shape == sigma.shape == ()
        assert alpha.dtype == sigma.dtype == torch.float64
        assert alpha == schedule.alpha[7]
    assert schedule.at(torch.zeros(2, 3))[0].shape == (2, 3)
    assert schedule.at(-1.0)[0] == schedule.alpha[0]
    assert schedule.at(50.5)[1] == schedule.sigma[-1]


STEPS = (1, 2, 3, 7, 10, 13, 20, 48, 50, 99, 100, 333, 500, 667, 998, 999, 1000)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_spacings_descend_within_the_schedule(name, zero, spacing):
    for length in (2, 3, 10, 50, 1000):
        schedule = make_schedule(name, length, zero)
        for steps in [n for n in STEPS if n <= length]:
            timesteps = sampling_timesteps(schedule, steps, spacing)
            assert timesteps.shape == (steps,)
            assert timesteps.dtype == torch.float64
            assert timesteps.isfinite().all()
            assert (timesteps.diff() < 0).all()
            assert 0 <= timesteps.min() <= timesteps.max() <= length - 1
            if spacing not in ("shifted", "log_snr", "karras"):
                assert torch.equal(timesteps, timesteps.round())


@pytest.mark.parametrize("length", [10, 37, 1000])
def test_whole_spacings_have_the_ends_and_strides_that_define_them(length):
    schedule = make_schedule("linear", length)
    for steps in range(1, length + 1):
        trailing = sampling_timesteps(schedule, steps, "trailing")
        leading = sampling_timesteps(schedule, steps, "leading")
        linspace = sampling_timesteps(schedule, steps, "linspace")
        assert trailing[0] == length - 1
        assert leading[-1] == 0
        assert linspace[0] == length - 1
        # Rounding moves a timestep by at most a half.
        exact = torch.arange(steps, dtype=torch.float64)
        assert (trailing - (length - 1 - exact * length / steps)).abs().max() <= 0.5 + 1e-9
        assert ((exact * length / steps).floor().flip(0) - leading).abs().max() <= 1e-9 * length
        if steps > 1:
            assert linspace[-1] == 0
            assert (linspace - (length - 1) * (1 - exact / (steps - 1))).abs().max() <= 0.5 + 1e-9


def test_leading_covers_the_schedule_with_any_number_of_steps():
    """With a stride of ⌊T/n⌋, as in diffusers, 501 of 1000 steps would all lie in its cleaner half."""
    schedule, oracle = make_schedule("linear"), DDIMScheduler(timestep_spacing="leading")
    for steps in range(2, 1001):
        ours = sampling_timesteps(schedule, steps, "leading")
        assert ours[0] >= 999 - 1000 / steps
        if 1000 % steps == 0:
            oracle.set_timesteps(steps)
            assert ours.tolist() == oracle.timesteps.tolist()


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_spacings_are_those_of_diffusers(spacing):
    """Equal at every number of steps; only an exact half, which float error pushes either way, may round differently."""
    schedule, oracle = make_schedule("linear"), DDIMScheduler(timestep_spacing=spacing)
    for steps in range(2, 1001):
        oracle.set_timesteps(steps)
        ours = sampling_timesteps(schedule, steps, spacing).long()
        theirs = oracle.timesteps[:steps]  # the float error of their "trailing" can add a timestep −1
        index = torch.arange(steps)
        remainder = (2 * index * 1000) % (2 * steps) if spacing == "trailing" else (2 * index * 999) % (2 * (steps - 1))
        half = remainder == (steps if spacing == "trailing" else steps - 1)
        differs = ours != theirs
        assert not (differs & ~half).any()
        assert (ours - theirs).abs().max() <= 1


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 1000])
def test_shifted_spacing_is_that_of_diffusers(steps):
    """Noise levels of rectified flow, whose sigma is the time."""
    oracle = FlowMatchEulerDiscreteScheduler(shift=2.0)
    oracle.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
    times = (sampling_timesteps(make_schedule("flow"), steps, "shifted") + 1) / 1000
    torch.testing.assert_close(times, oracle.sigmas[:-1].double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 50])
def test_shifted_spacing_on_rectified_flow_doubles_the_noise_of_trailing_timesteps(steps):
    schedule = make_schedule("flow")
    levels = []
    for spacing in ("trailing", "shifted"):
        alpha, sigma = schedule.at(sampling_timesteps(schedule, steps, spacing))
        levels.append(sigma[1:] / alpha[1:])  # the first is pure noise
    torch.testing.assert_close(levels[1], 2 * levels[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_log_snr_spacing_is_equal_in_log_snr(name, zero):
    """Measured where the samplers will be: at the levels that ``at`` gives for the fractional timesteps."""
    schedule = make_schedule(name, 1000, zero)
    for steps in (3, 5, 20, 100):
        timesteps = sampling_timesteps(schedule, steps, "log_snr")
        assert timesteps[0] == 999
        assert timesteps[-1] == 0
        alpha, sigma = schedule.at(timesteps)
        log_snr = 2 * (alpha.log() - sigma.log())
        stride = log_snr[log_snr.isfinite()].diff()
        torch.testing.assert_close(stride, stride.mean().expand_as(stride), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_karras_spacing_is_equal_in_the_seventh_root_of_the_noise_level(name, zero):
    schedule = make_schedule(name, 1000, zero)
    for steps in (3, 20, 100):
        timesteps = sampling_timesteps(schedule, steps, "karras")
        assert (timesteps[0], timesteps[-1]) == (999, 0)
        alpha, sigma = schedule.at(timesteps)
        stride = ((sigma / alpha) ** (1 / 7))[alpha > 0].diff()
        torch.testing.assert_close(stride, stride.mean().expand_as(stride), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_karras_spacing_is_that_of_diffusers(name, theirs):
    schedule = make_schedule(name)
    for steps in (2, 10, 50):
        oracle = DPMSolverMultistepScheduler(
            beta_schedule=theirs, beta_start=1e-4, beta_end=0.02, use_karras_sigmas=True, final_sigmas_type="zero"
        )
        oracle.set_timesteps(steps)
        alpha, sigma = schedule.at(sampling_timesteps(schedule, steps, "karras"))
        # Their table is a float32 product of a thousand factors.
        torch.testing.assert_close(sigma / alpha, oracle.sigmas[:-1].double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_impossible_steps_are_refused_with_the_possible_ones(steps, spacing):
    with pytest.raises(ValueError, match=rf"steps={steps}\b.*1 to 1000"):
        sampling_timesteps(make_schedule("linear"), steps, spacing)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'lineal'.*flow, cosine, linear, sigmoid"):
        make_schedule("lineal")
    with pytest.raises(ValueError, match=r"'tailing'.*trailing, shifted, leading, linspace, log_snr, karras"):
        sampling_timesteps(make_schedule("linear"), 10, "tailing")
    for length in (0, -5):
        for name in SCHEDULES:
            with pytest.raises(ValueError, match=f"num_timesteps={length}"):
                make_schedule(name, length)


@pytest.mark.parametrize(("alpha", "sigma"), [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_tables_of_the_wrong_shape_are_refused(alpha, sigma):
    with pytest.raises(ValueError, match="'odd'"):
        NoiseSchedule("odd", torch.ones(alpha, dtype=torch.float64), torch.ones(sigma, dtype=torch.float64))


@pytest.mark.parametrize("name", SCHEDULES)
def test_plain_numbers_are_those_of_tensors(name):
    schedule = make_schedule(name, 50)
    for t in (-1.0, 0.0, 0.25, 0.5, 0.75, 7.0, 31.4, 48.999, 49.0, 60.0):
        expected = [table.item() for table in schedule.at(torch.tensor(t, dtype=torch.float64))]
        assert schedule.level(t) == pytest.approx(expected, rel=0, abs=1e-15)
        assert t % 1 or schedule.level(t) == tuple(expected)  # to the last bit
