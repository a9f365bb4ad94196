"""Export: ``python -m pipelines.export_diffusers RUN --out FOLDER``, a run's U-Net for diffusers.

FOLDER gets ``unet`` and ``scheduler``, as ``save_pretrained`` of diffusers writes them, and no code::

    from diffusers import DDIMPipeline, DDIMScheduler
    from pipelines.exported import ExportedUNet

    unet = ExportedUNet.from_pretrained("FOLDER/unet")
    images = DDIMPipeline(unet, DDIMScheduler.from_pretrained("FOLDER/scheduler"))(num_inference_steps=20)

The scheduler of a run that predicts the flow is diffusers' FlowMatchEulerDiscreteScheduler.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from .command_line import DONE, run_command
from .import_diffusers import PREDICTIONS
from .runs import find_run, refuse_taken

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    from .model import LoadedModel

WRITTEN = {ours: theirs for theirs, ours in PREDICTIONS.items()}


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

    from .model import load_model

    refuse_taken(arguments.out)
    model = load_model(find_run(arguments.run), "cpu", torch.float32)
    if model.config.network.imported:
        raise ValueError(f"{model.name} came from diffusers: use the folder that it was imported from")
    channels, side, _ = model.state_shape
    made = scheduler(model)
    from .exported import ExportedUNet

    # In flow matching a timestep is 1000·sigma there, and our first one has a thousandth of the noise.
    unet = ExportedUNet(side, channels, asdict(model.config), int(model.config.diffusion.prediction == "flow"))
    unet.network.load_state_dict(model.denoiser.network.state_dict())
    unet.save_pretrained(arguments.out / "unet")
    made.save_pretrained(arguments.out / "scheduler")  # type: ignore[union-attr]
    about = "" if model.autoencoder is None else "; what it denoises are latents, and their autoencoder stays in the run"
    print(f"{arguments.out}: unet and scheduler{about}")
    return DONE


def scheduler(model: LoadedModel) -> DDIMScheduler | FlowMatchEulerDiscreteScheduler:
    """The model's noise schedule as diffusers has it.

    Raises:
        ValueError: a schedule or a prediction that diffusers does not know.
    """
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    from diffusion_core.schedules import make_schedule

    schedule, prediction = model.schedule, model.config.diffusion.prediction
    straight = make_schedule("flow", schedule.num_timesteps)
    if prediction == "flow" and schedule.sigma.allclose(straight.sigma) and schedule.alpha.allclose(straight.alpha):
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=schedule.num_timesteps)
    kept = schedule.alpha.square()  # of the variance, up to each timestep
    if prediction not in WRITTEN or not (kept + schedule.sigma.square()).allclose(kept.new_ones(()), atol=1e-6):
        raise ValueError(
            f"{model.name} predicts {prediction} on the schedule {model.config.diffusion.schedule}: diffusers knows "
            f"{', '.join(WRITTEN)} on schedules that keep the variance, alpha² + sigma² = 1, and flow on the schedule flow "
            "without a noise shift"
        )
    before = kept.roll(1)
    before[0] = 1
    return DDIMScheduler(
        num_train_timesteps=schedule.num_timesteps,
        trained_betas=(1 - kept / before).tolist(),
        prediction_type=WRITTEN[prediction],
        clip_sample=model.denoiser.data_range is not None,
        timestep_spacing="trailing",
    )


if __name__ == "__main__":
    sys.exit(run_command(Export, main, "pipelines.export_diffusers"))
