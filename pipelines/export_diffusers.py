"""Export a run to diffusers: ``python -m pipelines.export_diffusers RUN --out FOLDER``.

Writes ``FOLDER/unet`` and ``FOLDER/scheduler`` in the format of diffusers' ``save_pretrained``, without any code. A run
that was imported from diffusers becomes a folder that diffusers alone can run::

    from diffusers import DiffusionPipeline

    images = DiffusionPipeline.from_pretrained("FOLDER")(num_inference_steps=20).images

Diffusers has no equivalent of Noisescope's own networks, so they need Noisescope::

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
from .common.extras import require_extra
from .models.loading import load_model
from .storage.files import atomic_folder, refuse_taken
from .storage.runs import find_run


@dataclass(frozen=True)
class Export:
    """Export a run to diffusers."""

    run: Positional[Path]
    """A run: its folder, its .safetensors file, its name in checkpoints/ or runs/, or its id on the hub (USER/NAME)."""
    out: Path
    """The folder to write."""


def main(arguments: Export) -> int:
    """Write the folder; return the exit code."""
    require_extra("diffusers")
    import torch

    from .models.diffusers_export import export_autoencoder, export_model

    refuse_taken(arguments.out)
    run = find_run(arguments.run, download=True)
    with atomic_folder(arguments.out) as folder:
        if run.config.model == "autoencoder":
            told = export_autoencoder(run, folder)
        else:
            told = export_model(load_model(run, "cpu", torch.float32), folder)
    print(f"{arguments.out}: exported {run.name}")
    for sentence in told:
        print(f"- {sentence}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Export, main, "pipelines.export_diffusers"))
