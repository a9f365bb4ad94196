"""Import: ``python -m pipelines.import_diffusers FOLDER --out runs/NAME``, a model of diffusers as a run.

FOLDER is what ``save_pretrained`` wrote: of a ``UNet2DModel``, or of a ``DDPMPipeline`` or ``DDIMPipeline``, whose scheduler
then says how it was trained, or of an ``AutoencoderKL``, whose latents can then be diffused. The weights are copied, and
computed in float32, as diffusers does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .common.command_line import DONE, run_command


@dataclass(frozen=True)
class Import:
    """Make a run of a model that diffusers saved."""

    folder: Positional[Path]
    """What save_pretrained wrote: of a UNet2DModel, of a pipeline with one, or of an AutoencoderKL."""
    out: Path
    """The run folder to write."""
    schedule: str | None = None
    """linear, cosine, sigmoid or flow; needed where no scheduler was saved beside the model."""
    prediction: str | None = None
    """What the network outputs, epsilon, x0, v or flow; needed where no scheduler was saved beside the model."""
    data: str = "unknown"
    """What it was trained on, if you have it: a short name, a hub id or a folder. pipelines.evaluate compares with it."""


def main(arguments: Import) -> int:
    """Write the run; the exit code."""
    from .models.diffusers_import import import_model

    run = import_model(arguments.folder, arguments.out, arguments.schedule, arguments.prediction, arguments.data)
    config = run.config
    about = "an autoencoder" if config.model == "autoencoder" else f"{config.diffusion.schedule}, {config.diffusion.prediction}"
    size = "×".join(map(str, (config.image_shape or ())[1:]))
    print(f"{run.path}: {run.num_parameters / 1e6:.2f} M parameters, {size}, {about}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Import, main, "pipelines.import_diffusers"))
