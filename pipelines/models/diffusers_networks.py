"""Networks that diffusers trained, behind the calls that those here have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unets.autoencoder import DiagonalGaussian, LatentSpace


class ImportedUNet(nn.Module):
    """``diffusers.UNet2DModel``, without weights: on the "meta" device, for a loader to fill.

    Args:
        settings: of the model, as in the config.json that diffusers saves beside its weights.

    Raises:
        ValueError: it is told something besides the timestep, or does not give back images of the shape it takes.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        for name in ("class_embed_type", "num_class_embeds"):
            if settings.get(name) is not None:
                raise ValueError(f"{name}={settings[name]}: networks of diffusers that are told a class are not read")
        taken, given = settings.get("in_channels", 3), settings.get("out_channels", 3)
        if taken != given:
            raise ValueError(f"a network that makes {given} channels of {taken}: those that estimate a variance are not read")
        with torch.device("meta"):
            self.unet = UNet2DModel.from_config(dict(settings))

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """x_t (B, C, H, W) at timesteps t, (B,) or (1,) -> prediction, the same shape, float32."""
        prediction: Tensor = self.unet(x_t.to(self.unet.dtype), t, return_dict=False)[0]
        return prediction.float()


class ImportedAutoencoder(LatentSpace):
    """``diffusers.AutoencoderKL``, without weights, as above. Its ``scaling_factor`` becomes a weight: ``latent_scale``.

    Args:
        settings: of the model, as in its config.json.

    Raises:
        ValueError: it gives back other channels than it takes, or shifts its latents.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from diffusers import AutoencoderKL

        taken, given = settings.get("in_channels", 3), settings.get("out_channels", 3)
        if taken != given:
            raise ValueError(f"an autoencoder that makes {given} channels of {taken}: give one that brings its images back")
        for name in ("shift_factor", "latents_mean", "latents_std"):
            if settings.get(name):
                raise ValueError(f"{name}={settings[name]}: autoencoders that shift their latents are not read")
        super().__init__(settings.get("latent_channels", 4), 2 ** (len(settings.get("block_out_channels", (64,))) - 1))
        with torch.device("meta"):
            self.vae = AutoencoderKL.from_config(dict(settings))

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        found = self.vae.encode(x.to(self.vae.dtype)).latent_dist
        return DiagonalGaussian(found.mean.float(), found.logvar.float())

    def reconstruct(self, latents: Tensor) -> Tensor:
        images: Tensor = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0]
        return images.float()
