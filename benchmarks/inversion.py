"""Reconstruction after inversion: ``python -m benchmarks.inversion``.

Held-out images are inverted to the noise from which DDIM generates them, and sampled again from there. The peak
signal-to-noise ratio between the two is measured for plain first-order inversion and for the refined one of the Edit page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import tyro
from torch import Tensor

from diffusion_core.inversion import invert
from diffusion_core.samplers import ddim
from diffusion_core.schedules import sampling_timesteps
from pipelines.common.devices import best_device
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.splits import data_of
from pipelines.models.loading import LoadedModel, load_model

from .timing import machine, table, with_quartiles

REFINEMENTS = (0, 1, 2)


@dataclass(frozen=True)
class Arguments:
    """Measure the round trip from images to noise and back."""

    models: tuple[str, ...] = ("checkpoints/fashion-baseline", "checkpoints/fashion-attention")
    images: int = 32
    steps: tuple[int, ...] = (10, 20, 50)
    device: str = field(default_factory=lambda: str(best_device()))


def round_trip(model: LoadedModel, x0: Tensor, steps: int, refinements: int) -> Tensor:
    """Return the PSNR of reconstructions in dB, (B,) on the CPU; both directions are unconditional."""
    timesteps = sampling_timesteps(model.schedule, steps, "linspace")
    *_, noise = invert(model.denoiser, x0, timesteps, model.schedule, refinements=refinements)
    *_, back = ddim(model.denoiser, noise.x, timesteps, model.schedule)
    return 10 * (4 / (back.x - x0).square().flatten(1).mean(1)).log10().cpu()


def rows(model: LoadedModel, x0: Tensor, steps: Sequence[int]) -> list[tuple[str, ...]]:
    """Return a row for each number of steps."""
    return [
        (
            model.name,
            f"{number}",
            *(with_quartiles(round_trip(model, x0, number, times).numpy(), 1) for times in REFINEMENTS),
        )
        for number in steps
    ]


def main(arguments: Arguments) -> None:
    """Print Markdown."""
    found: list[tuple[str, ...]] = []
    for path in arguments.models:
        model = load_model(path, arguments.device)
        _, held_out = load_images(data_of(model.config), arguments.images)
        x0 = held_out.images[: arguments.images].to(model.device).float() / 127.5 - 1
        found += rows(model, x0, arguments.steps)
    print(f"{machine(torch.device(arguments.device))}\n")
    print(f"PSNR in dB over {arguments.images} held-out images: median (quartiles).\n")
    print(table(("model", "steps", *(f"{times} refinements" for times in REFINEMENTS)), found))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
