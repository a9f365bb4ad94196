"""Loading of trained models for sampling. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.finite import refuse_not_finite
from ..common.images import Pixels, to_uint8
from ..storage.config import RunConfig
from ..storage.run import Run
from ..storage.runs import find_run

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from diffusion_core.denoiser import Denoiser
    from diffusion_core.schedules import NoiseSchedule
    from unets.autoencoder import LatentSpace

MODELS_KEPT = 4  # models kept in memory for the dashboard


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model, ready to sample. It is shared between sessions and must not be changed.

    Attributes:
        run: the run it was loaded from.
        config: the run's configuration.
        denoiser: the x0 estimator, on its device, in evaluation mode, without gradients; on a CUDA device, repeated calls of
            its network are replayed (see :mod:`pipelines.models.captured`).
        fingerprint: digest of the weights.
        autoencoder: of a latent diffusion model; None for a model of pixels.
    """

    run: Run
    config: RunConfig
    denoiser: Denoiser
    fingerprint: str
    autoencoder: LatentSpace | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return self.denoiser.schedule

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images it generates."""
        assert self.config.image_shape is not None  # make_network has refused such a configuration
        return self.config.image_shape

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the states it denoises: latents, or the images themselves."""
        assert self.config.state_shape is not None
        return self.config.state_shape

    def encode(self, x: Tensor) -> Tensor:
        """Encode (B, C, H, W) images in [−1, 1] as latents on the model's device; a model of pixels leaves them unchanged."""
        if self.autoencoder is None:
            return x.to(self.device)
        from .latents import encode

        latents = encode(self.autoencoder, x)
        refuse_not_finite(latents, f"the autoencoder of {self.name}", "from an image")
        return latents

    def decode(self, x0: Tensor) -> Tensor:
        """Decode clean states, or estimates of them -> (B, C, H, W) images in [−1, 1].

        Raises:
            NotFiniteError: the autoencoder makes NaN or infinite numbers of finite ones.
        """
        if self.autoencoder is None:
            return x0
        from .latents import decode

        images = decode(self.autoencoder, x0)
        if bool(x0.isfinite().all()):
            refuse_not_finite(images, f"the autoencoder of {self.name}", "from latents")
        return images

    def pictures(self, state: Tensor, white: float | None = None) -> Pixels:
        """Render states, noisy or clean, for display -> (B, H, W, C) uint8; latents become grey images of their channels.

        Args:
            white: the value shown as white, its negative being black; by default 1 for pixels and three standard deviations
                for latents.
        """
        from .latents import LATENT_RANGE, latent_pictures

        if self.autoencoder is None:
            return to_uint8(state / (white or 1.0))
        return latent_pictures(state / (white or LATENT_RANGE), self.image_shape)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.denoiser.parameters()).device

    @property
    def num_parameters(self) -> int:
        """Number of parameters, including those of the autoencoder."""
        return sum(parameter.numel() for module in self.modules for parameter in module.parameters())

    @property
    def most_at_once(self) -> int:
        """Number of images that the device's memory may hold at once, roughly; 0 if not even one fits."""
        from ..common.devices import device_memory
        from ..common.memory import weight_bytes
        from .footprint import sampling_memory

        return max(0, device_memory(self.device) - sum(map(weight_bytes, self.modules))) // sampling_memory(self.config)

    @property
    def modules(self) -> list[torch.nn.Module]:
        """Modules that hold weights: the denoiser and any autoencoder."""
        return [self.denoiser] if self.autoencoder is None else [self.denoiser, self.autoencoder]

    @property
    def networks(self) -> list[torch.nn.Module]:
        """The networks that are called: the denoiser's, and the encoder and decoder of any autoencoder."""
        return [self.denoiser.network, *(() if self.autoencoder is None else self.autoencoder.children())]


def load_model(
    path: str | Path | Run, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a run's EMA weights.

    Args:
        path: a run folder, a single model.safetensors, the name of a run, or the id of one on the hub, which is downloaded if
            it is not here (see :func:`pipelines.storage.runs.find_run`).
        device: the best one by default.
        dtype: precision of the network; by default the fastest that the device computes without visible loss. The last layer
            and everything after it are always float32.

    Raises:
        ValueError: there is no such run, it is an autoencoder's, or its weights are truncated, in another format, not finite,
            or of another network.
    """
    import torch

    from ..common.devices import best_device, compute_dtype, keep_freed_memory
    from .captured import capture_calls
    from .latents import PREFIX, autoencoder_of, prepare_autoencoder
    from .networks import empty_network, load_weights, make_denoiser

    keep_freed_memory()
    run = path if isinstance(path, Run) else find_run(path, download=True)
    device = torch.device(device) if device is not None else best_device()
    config = run.config
    if config.model == "autoencoder":
        raise ValueError(
            f"{run.name} is an autoencoder and cannot generate images by itself: train a diffusion model of its latents with "
            f"`python -m pipelines.train --latent {run.path}`"
        )
    fingerprint = run.fingerprint
    network, autoencoder = empty_network(config), autoencoder_of(config)
    load_weights(run.model_path, {"": network} if autoencoder is None else {"": network, PREFIX: autoencoder})
    if autoencoder is not None:
        assert config.latent.latent_network is not None
        prepare_autoencoder(autoencoder, config.latent.latent_network, device, dtype)
    # The last layer of diffusers' networks cannot have a precision of its own, and a rounded output would be visible in x0.
    fastest = torch.float32 if config.network.imported else compute_dtype(device)
    network.to(device=device, dtype=dtype or fastest, memory_format=torch.channels_last)  # type: ignore[call-overload]
    denoiser = make_denoiser(network, config).eval().requires_grad_(False)
    if device.type == "cuda":
        capture_calls(network)
    return LoadedModel(run, config, denoiser, fingerprint, autoencoder)


@lru_cache(maxsize=MODELS_KEPT)
def loaded_model(run: Run, fingerprint: str) -> LoadedModel:
    """Return the run's model, loaded once for each version of its weights."""
    return load_model(run)
