"""Export a run's U-Net to diffusers: ``python -m pipelines.export_diffusers RUN --out FOLDER``.

Writes ``FOLDER/unet`` and ``FOLDER/scheduler`` in the format of diffusers' ``save_pretrained``, without any code::

    from diffusers import DDIMPipeline, DDIMScheduler
    from pipelines.models.diffusers_export import ExportedUNet

    unet = ExportedUNet.from_pretrained("FOLDER/unet")
    images = DDIMPipeline(unet, DDIMScheduler.from_pretrained("FOLDER/scheduler"))(num_inference_steps=20)

A flow-prediction run gets diffusers' FlowMatchEulerDiscreteScheduler.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .models.loading import load_model
from .storage.files import atomic_folder, refuse_taken


@dataclass(frozen=True)
class Export:
    """Export a run's U-Net to diffusers."""

    run: Positional[Path]
    """A run folder, a .safetensors file, or the name of a run in checkpoints/ or runs/."""
    out: Path
    """The folder to write."""


def main(arguments: Export) -> int:
    """Write unet and scheduler; return the exit code."""
    import torch

    from .models.diffusers_export import export_model

    refuse_taken(arguments.out)
    model = load_model(arguments.run, "cpu", torch.float32)
    with atomic_folder(arguments.out) as folder:
        export_model(model, folder)
    about = "" if model.autoencoder is None else "; the U-Net denoises latents, and their autoencoder is not exported"
    print(f"{arguments.out}: unet and scheduler{about}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Export, main, "pipelines.export_diffusers"))
