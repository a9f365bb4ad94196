"""Networks imported from diffusers, with the interface of our own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unets.autoencoder import DiagonalGaussian, LatentSpace

from ..common.settings import LONGEST
from ..common.text import shorten


class ImportedUNet(nn.Module):
    """A ``diffusers.UNet2DModel`` without weights, on the "meta" device, for a loader to fill.

    Args:
        settings: of the model, as in the config.json that diffusers saves with its weights.

    Raises:
        ValueError: the network is class-conditional, or its output has another number of channels than its input.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        for name in ("class_embed_type", "num_class_embeds"):
            if settings.get(name) is not None:
                raise ValueError(f"{name}={settings[name]}: class-conditional networks of diffusers cannot be imported")
        taken, given = settings.get("in_channels", 3), settings.get("out_channels", 3)
        if taken != given:
            raise ValueError(
                f"a network with {taken} input and {given} output channels: networks that predict a variance cannot be imported"
            )
        self.unet = _built(UNet2DModel, settings)

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Predict from x_t (B, C, H, W) at timesteps t, (B,) or (1,) -> (B, C, H, W) float32."""
        prediction: Tensor = self.unet(x_t.to(self.unet.dtype), t, return_dict=False)[0]
        return prediction.float()


class ImportedAutoencoder(LatentSpace):
    """A ``diffusers.AutoencoderKL`` without weights, on the "meta" device; ``latent_scale`` holds its ``scaling_factor``.

    Args:
        settings: of the model, as in its config.json.

    Raises:
        ValueError: its output has another number of channels than its input, or it shifts its latents.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from diffusers import AutoencoderKL

        taken, given = settings.get("in_channels", 3), settings.get("out_channels", 3)
        if taken != given:
            raise ValueError(f"an autoencoder with {taken} input and {given} output channels: give one with equal numbers")
        for name in ("shift_factor", "latents_mean", "latents_std"):
            if settings.get(name):
                raise ValueError(f"{name}={settings[name]}: autoencoders that shift their latents cannot be imported")
        super().__init__(settings.get("latent_channels", 4), 2 ** (len(settings.get("block_out_channels", (64,))) - 1))
        self.vae = _built(AutoencoderKL, settings)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        found = self.vae.encode(x.to(self.vae.dtype)).latent_dist
        return DiagonalGaussian(found.mean.float(), found.logvar.float())

    def reconstruct(self, latents: Tensor) -> Tensor:
        images: Tensor = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0]
        return images.float()


def _built(kind: Any, settings: Mapping[str, Any]) -> Any:
    """Build a network of diffusers without weights, after comparing its settings with the defaults of its class.

    Raises:
        ValueError: a setting is of another type, or diffusers cannot build it.
    """
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if not _alike(settings.get(name), parameter.default):
            told = shorten(repr(settings[name]), LONGEST)
            raise ValueError(f"{name}={told} in the settings of {kind.__name__}: it should be like {parameter.default!r}")
    try:
        with torch.device("meta"):
            return kind.from_config(dict(settings))
    except Exception as error:  # the library raises many kinds of errors
        told = shorten(" ".join(str(error).split()), LONGEST)
        raise ValueError(
            f"diffusers cannot build a {kind.__name__} with these settings ({told}): restore its config"
        ) from error


def _alike(value: Any, default: Any) -> bool:
    """Return whether a value from JSON has the type of a parameter's default; None stands for the default."""
    if value is None or default is None or default is inspect.Parameter.empty:
        return True
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_alike(part, default[0]) for part in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
