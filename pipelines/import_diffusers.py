"""Import a model of diffusers or another library as a run: ``python -m pipelines.import_diffusers PATH --out runs/NAME``.

PATH is a folder written by diffusers' ``save_pretrained`` (a ``UNet2DModel``; a pipeline with one, whose scheduler says how
the network was trained; an ``AutoencoderKL``), or a .safetensors file of such a network, of denoising-diffusion-pytorch's
``Unet`` or of a network of Noisescope. Only safetensors are read, never pickles. Every decision is printed and recorded in the
run's config.json. The run computes in float32, as diffusers does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .common.settings import Between, Settings
from .common.text import in_short


@dataclass(frozen=True)
class Import(Settings):
    """Import a model of diffusers or another library as a run."""

    path: Positional[Path]
    """Folder written by save_pretrained, or a .safetensors file of weights."""
    out: Path
    """The run folder to write."""
    schedule: str | None = None
    """Noise schedule: linear, cosine, sigmoid or flow. Required if no scheduler was saved with the model."""
    prediction: str | None = None
    """Output of the network: epsilon, x0, v or flow. Required if no scheduler was saved with the model."""
    data: str = "unknown"
    """Dataset that the model was trained on, if you have it: a short name, a hub id or a folder. pipelines.evaluate uses it."""
    config: Path | None = None
    """Configuration of the network in a single file of weights, by default the config.json beside it."""
    variant: str | None = None
    """Variant of the weights to read, such as fp16, by default those of full precision."""
    image_size: Annotated[int | None, Between(4, 1024)] = None
    """Side of the images in pixels (of the latents, for a model of latents), where the model does not say it."""
    null_class: Annotated[int | None, Between(0, 100_000)] = None
    """Number of the class that a class-conditional network was trained to take as none, if there is one: it allows guidance."""


def main(arguments: Import) -> int:
    """Write the run; return the exit code."""
    from .models.foreign.importing import import_model
    from .models.foreign.source import Given

    given = Given(
        arguments.schedule,
        arguments.prediction,
        arguments.data,
        arguments.config,
        arguments.variant,
        arguments.image_size,
        arguments.null_class,
    )
    run = import_model(arguments.path, arguments.out, given)
    config = run.config
    diffusion = config.diffusion
    about = "an autoencoder" if config.model == "autoencoder" else f"{diffusion.schedule_name}, {diffusion.prediction}"
    size = "×".join(map(str, (config.image_shape or ())[1:]))
    print(f"{run.path}: {in_short(run.num_parameters)} parameters, {size}, {about}")
    for note in config.import_notes:
        print(f"- {note}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Import, main, "pipelines.import_diffusers"))
