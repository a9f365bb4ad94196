"""Our U-Nets behind the call that those of diffusers have, for its pipelines and whatever else takes its models."""

from __future__ import annotations

import json
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from diffusion_core.condition import Condition

from .config import config_from_json
from .model import make_network


class ExportedUNet(ModelMixin, ConfigMixin):
    """A U-Net of a run as a model of diffusers: ``ExportedUNet.from_pretrained(FOLDER / "unet")`` reads an export.

    Args:
        sample_size, in_channels: of what it denoises, (B, in_channels, sample_size, sample_size).
        run: the configuration of the run, as its config.json has it.
        first_timestep: what its scheduler calls our timestep 0.
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
        """What the network predicts of ``sample``, (B, C, H, W), in the words of diffusers.

        Args:
            timestep: one for all, or (B,), as the scheduler counts them.
            class_labels: (B,) class numbers, of a network that knows classes; none for its null class.
            encoder_hidden_states, encoder_attention_mask: (B, L, D) and (B, L), for one that reads.
            return_dict: whether the prediction comes as an UNet2DOutput, or in a tuple.
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
