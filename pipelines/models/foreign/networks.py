"""Networks imported from other libraries, with the interface of our own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_core.process import NOISE_SCALE
from diffusion_core.schedules import NoiseSchedule
from unets.autoencoder import DiagonalGaussian, LatentSpace

from ...common.extras import require_extra
from ...common.settings import LONGEST
from ...common.text import shorten
from ...storage.config import ImportedProcess, RunConfig
from ...storage.imported_config import LUCIDRAINS
from .lucidrains_unet import LucidrainsUNet


def imported_network(config: RunConfig, schedule: NoiseSchedule) -> nn.Module:
    """Return the network of an imported run, without weights.

    Raises:
        ValueError: the library cannot build it, or it cannot be represented here.
    """
    if config.network.unet == LUCIDRAINS:
        with torch.device("meta"):
            return LucidrainsUNet(config.network.settings)
    require_extra("diffusers")
    time = (config.diffusion.imported or ImportedProcess()).time
    table = schedule.num_timesteps * schedule.sigma
    times = {"timestep": None, "sigma": partial(_between, table.float()), "c_noise": lambda t: t / NOISE_SCALE}
    return ImportedUNet(config.network.settings, config.network.null_class, times[time])


def _between(table: Tensor, t: Tensor) -> Tensor:
    """Return the value of a table at ``t``, linear between rows, as :meth:`NoiseSchedule.at` reads alpha and sigma."""
    table, below = table.to(t.device), t.floor().long()
    above = (below + 1).clamp(max=len(table) - 1)
    return torch.lerp(table[below], table[above], t - below)


class ImportedUNet(nn.Module):
    """A ``diffusers.UNet2DModel`` without weights, on the "meta" device, for a loader to fill.

    Args:
        settings: of the model, as in the config.json that diffusers saves with its weights.
        null_class: number of the class that stands for none, if it has one; it is not among our classes.
        time: converts the denoiser's time to what the network takes; unchanged by default.

    Raises:
        ValueError: it embeds classes in another way than by a table, or its output has another number of channels than its
            input.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        null_class: int | None = None,
        time: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        if (kind := settings.get("class_embed_type")) is not None:
            raise ValueError(
                f"class_embed_type={shorten(repr(kind), LONGEST)}: only networks with a table of classes (num_class_embeds, "
                "without a class_embed_type) can be imported"
            )
        taken, given = settings.get("in_channels", 3), settings.get("out_channels", 3)
        if taken != given:
            raise ValueError(
                f"a network with {taken} input and {given} output channels: networks that predict a variance, or take more "
                "than the noisy image, cannot be imported"
            )
        if settings.get("time_embedding_type") == "fourier":
            raise ValueError(
                "time_embedding_type='fourier': such networks take the noise levels of score_sde instead of timesteps, and "
                "cannot be imported"
            )
        self.rounded = settings.get("time_embedding_type") == "learned"  # a table of timesteps
        self.conditional = settings.get("num_class_embeds") is not None
        self.null_class, self.time = null_class, time
        self.unet = _built(UNet2DModel, settings)

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Predict from x_t (B, C, H, W) at times t, (B,) or (1,) -> (B, C, H, W) float32."""
        labels = self._labels(t, condition) if self.conditional else None
        when = t if self.time is None else self.time(t)
        when = when.round().long() if self.rounded else when
        prediction: Tensor = self.unet(x_t.to(self.unet.dtype), when, labels, return_dict=False)[0]
        return prediction.float()

    def _labels(self, t: Tensor, condition: Any) -> Tensor:
        """Return class numbers, (B,) or a shared (1,); the null class where there is no class."""
        missing = condition is None or condition.labels is None
        if self.null_class is None:
            if missing or (not t.is_meta and bool(condition.dropped.any())):
                raise ValueError("this network was trained without a null class: give a class, and leave guidance at 1")
            labels: Tensor = condition.labels
            return labels
        if missing:
            return torch.full((1,), self.null_class, device=t.device)
        labels = condition.labels + (condition.labels >= self.null_class)
        return torch.where(condition.dropped, self.null_class, labels)


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
