"""Export of a run's U-Net and schedule to diffusers, and the model class that reads the export."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, DDIMScheduler, FlowMatchEulerDiscreteScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from diffusion_core.condition import Condition
from diffusion_core.schedules import make_schedule

from ..storage.config import config_from_json
from .diffusers_import import PREDICTIONS
from .loading import LoadedModel
from .networks import make_network

WRITTEN = {ours: theirs for theirs, ours in PREDICTIONS.items()}


class ExportedUNet(ModelMixin, ConfigMixin):
    """A run's U-Net as a diffusers model: ``ExportedUNet.from_pretrained(FOLDER / "unet")`` reads an export.

    Args:
        sample_size, in_channels: of the states it denoises, (B, in_channels, sample_size, sample_size).
        run: the run's configuration, as in its config.json.
        first_timestep: the scheduler's number for our timestep 0.
    """

    @register_to_config
    def __init__(self, sample_size: int, in_channels: int, run: dict[str, Any], first_timestep: int = 0) -> None:
        super().__init__()
        self.first_timestep = first_timestep
        self.network = make_network(config_from_json(json.dumps(run), "the exported run"), seed=0)

    def forward(
        self,
        sample: Tensor,
        timestep: float | Tensor,
        class_labels: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Return the network's prediction for ``sample``, (B, C, H, W); arguments are named as in diffusers.

        Args:
            timestep: one for all, or (B,), in the scheduler's numbering.
            class_labels: (B,) class numbers for a class-conditional network; None for the null class.
            encoder_hidden_states, encoder_attention_mask: (B, L, D) and (B, L), for a text-conditional network.
            return_dict: return a UNet2DOutput instead of a tuple.
        """
        t = torch.as_tensor(timestep, device=sample.device, dtype=torch.float32).reshape(-1) - self.first_timestep
        condition = None
        if class_labels is not None or encoder_hidden_states is not None:
            mask = encoder_attention_mask
            if encoder_hidden_states is not None and mask is None:
                mask = torch.ones(encoder_hidden_states.shape[:2], device=sample.device)
            condition = Condition(class_labels, encoder_hidden_states, None if mask is None else mask.bool())
        prediction = self.network(sample, t, condition)
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)


def export_model(model: LoadedModel, folder: Path) -> None:
    """Write a model's network to ``folder/unet`` and its schedule to ``folder/scheduler``, as ``save_pretrained`` does.

    Raises:
        ValueError: the network was imported from diffusers, or diffusers has no such schedule or prediction.
    """
    if model.config.network.imported:
        raise ValueError(f"{model.name} was imported from diffusers: use the folder it was imported from")
    channels, side, _ = model.state_shape
    made = scheduler(model)
    # diffusers' flow-matching timestep is 1000·sigma, and sigma is a thousandth at our timestep 0.
    unet = ExportedUNet(side, channels, asdict(model.config), int(model.config.diffusion.prediction == "flow"))
    unet.network.load_state_dict(model.denoiser.network.state_dict())
    unet.save_pretrained(folder / "unet")
    made.save_pretrained(folder / "scheduler")


def scheduler(model: LoadedModel) -> DDIMScheduler | FlowMatchEulerDiscreteScheduler:
    """Return the model's noise schedule as a diffusers scheduler.

    Raises:
        ValueError: diffusers has no such schedule or prediction.
    """
    schedule, prediction = model.schedule, model.config.diffusion.prediction
    straight = make_schedule("flow", schedule.num_timesteps)
    if prediction == "flow" and schedule.sigma.allclose(straight.sigma) and schedule.alpha.allclose(straight.alpha):
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=schedule.num_timesteps)
    kept = schedule.alpha.square()  # alphas_cumprod
    if prediction not in WRITTEN or not (kept + schedule.sigma.square()).allclose(kept.new_ones(()), atol=1e-6):
        raise ValueError(
            f"{model.name} predicts {prediction} on the schedule {model.config.diffusion.schedule}: diffusers supports "
            f"{', '.join(WRITTEN)} on variance-preserving schedules, alpha² + sigma² = 1, and flow on the schedule flow "
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
