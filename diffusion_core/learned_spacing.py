"""Timesteps learnt for a model: those with which few steps stay closest to a fine solution of the probability-flow ODE.

The method is that of Chen et al. 2024, "On the Trajectory Regularity of ODE-based Diffusion Sampling" (arXiv 2405.11326; their
schedule is called GITS). Whatever the images, the trajectories of a model bend at about the same noise levels. So the errors of
single DDIM steps between the points of a grid are measured on some trajectories, and dynamic programming finds the path
from noise to image, in a given number of steps, whose errors have the smallest sum. The fine solution is UniPC's at twice the
grid's points, with one network call each; :mod:`.fine_solution` is more exact than is needed here, and takes more calls.

An error in the state x_t = alpha·x0 + sigma·ε is one of x_t/alpha in the image as far as later steps take it for image, and
fades as far as they take it for noise. The paper measures x_t/alpha, and multiplies the errors of later steps by a constant
that is chosen for each dataset. Here errors are divided by alpha^0.75, with the same effect: of the powers 0, 0.5, 0.75 and 1
it was the best for 5 and 8 steps taken together, with a cosine and a flow schedule. Weighing errors by how much small ones
grow on the way to the image gave worse timesteps, because small errors grow more than those of few steps do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .samplers import unipc
from .samplers.steps import Denoise, noise_levels, straight_step
from .schedules import NoiseSchedule, sampling_timesteps

POINTS = 16  # of each spacing from which the grid is made
POWER = 0.75  # of alpha, by which errors are divided


def search_grid(schedule: NoiseSchedule, points: int = POINTS) -> Tensor:
    """Return the timesteps to choose from, descending: ``points`` equal steps in time, and as many in log-SNR."""
    points = min(points, schedule.num_timesteps)
    spaced = [sampling_timesteps(schedule, points, spacing) for spacing in ("trailing", "log_snr")]
    grid: Tensor = torch.cat(spaced).mul(100).round().div(100).unique()  # type: ignore[no-untyped-call]
    return grid.flip(0)


def halved(grid: Tensor) -> Tensor:
    """Return the grid with the points midway between its own: the timesteps of the fine solution, one network call each."""
    return torch.cat([grid, (grid[:-1] + grid[1:]) / 2]).sort(descending=True).values


@torch.no_grad()
def step_errors(denoise: Denoise, batches: Iterable[tuple[Tensor, Any]], schedule: NoiseSchedule, grid: Tensor) -> Tensor:
    """Measure the error of every step between two grid points, and from each of them to the image.

    Args:
        denoise: the x0 estimator.
        batches: noise from which trajectories start, (B, C, H, W), with their condition.
        grid: the N timesteps to choose from, descending.

    Returns:
        (N, N + 1) float64: the error of the step from point i of the fine solution to point j, divided by alpha^0.75 there;
        point N is the image. Infinite unless i < j. Errors are root mean squares over an image, summed over images.
    """
    *levels, clean = noise_levels(schedule, grid)
    places = [*levels, clean]
    errors = torch.full((len(grid), len(places)), torch.inf, dtype=torch.float64).tril()
    for x, condition in batches:
        *solution, end = unipc(denoise, x, halved(grid), schedule, condition)
        states = [*solution[::2], end]
        for i, here in enumerate(levels):
            for j, there in enumerate(places[i + 1 :], start=i + 1):
                off = straight_step(states[i].x, states[i].x0, here, there) - states[j].x
                errors[i, j] += float(off.square().flatten(1).mean(1).sqrt().sum()) / there.alpha**POWER
    return errors


def best_paths(errors: Tensor, most: int) -> list[list[int]]:
    """Return the grid points from which the best 1, 2, … ``most`` steps start: those with the smallest sum of errors.

    Args:
        errors: see :func:`step_errors`.
        most: at most the number of grid points.
    """
    least = torch.full((errors.shape[1],), torch.inf, dtype=torch.float64)
    least[0] = 0.0  # the sum of errors up to each point: no step has been made yet
    origins: list[Tensor] = []
    paths = []
    for _ in range(most):
        least, origin = (least[:-1, None] + errors).min(dim=0)
        origins.append(origin)
        point, path = len(origin) - 1, []
        for came_from in reversed(origins):
            point = int(came_from[point])
            path.append(point)
        paths.append(path[::-1])
    return paths
