"""Where sampling starts: from noise, from between two seeds, from an image, or with part of an image known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .data import fit_image
from .images import Pixels, as_pil

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.noise import InterpolatedNoise, SeededNoise

    from .model import LoadedModel
    from .sample import SamplingRequest


@dataclass(frozen=True, eq=False)
class Known:
    """The part of an image that stays.

    Attributes:
        image: (1, C, H, W) in [−1, 1].
        mask: (1, 1, H, W), 1 where the image stays and 0 elsewhere.
        resamplings: how often each step is taken until both parts agree (RePaint); with 1 the request's sampler makes the rest.
    """

    image: Tensor
    mask: Tensor
    resamplings: int = 1


@dataclass(frozen=True, eq=False)
class Start:
    """Where sampling starts, and which way it goes from there.

    Attributes:
        x: (B, C, H, W) float32, the state at the first timestep.
        timesteps: descending.
        noise: what a stochastic sampler adds on the way, for B images.
        known: what stays as it is; nothing by default.
    """

    x: Tensor
    timesteps: Tensor
    noise: SeededNoise | InterpolatedNoise
    known: Known | None = None


def start_from_noise(model: LoadedModel, request: SamplingRequest, images: Sequence[int] | None = None) -> Start:
    """The usual start: pure noise of the request's seed, and all of its timesteps.

    Args:
        images: which image numbers of the request; all of them by default.
    """
    from diffusion_core.noise import SeededNoise
    from diffusion_core.schedules import sampling_timesteps

    timesteps = sampling_timesteps(model.schedule, request.steps, request.spacing)
    noise = SeededNoise(request.seed, model.image_shape, range(request.num_images) if images is None else images)
    return Start(noise.initial(model.device), timesteps, noise)


def start_between_seeds(
    model: LoadedModel, request: SamplingRequest, other_seed: int, weights: Sequence[float], image: int = 0
) -> Start:
    """One image number of two seeds, and what lies between: one image a weight, 0 for the request's seed, 1 for the other.

    Raises:
        ValueError: a weight that is not between 0 and 1.
    """
    from diffusion_core.noise import InterpolatedNoise, SeededNoise

    if not all(0 <= weight <= 1 for weight in weights):
        raise ValueError(f"weights {list(weights)}: choose numbers from 0 (the first seed) to 1 (the second)")
    images = [image] * len(weights)
    first, second = (SeededNoise(seed, model.image_shape, images) for seed in (request.seed, other_seed))
    noise = InterpolatedNoise(first, second, weights)
    return replace(start_from_noise(model, request, images), x=noise.initial(model.device), noise=noise)


def start_from_image(
    model: LoadedModel, request: SamplingRequest, picture: Pixels, strength: float, images: Sequence[int] | None = None
) -> Start:
    """SDEdit (Meng et al. 2022, algorithm 1): an image is noised to somewhere on the way, and denoised from there.

    Of the request's timesteps those are taken that are at most ``strength`` of the schedule's length, and always the least
    noisy one.

    Args:
        picture: (H, W, C) uint8 of any size, fitted to the model's.
        strength: from 0, where nearly the same image comes back, to 1, where (nearly) nothing is left of it.
        images: the image numbers whose noise is added, one variation each; all of the request by default.

    Raises:
        ValueError: a strength out of range.
    """
    from diffusion_core.process import add_noise

    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}: choose a number from 0 (keep the image) to 1 (nothing of it is left)")
    start = start_from_noise(model, request, images)
    visited = start.timesteps <= strength * model.schedule.num_timesteps
    visited[-1] = True
    timesteps = start.timesteps[visited]
    x0 = fit_to_model(model, picture).to(model.device)
    return replace(start, x=add_noise(model.schedule, x0, start.x, timesteps[0]), timesteps=timesteps)


def start_inside_image(
    model: LoadedModel,
    request: SamplingRequest,
    picture: Pixels,
    mask: Pixels,
    strength: float = 1.0,
    resamplings: int = 1,
    images: Sequence[int] | None = None,
) -> Start:
    """Inpainting: part of an image is made anew, the rest stays.

    Args:
        picture: (H, W, C) uint8 of any size, fitted to the model's.
        mask: (H', W', 1) uint8, white where the image is made anew; fitted as the picture is, so give both the same shape.
        strength: how much of the new part may differ from the old, as in :func:`start_from_image`.
        resamplings: see :class:`Known`.
        images: the image numbers whose noise is used; all of the request by default.

    Raises:
        ValueError: a strength or resamplings out of range, or a mask that leaves nothing to make.
    """
    if resamplings < 1:
        raise ValueError(f"resamplings={resamplings}: choose 1 or more")
    start = start_from_image(model, request, picture, strength, images)
    stays = (fit_to_model(model, mask).mean(1, keepdim=True) < 0).float()  # a pixel is one or the other
    if bool(stays.all()):
        raise ValueError("the mask is all black: nothing to make; make white what is to be made anew")
    known = Known(fit_to_model(model, picture).to(model.device), stays.to(model.device), resamplings)
    return replace(start, known=known)


def fit_to_model(model: LoadedModel, picture: Pixels) -> Tensor:
    """(H, W, C) uint8 of any size -> (1, C, H, W) float32 in [−1, 1], as the model's training images were prepared."""
    import torch

    channels, size, _ = model.image_shape
    image = fit_image(as_pil(picture).convert("L" if channels == 1 else "RGB"), size, model.config.data.fit or "crop")
    pixels = torch.from_numpy(np.array(image)).view(1, size, size, channels)
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
