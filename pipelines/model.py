"""From a run's configuration and weights to a denoiser that is ready to sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusion_core.denoiser import Denoiser
from diffusion_core.losses import DenoisingLoss
from diffusion_core.schedules import NoiseSchedule, make_schedule
from unets import build_network
from unets.autoencoder import LatentSpace
from unets.baseline import BaselineUNet

from .augmentation import AUGMENT_DIM
from .config import DiffusionConfig, RunConfig
from .devices import best_device, compute_dtype, keep_freed_memory
from .images import Pixels, to_uint8
from .runs import Run, find_run, read_tensors


def make_network(config: RunConfig, seed: int | None) -> BaselineUNet:
    """The run's network with initial weights from ``seed``, or without weights if that is None."""
    if config.state_shape is None:
        raise ValueError("this configuration names no image_shape: it is written when training starts")
    options = config.network.options(config.state_shape[0])
    if config.data.augment:
        options["augment_dim"] = AUGMENT_DIM
    if config.network.unet == "class":
        options["num_classes"] = len(config.condition.classes)
    if config.network.unet == "text":
        options["text_dim"] = config.condition.text_dim
    return build_network(config.network.unet, seed=seed, **options)


def empty_network(config: RunConfig) -> torch.nn.Module:
    """The run's network without weights, for a loader to fill; ours, or one that diffusers trained."""
    if not config.network.imported:
        return make_network(config, seed=None)
    from .imported import ImportedUNet

    return ImportedUNet(config.network.settings)


def make_diffusion_schedule(config: DiffusionConfig) -> NoiseSchedule:
    """The run's noise schedule."""
    return make_schedule(config.schedule, config.timesteps, config.zero_terminal_snr, config.noise_shift)


def make_loss(config: DiffusionConfig) -> DenoisingLoss:
    """The run's training objective."""
    schedule = make_diffusion_schedule(config)
    return DenoisingLoss(schedule, config.prediction, config.loss, config.weighting, config.min_snr_gamma)


def make_denoiser(network: torch.nn.Module, config: RunConfig) -> Denoiser:
    """The x0 estimator that the network stands for; pixels are kept within their range, and latents have none."""
    bounds = (-1.0, 1.0) if config.latent.latent_shape is None else None
    return Denoiser(network, make_diffusion_schedule(config.diffusion), config.diffusion.prediction, bounds)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model, ready to sample. Shared between sessions, so nobody may change it.

    Attributes:
        run: where it came from.
        config: what it is made of.
        denoiser: the x0 estimator, on its device, in evaluation mode, without gradients.
        fingerprint: of the weights.
        autoencoder: of a model of latents; None where pixels are diffused.
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
        """(C, H, W) of the images it makes."""
        assert self.config.image_shape is not None  # make_network has refused such a configuration
        return self.config.image_shape

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it noises and denoises: latents, or the images themselves."""
        assert self.config.state_shape is not None
        return self.config.state_shape

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) images in [−1, 1] -> what is noised, on the model's device: their latents, or the images themselves."""
        if self.autoencoder is None:
            return x.to(self.device)
        from .latents import encode

        return encode(self.autoencoder, x)

    def decode(self, x0: Tensor) -> Tensor:
        """A clean state, or an estimate of one -> the images that it stands for, (B, C, H, W) in [−1, 1]."""
        if self.autoencoder is None:
            return x0
        from .latents import decode

        return decode(self.autoencoder, x0)

    def pictures(self, state: Tensor, white: float | None = None) -> Pixels:
        """A state, noisy or not, for people, (B, H, W, C) uint8: latents as grey pictures of their channels.

        Args:
            white: the number that is shown as white, and its negative as black; 1 for pixels by default, three standard
                deviations for latents.
        """
        from .latents import LATENT_RANGE, latent_pictures

        if self.autoencoder is None:
            return to_uint8(state / (white or 1.0))
        return latent_pictures(state / (white or LATENT_RANGE), self.image_shape)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.denoiser.parameters()).device

    @property
    def num_parameters(self) -> int:
        """Number of weights, an autoencoder's included."""
        return sum(parameter.numel() for module in self.modules for parameter in module.parameters())

    @property
    def modules(self) -> list[torch.nn.Module]:
        """All that holds weights."""
        return [self.denoiser] if self.autoencoder is None else [self.denoiser, self.autoencoder]


def load_model(
    path: str | Path | Run, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> LoadedModel:
    """Load a run's EMA weights.

    Args:
        path: a run folder, a single model.safetensors, or the name of a run at hand.
        device: the best one by default.
        dtype: precision of the network; by default the fastest that the device computes without visible loss. Its last
            layer and everything after it are float32 whatever is chosen.

    Raises:
        ValueError: no such run, an autoencoder's, or weights that are truncated, in another format, not finite, or of another
            network.
    """
    from .latents import autoencoder_of, parted, ready

    keep_freed_memory()
    run = path if isinstance(path, Run) else find_run(path)
    device = torch.device(device) if device is not None else best_device()
    config = run.config
    if config.model == "autoencoder":
        raise ValueError(
            f"{run.name} is an autoencoder, and makes no images by itself: train a model of its latents with "
            f"`python -m pipelines.train --latent {run.path}`"
        )
    fingerprint = run.fingerprint
    weights, others = parted(read_tensors(run.model_path)[0])
    autoencoder = autoencoder_of(config)
    if autoencoder is not None:
        refuse_misfits(run.model_path, autoencoder, others)
        autoencoder.load_state_dict(others, assign=True)
        assert config.latent.latent_network is not None
        ready(autoencoder, config.latent.latent_network, device, dtype)
    network = empty_network(config)
    refuse_misfits(run.model_path, network, weights)
    network.load_state_dict(weights, assign=True)
    # The last layer of diffusers' networks has no precision of its own, and a rounded output would be visible in x0.
    fastest = torch.float32 if config.network.imported else compute_dtype(device)
    network.to(device=device, dtype=dtype or fastest, memory_format=torch.channels_last)  # type: ignore[call-overload]
    denoiser = make_denoiser(network, config).eval().requires_grad_(False)
    return LoadedModel(run, config, denoiser, fingerprint, autoencoder)


def refuse_misfits(path: Path, network: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Refuse weights that are not those of a network, or not finite.

    Args:
        path: where they are, for the sentence.

    Raises:
        ValueError: what is wrong with them.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"the weights of {path} do not fit the network that its configuration describes: "
                f"{name} should be {expected.get(name, 'absent')} and is {found.get(name, 'absent')}"
            )
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ValueError(
            f"the weights of {path} contain NaN or infinite numbers (first in {broken[0]}): train it again, or restore the file"
        )
