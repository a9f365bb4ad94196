"""Export: ``python -m pipelines.export_diffusers RUN --out FOLDER``, a run's U-Net for diffusers.

FOLDER gets ``unet`` and ``scheduler``, as ``save_pretrained`` of diffusers writes them, and no code::

    from diffusers import DDIMPipeline, DDIMScheduler
    from pipelines.models.diffusers_export import ExportedUNet

    unet = ExportedUNet.from_pretrained("FOLDER/unet")
    images = DDIMPipeline(unet, DDIMScheduler.from_pretrained("FOLDER/scheduler"))(num_inference_steps=20)

The scheduler of a run that predicts the flow is diffusers' FlowMatchEulerDiscreteScheduler.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .models.loading import load_model
from .storage.files import refuse_taken


@dataclass(frozen=True)
class Export:
    """Write a run's U-Net for diffusers."""

    run: Positional[Path]
    """A run folder, a .safetensors file, or the name of a run at hand."""
    out: Path
    """The folder to write."""


def main(arguments: Export) -> int:
    """Write unet and scheduler; the exit code."""
    import torch

    from .models.diffusers_export import export_model

    refuse_taken(arguments.out)
    model = load_model(arguments.run, "cpu", torch.float32)
    export_model(model, arguments.out)
    about = "" if model.autoencoder is None else "; what it denoises are latents, and their autoencoder stays in the run"
    print(f"{arguments.out}: unet and scheduler{about}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Export, main, "pipelines.export_diffusers"))
