"""The same network, noise and timesteps give diffusers' schedulers and our samplers the same trajectory.

test_schedules.py compares the tables. Here theirs, which are float32 products of a thousand factors, are replaced by the same
ones in float64, so that only the update rules can differ and the comparison may be tight.
"""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    UniPCMultistepScheduler,
)

from diffusion_core import samplers
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, dpmpp_2m_sde, dpmpp_2s, dpmpp_3m, heun, ipndm, unipc
from diffusion_core.schedules import NoiseSchedule, make_schedule, sampling_timesteps

LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
OPTIONS = {"linear": LINEAR, "cosine": COSINE}
NOISE = SeededNoise(0, (2, 4, 4), range(3))


def epsilon(x, t):
    """A small nonlinear network; near ε for large t, as a trained one is."""
    share = t / 1000
    return (0.2 + 0.8 * share) * x + 0.3 * (1 - share) * torch.tanh(2 * x)


class DoubleNoise:
    """The seeded noise in float64, so that scaling it rounds as little as all else here."""

    def at_step(self, index, device="cpu"):
        return NOISE.at_step(index, device).double()


def denoiser(schedule):
    """The same network as an x0 estimate, without clipping."""

    def denoise(x, t, condition=None):
        alpha, sigma = (level.item() for level in schedule.at(t))
        return (x - sigma * epsilon(x, t)) / alpha

    return denoise


def start():
    return NOISE.initial().double()


def assert_same(ours, theirs, tolerance=1e-9):
    """Compare trajectories; states may be large where the network is no good, so the tolerance is relative too."""
    assert len(ours) == len(theirs)
    for step, state in zip(ours, theirs, strict=True):
        assert step.x.dtype == state.dtype == torch.float64
        torch.testing.assert_close(step.x, state, rtol=tolerance, atol=tolerance)


def check_own_table(scheduler, schedule):
    """What the replacement is allowed to change: float32 roundings."""
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), schedule.alphas_cumprod, rtol=1e-4, atol=1e-6)


def grids(*choices):
    return pytest.mark.parametrize(("steps", "spacing"), choices)


both_schedules = pytest.mark.parametrize("name", OPTIONS)


@grids((1, "trailing"), (2, "trailing"), (10, "trailing"), (20, "leading"), (25, "linspace"), (1000, "leading"))
@both_schedules
def test_ddpm(name, steps, spacing, monkeypatch):
    schedule = make_schedule(name)
    scheduler = DDPMScheduler(**OPTIONS[name], variance_type="fixed_small", clip_sample=False, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    check_own_table(scheduler, schedule)
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    timesteps = sampling_timesteps(schedule, steps, spacing)
    assert scheduler.timesteps.tolist() == timesteps.tolist()
    x = start()
    theirs = [x]
    for index, t in enumerate(scheduler.timesteps):
        noise = DoubleNoise().at_step(index)
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, noise=noise, **k: noise)
        x = scheduler.step(epsilon(x, t.item()), t, x).prev_sample
        theirs.append(x)
    assert_same(list(ddpm(denoiser(schedule), start(), timesteps, schedule, noise=DoubleNoise())), theirs)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@grids((1, "trailing"), (2, "trailing"), (10, "trailing"), (50, "trailing"), (20, "leading"), (200, "leading"))
