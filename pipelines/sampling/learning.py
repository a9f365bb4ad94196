"""Learning the spacing of a model's timesteps (see :mod:`diffusion_core.learned_spacing`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from diffusion_core.choices import USUAL_GUIDANCE
from diffusion_core.learned_spacing import best_paths, halved, search_grid, step_errors
from diffusion_core.noise import SeededNoise

from ..common.finite import refuse_not_finite
from ..common.reports import ProgressBar
from ..storage.spacing import LearnedSpacing
from .prompts import conditions_in_turn, guided_denoiser
from .request import SamplingRequest

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.condition import Condition

    from ..models.loading import LoadedModel


def usual_guidance(model: LoadedModel) -> float:
    """Return the guidance scale under which a model's spacing is learnt: 1 for a model that cannot be guided."""
    network = model.config.network
    return USUAL_GUIDANCE if network.conditional and not network.always_conditional else 1.0


def learn_spacing(model: LoadedModel, steps: int, trajectories: int, seed: int, batch_size: int) -> LearnedSpacing:
    """Learn the timesteps for 1, 2, … ``steps`` steps, with a progress bar.

    Args:
        trajectories: number of images to follow; a conditional model takes its classes or example captions in turn.
        seed: of their noise.
        batch_size: number of trajectories to follow at once.

    Raises:
        ValueError: ``steps`` is too large for the schedule, or an estimate is not finite.
    """
    grid = search_grid(model.schedule)
    if steps > len(grid):
        raise ValueError(f"steps={steps}: {model.name} has {len(grid)} timesteps to choose from; choose at most so many steps")
    guidance, condition = usual_guidance(model), model.config.condition
    parts = [range(first, min(first + batch_size, trajectories)) for first in range(0, trajectories, batch_size)]
    shown = [conditions_in_turn(condition, part) if model.config.network.conditional else None for part in parts]
    denoise, _ = guided_denoiser(model, SamplingRequest(guidance=guidance), parts[0], shown[0])
    with ProgressBar(f"{model.name}, spacing", len(halved(grid)) * len(parts), "call") as bar:

        def estimate(x: Tensor, t: float, given: Condition | None) -> Tensor:
            x0: Tensor = denoise(x, t, given)
            refuse_not_finite(x0, model.name, f"at t = {t:g}")
            bar.update()
            return x0

        def batches() -> Iterator[tuple[Tensor, Any]]:
            for part, given in zip(parts, shown, strict=True):
                noise = SeededNoise(seed, model.state_shape, part).initial(model.device)
                yield noise, None if given is None else given.to(model.device)

        errors = step_errors(estimate, batches(), model.schedule, grid)
    timesteps = tuple(tuple(grid[path].tolist()) for path in best_paths(errors, steps))
    return LearnedSpacing(model.fingerprint, "ddim", guidance, trajectories, seed, timesteps)
