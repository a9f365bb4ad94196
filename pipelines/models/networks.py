"""A run's network, noise schedule, training objective and denoiser, built from its configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.losses import DenoisingLoss
from diffusion_core.schedules import NoiseSchedule, from_betas, make_schedule
from unets import build_network
from unets.baseline import BaselineUNet

from ..common.machine import refuse_beyond_memory
from ..common.memory import weight_bytes
from ..datasets.augmentation import AUGMENT_DIM
from ..storage.config import DiffusionConfig, ImportedProcess, RunConfig
from ..storage.weights import described_tensors, read_tensors

MOST_NAMES = 3  # of weights in a message
FLOATS = ("F64", "F32", "F16", "BF16")  # the types of weights


def make_network(config: RunConfig, seed: int | None) -> BaselineUNet:
    """Return the run's network with initial weights from ``seed``, or without weights if it is None."""
    if config.state_shape is None:
        raise ValueError("this configuration has no image_shape: it is written when training starts")
    options = config.network.options(config.state_shape[0])
    if config.data.augment:
        options["augment_dim"] = AUGMENT_DIM
    if config.distillation is not None and config.distillation.varies:
        options["calls"] = True
    if config.network.takes == "class":
        options["num_classes"] = len(config.condition.classes)
    if config.network.takes == "text":
        options["text_dim"] = config.condition.text_dim
    network = build_network(config.network.unet, seed=None, **options)
    if seed is None:
        return network
    refuse_beyond_memory(weight_bytes(network), "the weights of this network", "choose fewer channels or blocks")
    return build_network(config.network.unet, seed=seed, **options)


def empty_network(config: RunConfig) -> torch.nn.Module:
    """Return the run's network without weights, for a loader to fill; it may be a network imported from another library."""
    if not config.network.imported:
        return make_network(config, seed=None)
    from .foreign.networks import imported_network

    return imported_network(config, make_diffusion_schedule(config.diffusion))


def told_calls(
    config: RunConfig, calls: int, condition: Condition | None, images: int, device: torch.device
) -> Condition | None:
    """Return the condition of images with the number of calls in which they are sampled, if the run's network takes it.

    Args:
        condition: of the images otherwise; None for none.
        images: their number.
    """
    if config.distillation is None or not config.distillation.varies:
        return condition
    every = torch.full((images,), calls, device=device)
    return Condition(calls=every) if condition is None else replace(condition, calls=every)


def make_diffusion_schedule(config: DiffusionConfig) -> NoiseSchedule:
    """Return the run's noise schedule."""
    if config.imported is not None and config.imported.betas:
        return from_betas(config.imported.name, config.imported.betas)
    return make_schedule(config.schedule, config.timesteps, config.zero_terminal_snr, config.noise_shift)


def make_loss(config: DiffusionConfig) -> DenoisingLoss:
    """Return the run's training objective."""
    schedule = make_diffusion_schedule(config)
    density = (config.timestep_density, config.density_mean, config.density_std)
    return DenoisingLoss(schedule, config.prediction, config.loss, config.weighting, config.min_snr_gamma, *density)


def make_denoiser(network: torch.nn.Module, config: RunConfig) -> Denoiser:
    """Return the x0 estimator of a network.

    Estimates of pixels are clipped to their range and those of latents are not, unless the scheduler of an imported model says
    otherwise.
    """
    diffusion = config.diffusion
    pixels = config.latent.latent_shape is None
    asked = diffusion.imported or ImportedProcess(clip=1.0 if pixels else None)
    bounds = None if asked.clip is None else (-asked.clip, asked.clip)
    schedule = make_diffusion_schedule(diffusion)
    return Denoiser(network, schedule, diffusion.prediction, bounds, asked.thresholding)


def load_weights(path: Path, parts: Mapping[str, torch.nn.Module]) -> None:
    """Fill networks without weights with those in a file, whose header is checked before anything is read.

    Args:
        parts: the networks, by the prefix of their weights' names in the file.

    Raises:
        ValueError: the file is damaged, or a weight is missing, unexpected, of another shape or type, or not finite.
    """
    expected = {f"{prefix}{name}": tensor for prefix, part in parts.items() for name, tensor in part.state_dict().items()}
    refuse_misfits(path, expected, described_tensors(path))
    weights = read_tensors(path)[0]
    refuse_broken(path, weights)
    for prefix, part in parts.items():
        part.load_state_dict({name: weights[f"{prefix}{name}"] for name in part.state_dict()}, assign=True)


def refuse_misfits(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Raise ValueError if weights do not fit a network.

    Args:
        path: the file they come from, for the message.
        expected: the network's weights, which may be without memory.
        found: shape and type of each weight (see :func:`pipelines.storage.weights.described_tensors`).
    """
    for name in sorted(expected.keys() | found.keys()):
        shape, kind = found.get(name, ("absent", "F32"))
        should = tuple(expected[name].shape) if name in expected else "absent"
        if should != shape or kind not in FLOATS:
            raise ValueError(
                f"the weights of {path} do not fit the network that its configuration describes: "
                f"{name} should be {should} and is {shape}"
                + (f" of the type {kind}" if kind not in FLOATS else "")
                + _counted("missing", expected.keys() - found.keys())
                + _counted("unexpected", found.keys() - expected.keys())
            )


def _counted(what: str, names: Collection[str]) -> str:
    """Return how many weights are missing or unexpected, with the first few names; empty if there are none."""
    first = sorted(names)[:MOST_NAMES]
    return f"; {len(names):,} {what}: {', '.join(first)}{', …' * (len(names) > len(first))}" if names else ""


def refuse_broken(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError if weights from a file are not finite."""
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ValueError(
            f"the weights of {path} contain NaN or infinite numbers (first in {broken[0]}): train it again, or restore the file"
        )
