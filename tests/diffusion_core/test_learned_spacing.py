"""Learnt timesteps: the best paths there are, and better than every built-in spacing where the solution is known."""

from itertools import combinations, pairwise

import pytest
import torch
from gaussian_data import ALL_SCHEDULES, MEAN, gaussian_denoiser, levels, noise_for

from diffusion_core.learned_spacing import best_paths, search_grid, step_errors
from diffusion_core.samplers import ddim
from diffusion_core.schedules import SPACINGS, make_schedule, sampling_timesteps

SPREADS = torch.logspace(-2, -0.5, 32, dtype=torch.float64).reshape(2, 4, 4)  # of the pixels, as unlike as those of images


def errors_for(schedule, batches, points=16, spread=SPREADS):
    grid = search_grid(schedule, points)
    return grid, step_errors(gaussian_denoiser(schedule, spread=spread), batches, schedule, grid)


def noise(images=8, seed=0):
    return noise_for(images, seed=seed).initial().double()


def test_dynamic_programming_finds_what_trying_every_path_finds():
    points = 7
    errors = torch.rand(points, points + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors += torch.full_like(errors, torch.inf).tril()
    for steps, path in enumerate(best_paths(errors, points), start=1):
        tried = [(0, *inner, points) for inner in combinations(range(1, points), steps - 1)]
        best = min(tried, key=lambda whole: sum(errors[i, j].item() for i, j in pairwise(whole)))
        assert (*path, points) == best


@pytest.mark.parametrize("name", ["flow", "cosine", "linear, zero terminal SNR"])
def test_learnt_timesteps_are_closer_to_the_solution_than_every_built_in_spacing(name):
    """For Gaussian data, from other noise than they were learnt from."""
    schedule = ALL_SCHEDULES[name]
    grid, errors = errors_for(schedule, [(noise(), None)])
    x = noise(seed=1)
    alpha, sigma = levels(schedule, 999)
    exact = MEAN + SPREADS / (alpha * SPREADS).square().add(sigma**2).sqrt() * (x - alpha * MEAN)

    def error(timesteps):
        *_, sample = ddim(gaussian_denoiser(schedule, spread=SPREADS), x, timesteps, schedule)
        return (sample.x - exact).square().mean().sqrt().item()

    paths = best_paths(errors, 8)
    for steps in (5, 8):
        others = [error(sampling_timesteps(schedule, steps, spacing)) for spacing in SPACINGS]
        assert error(grid[paths[steps - 1]]) < 0.8 * min(others)


@pytest.mark.parametrize("schedule", [*ALL_SCHEDULES.values(), make_schedule("cosine", 3)], ids=[*ALL_SCHEDULES, "short"])
def test_paths_begin_in_noise_descend_and_lose_less_with_every_step(schedule):
    grid, errors = errors_for(schedule, [(noise(2), None)], points=6)
    assert (grid.diff() < 0).all()
    assert (grid[0], grid[-1]) == (schedule.num_timesteps - 1, 0)
    paths = best_paths(errors, len(grid))
    costs = []
    for steps, path in enumerate(paths, start=1):
        assert len(path) == steps
        assert path[0] == 0
        assert path == sorted(set(path))
        costs.append(sum(errors[i, j].item() for i, j in zip(path, [*path[1:], len(grid)], strict=True)))
    assert all(costs)
    assert costs[:4] == sorted(costs[:4], reverse=True)


def test_the_errors_are_those_of_single_steps_from_the_exact_solution():
    schedule = make_schedule("flow")
    x = noise(2)
    grid, errors = errors_for(schedule, [(x, None)])
    here, there = 8, 11

    def exact(t):
        alpha, sigma = levels(schedule, t)
        return alpha * MEAN + (alpha * SPREADS).square().add(sigma**2).sqrt() * x, alpha, sigma

    (start, _, _), (end, alpha, _) = exact(grid[here].item()), exact(grid[there].item())
    one, *_ = list(ddim(gaussian_denoiser(schedule, spread=SPREADS), start, grid[[here, there]], schedule))[1:]
    wanted = (one.x - end).square().flatten(1).mean(1).sqrt().sum() / alpha**0.75
    assert errors[here, there].item() == pytest.approx(wanted.item(), rel=0.02)
    assert torch.equal(errors.isinf(), torch.ones_like(errors).tril().bool())


def test_data_without_spread_cost_nothing_wherever_one_steps():
    _, errors = errors_for(make_schedule("cosine"), [(noise(2), None)], points=6, spread=0.0)
    assert errors[errors.isfinite()].max() < 1e-9


def test_how_trajectories_are_batched_does_not_matter():
    schedule, x = make_schedule("cosine"), noise(4)
    _, whole = errors_for(schedule, [(x, None)], points=6)
    grid, parts = errors_for(schedule, [(x[:1], None), (x[1:], None)], points=6)
    torch.testing.assert_close(whole, parts)
    assert best_paths(whole, 5) == best_paths(parts, 5)
    assert len(grid) == len(whole)
