"""Import a diffusers model as a run: ``python -m pipelines.import_diffusers FOLDER --out runs/NAME``.

FOLDER was written by ``save_pretrained`` and holds one of three things: a ``UNet2DModel``; a ``DDPMPipeline`` or
``DDIMPipeline``, whose scheduler says how the network was trained; or an ``AutoencoderKL``, whose latents can then be
diffused. The weights are copied, and the run computes in float32, as diffusers does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .common.command_line import DONE, run_command


@dataclass(frozen=True)
class Import:
    """Import a model saved by diffusers as a run."""

    folder: Positional[Path]
    """Folder written by save_pretrained for a UNet2DModel, a pipeline with one, or an AutoencoderKL."""
    out: Path
    """The run folder to write."""
    schedule: str | None = None
    """Noise schedule: linear, cosine, sigmoid or flow. Required if no scheduler was saved with the model."""
    prediction: str | None = None
    """Output of the network: epsilon, x0, v or flow. Required if no scheduler was saved with the model."""
    data: str = "unknown"
    """Dataset that the model was trained on, if you have it: a short name, a hub id or a folder. pipelines.evaluate uses it."""


def main(arguments: Import) -> int:
    """Write the run; return the exit code."""
    from .models.diffusers_import import import_model

    run = import_model(arguments.folder, arguments.out, arguments.schedule, arguments.prediction, arguments.data)
    config = run.config
    about = "an autoencoder" if config.model == "autoencoder" else f"{config.diffusion.schedule}, {config.diffusion.prediction}"
    size = "×".join(map(str, (config.image_shape or ())[1:]))
    print(f"{run.path}: {run.num_parameters / 1e6:.2f} M parameters, {size}, {about}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Import, main, "pipelines.import_diffusers"))