@both_schedules
def test_ddim(name, steps, spacing, eta):
    """Only grids whose stride divides 1000: their DDIM finds the next timestep by subtracting it."""
    schedule = make_schedule(name)
    scheduler = DDIMScheduler(**OPTIONS[name], clip_sample=False, set_alpha_to_one=True, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    check_own_table(scheduler, schedule)
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    timesteps = sampling_timesteps(schedule, steps, spacing)
    assert scheduler.timesteps.tolist() == timesteps.tolist()
    x = start()
    theirs = [x]
    for index, t in enumerate(scheduler.timesteps):
        noise = DoubleNoise().at_step(index) if eta else None
        x = scheduler.step(epsilon(x, t.item()), t, x, eta=eta, variance_noise=noise).prev_sample
        theirs.append(x)
    assert_same(list(ddim(denoiser(schedule), start(), timesteps, schedule, noise=DoubleNoise(), eta=eta)), theirs)


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [
        ("linear", [999.0]),
        ("linear", [999.0 * i / 9 for i in range(9, -1, -1)]),  # their "linspace" with 10 steps
        ("linear", [999.0 * i / 27 for i in range(27, -1, -1)]),
        # Our longest steps are Euler's: those from pure noise, and those that divide sigma/alpha > 1 by more than 3.
        ("linear", [999.0, 900.0, 800.0, 700.0, 550.0, 400.0, 250.0, 20.0]),
        ("cosine", [900.0, 750.0, 550.0, 350.0, 20.0]),
        ("cosine", [float(t) for t in range(940, 0, -35)]),
    ],
)
def test_heun(name, timesteps):
    """They step in x/alpha and sigma/alpha, two calls of ``step`` for one of ours."""
    schedule = make_schedule(name)
    scheduler = HeunDiscreteScheduler(**OPTIONS[name])
    scheduler.set_timesteps(timesteps=timesteps)
    if name == "linear" and len(timesteps) in (10, 28):
        default = HeunDiscreteScheduler(**OPTIONS[name])
        default.set_timesteps(len(timesteps))
        assert default.timesteps.tolist() == scheduler.timesteps.tolist()
    check_own_table(scheduler, schedule)
    levels = torch.tensor([*(schedule.at(t)[1] / schedule.at(t)[0] for t in timesteps), 0.0], dtype=torch.float64)
    levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    torch.testing.assert_close(scheduler.sigmas.double(), levels, rtol=1e-4, atol=0)
    scheduler.sigmas = levels
    alphas = [schedule.at(t)[0].item() for t in timesteps] + [1.0]
    scaled = start() / alphas[0]
    theirs = [start()]
    for call, t in enumerate(scheduler.timesteps):
        x = scheduler.scale_model_input(scaled, t)
        scaled = scheduler.step(epsilon(x, t.item()), t, scaled).prev_sample
        if call % 2 == 1:
            theirs.append(scaled * alphas[(call + 1) // 2])
    theirs.append(scaled)
    ours = list(heun(denoiser(schedule), start(), timesteps, schedule))
    assert ours[-1].nfe == len(scheduler.timesteps)
    assert_same(ours, theirs)


@grids((1, "trailing"), (2, "trailing"), (5, "trailing"), (10, "trailing"), (20, "trailing"), (50, "trailing"))
@both_schedules
def test_dpmpp_2m(name, steps, spacing):
    schedule = make_schedule(name)
    scheduler = DPMSolverMultistepScheduler(
        **OPTIONS[name],
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    timesteps = sampling_timesteps(schedule, steps, spacing)
    assert scheduler.timesteps.tolist() == timesteps.tolist()
    check_own_table(scheduler, schedule)
    levels = torch.cat([schedule.at(timesteps)[1] / schedule.at(timesteps)[0], torch.zeros(1, dtype=torch.float64)])
    torch.testing.assert_close(scheduler.sigmas.double(), levels, rtol=1e-3, atol=0)
    scheduler.sigmas = levels
    x = start()
    theirs = [x]
    for t in scheduler.timesteps:
        x = scheduler.step(epsilon(x, t.item()), t, x).prev_sample
        theirs.append(x)
    # They round every state to float32, whatever it was.
    assert_same(list(dpmpp_2m(denoiser(schedule), start(), timesteps, schedule)), theirs, tolerance=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 20])
def test_ipndm(name, steps):
    """Their scheduler knows its own sigmas alone, and wants v = (ε − sigma·x)/alpha, so ours are handed to it."""
    schedule = make_schedule(name)
    timesteps = torch.linspace(980, 20, steps, dtype=torch.float64)
    sigmas = schedule.at(timesteps)[1]
    # Fractional timesteps preserve variance only nearly; theirs must, so the levels are written down as a table.
    own = NoiseSchedule("own", (1 - sigmas**2).sqrt().flip(0), sigmas.flip(0))
    rows = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    scheduler = IPNDMScheduler(trained_betas=[*sigmas.tolist(), 0.0])
    scheduler.set_timesteps(steps)
    scheduler.betas = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
    scheduler.alphas = (1 - scheduler.betas**2).sqrt()
    x = start()
    theirs = [x]
    for index, t in enumerate(scheduler.timesteps):
        alpha, sigma = (level.item() for level in own.at(rows[index]))
        x = scheduler.step((epsilon(x, rows[index].item()) - sigma * x) / alpha, t, x).prev_sample
        theirs.append(x)
    ours = list(ipndm(denoiser(own), start(), rows, own))
    assert_same(ours[:-1], theirs[:-1])
    # After the last timestep comes the clean image: ours is the last estimate itself, theirs extrapolates once more.
    torch.testing.assert_close(ours[-1].x, denoiser(own)(ours[-2].x, 0.0), rtol=0, atol=1e-12)


ENDS = {"lower_order_final": False, "final_sigmas_type": "sigma_min"}
GRID = torch.linspace(900, 40, 21, dtype=torch.float64)


def states_of(scheduler, schedule, timesteps, noise=None):
    """A scheduler's states at ``timesteps``; the step from the last of them to the clean image is left out."""
    scheduler.set_timesteps(len(timesteps) - 1)
    alpha, sigma = schedule.at(timesteps)
    scheduler.sigmas = sigma / alpha
    scheduler.timesteps = timesteps[:-1]
    scheduler.set_begin_index(0)
    x = start()
    states = [x]
    for index, t in enumerate(scheduler.timesteps):
        fresh = {} if noise is None else {"variance_noise": noise.at_step(index)}
        x = scheduler.step(epsilon(x, t.item()), t, x, **fresh).prev_sample
        states.append(x)
    return states


def dpm_solver(name, order=3, **options):
    return DPMSolverMultistepScheduler(**OPTIONS[name], **ENDS, solver_order=order, **options)


@both_schedules
def test_dpmpp_2m_sde(name):
    scheduler = dpm_solver(name, 2, algorithm_type="sde-dpmsolver++", solver_type="midpoint")
    schedule = make_schedule(name)
    theirs = states_of(scheduler, schedule, GRID, DoubleNoise())
    ours = list(dpmpp_2m_sde(denoiser(schedule), start(), GRID, schedule, noise=DoubleNoise()))
    assert_same(ours[:-1], theirs, tolerance=1e-5)  # they round every state to float32


@both_schedules
def test_dpmpp_3m_is_the_predictor_of_unipc(name):
    scheduler = UniPCMultistepScheduler(**OPTIONS[name], **ENDS, solver_order=3, disable_corrector=list(range(20)))
    schedule = make_schedule(name)
    ours = list(dpmpp_3m(denoiser(schedule), start(), GRID, schedule))
    assert_same(ours[:-1], states_of(scheduler, schedule, GRID))


@both_schedules
def test_dpmpp_3m_has_twice_their_second_difference(name, monkeypatch):
    """Their DPM-Solver++(3M) converges with second order only: f[λ0, λ1, λ2] is half the second derivative."""
    moments = samplers.estimates.moments
    monkeypatch.setattr(samplers.estimates, "moments", lambda *step: [moments(*step)[0], moments(*step)[1] / 2])
    schedule = make_schedule(name)
    ours = list(dpmpp_3m(denoiser(schedule), start(), GRID, schedule))
    assert_same(ours[:-1], states_of(dpm_solver(name), schedule, GRID), tolerance=1e-5)  # they round every state to float32


@both_schedules
def test_dpmpp_2s(name):
    """Their scheduler takes the middle of a step as a step of its own; its timestep is fractional, where ours preserve variance
    up to 1e-6 only."""
    schedule = make_schedule(name)
    visited = []

    def denoise(x, t, condition=None):
        visited.append(t)
        return denoiser(schedule)(x, t)

    ours = list(dpmpp_2s(denoise, start(), GRID, schedule))
    scheduler = DPMSolverSinglestepScheduler(**OPTIONS[name], **ENDS, solver_order=2)
    theirs = states_of(scheduler, schedule, torch.tensor(visited, dtype=torch.float64))
    assert len(visited) == 2 * len(GRID) - 1
    assert_same(ours[:-1], theirs[::2], tolerance=1e-5)


@both_schedules
def test_unipc(name):
    scheduler = UniPCMultistepScheduler(**OPTIONS[name], **ENDS, solver_order=3, solver_type="bh2")
    schedule = make_schedule(name)
    assert_same(list(unipc(denoiser(schedule), start(), GRID, schedule))[:-1], states_of(scheduler, schedule, GRID))


@both_schedules
def test_euler_ancestral(name, monkeypatch):
    """They step in x/alpha, and round every state to float32. Their steps are DDPM's."""
    schedule = make_schedule(name)
    scheduler = EulerAncestralDiscreteScheduler(**OPTIONS[name])
    scheduler.set_timesteps(len(GRID))
    alpha, sigma = schedule.at(GRID)
    scheduler.sigmas = torch.cat([sigma / alpha, torch.zeros(1, dtype=torch.float64)])
    scheduler.timesteps = GRID
    scheduler.set_begin_index(0)
    scaled = start() / alpha[0]
    theirs = [start()]
    for index, t in enumerate(GRID):
        noise = DoubleNoise().at_step(index)
        monkeypatch.setattr(f"{scheduler.__module__}.randn_tensor", lambda *a, noise=noise, **k: noise)
        x = scheduler.scale_model_input(scaled, t)
        scaled = scheduler.step(epsilon(x, t.item()), t, scaled).prev_sample
        theirs.append(scaled * (alpha[index + 1] if index + 1 < len(GRID) else 1))
    ours = SAMPLERS["euler_ancestral"](denoiser(schedule), start(), GRID, schedule, noise=DoubleNoise())
    assert_same(list(ours), theirs, tolerance=1e-5)
