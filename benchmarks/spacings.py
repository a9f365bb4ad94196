"""Learned spacing: ``python -m benchmarks.spacings``, how far few steps are from a fine solution at every spacing.

The error of a sample is its root mean square difference from that of a fine solution from the same noise, in the range [−1, 1]
(of latents, in their own). The noise is not that from which the spacing was learnt. Conditional models take their classes or
example captions in turn, under the guidance that their spacing was learnt with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from diffusion_core.choices import LEARNED, SAMPLERS, SPACINGS
from pipelines.evaluation.intervals import Estimate
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.prompts import conditions_in_turn
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED, find_runs
from pipelines.storage.spacing import learned_spacing, spacing_file

from .timing import machine, table

FINE = SamplingRequest(sampler="unipc", steps=100)


@dataclass(frozen=True)
class Arguments:
    """Compare the learned spacing with the others."""

    runs: tuple[Path, ...] = ()
    """Runs with a learned spacing; by default the published ones."""
    samplers: tuple[str, ...] = ("ddim", "dpmpp_2m", "unipc")
    steps: tuple[int, ...] = (5, 8)
    num_images: int = 32
    seed: int = 0
    batch_size: int = 16


def samples(model: LoadedModel, arguments: Arguments, sampler: str, steps: int, spacing: str) -> torch.Tensor:
    """Return the samples of a model, (N, C, H, W); latents are not decoded."""
    guidance = learned_spacing(model.run).guidance
    request = SamplingRequest(arguments.num_images, arguments.seed, sampler, steps, spacing=spacing, guidance=guidance)
    parts = []
    for numbers in torch.arange(arguments.num_images).split(arguments.batch_size):
        conditional = model.config.network.conditional
        condition = conditions_in_turn(model.config.condition, numbers.tolist()) if conditional else None
        *_, last = sample(model, request, numbers.tolist(), condition=condition)
        parts.append(last.x)
    return torch.cat(parts)


def row(run: Run, arguments: Arguments, steps: int, fine: torch.Tensor, model: LoadedModel) -> list[str]:
    """Return the table's row of a run and a number of steps."""
    told = [run.name, str(steps)]
    for sampler in arguments.samplers:
        errors: dict[str, NDArray[np.float64]] = {}
        for spacing in (LEARNED, *SPACINGS):
            off = samples(model, arguments, sampler, steps, spacing) - fine
            errors[spacing] = off.square().flatten(1).mean(1).sqrt().double().cpu().numpy()
        learned = errors.pop(LEARNED)
        best = min(errors, key=lambda spacing: errors[spacing].mean())
        less = Estimate.of_mean(errors[best] - learned)
        others = ", ".join(f"{spacing} {own.mean():.3f}" for spacing, own in errors.items())
        print(f"{run.name}, {steps} steps of {sampler}: learned {learned.mean():.3f}, {others}", flush=True)
        told.append(
            f"{learned.mean():.3f}, {best} {errors[best].mean():.3f} ({-less.value:+.3f}, {-less.high:+.3f} – {-less.low:+.3f})"
        )
    return told


def main(arguments: Arguments) -> None:
    """Print Markdown: a table with one row for each run and number of steps."""
    published = [run for run in find_runs(PUBLISHED) if spacing_file(run).is_file()]
    rows = []
    for run in [Run(path) for path in arguments.runs] or published:
        model = load_model(run)
        fine = samples(model, arguments, FINE.sampler, FINE.steps, FINE.spacing)
        rows += [row(run, arguments, steps, fine, model) for steps in arguments.steps]
    print(f"\n{machine()}\n")
    print(table(("run", "steps", *(SAMPLERS[sampler].title for sampler in arguments.samplers)), rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
