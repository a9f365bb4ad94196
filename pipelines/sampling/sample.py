"""Sampling of a request step by step, and the metadata of its images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diffusion_core.choices import SAMPLERS

from ..common.indices import evenly_spaced
from ..common.machine import TooLarge, refuse_beyond_memory
from .divergence import refuse_divergence
from .origins import FROM_NOISE, Origin
from .own_steps import default_request
from .request import SamplingRequest

if TYPE_CHECKING:
    from diffusion_core.condition import Condition
    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel
    from ..storage.config import RunConfig
    from .starts import Known

MAX_FRAMES = 101  # frames kept of one generation or trajectory, however many steps it takes


def sample(
    model: LoadedModel,
    request: SamplingRequest | None = None,
    images: Sequence[int] | None = None,
    origin: Origin = FROM_NOISE,
    condition: Condition | None = None,
) -> Iterator[Step]:
    """Generate images, yielding every step.

    Args:
        model: the model; see :func:`load_model`.
        request: what to generate; by default the usual settings, and a student's own.
        images: image numbers of the request, by default all. An image does not depend on which others are generated with it.
        origin: the starting point, by default noise; see :mod:`pipelines.sampling.origins`.
        condition: of these images, instead of the request's class or prompts.

    Yields:
        Steps with x and x0 of shape (len(images), *model.state_shape), float32 on the model's device; in the last one both are
        the sample, which ``origin.images`` converts to images in [−1, 1]. Their ``nfe`` leaves out the network evaluations that
        compute the starting point once for all images; see ``origin.nfe``.

    Raises:
        ValueError: before the first step, if the images do not fit into memory, there are more steps than in the model's
            schedule, or the model does not take the condition; during sampling, if an estimate is not finite (NotFiniteError).
    """
    from diffusion_core.noise import DrawnAhead, SeededNoise

    from .prompts import guided_denoiser

    request = request or default_request(model.config)
    numbers = range(request.num_images) if images is None else images
    if len(numbers) > origin.most_at_once(model):
        raise TooLarge(
            f"{len(numbers):,} images of {model.name} at once do not fit into the memory of {model.device}, which holds about "
            f"{origin.most_at_once(model):,}: choose a smaller batch"
        )
    start = origin.start(model, request, numbers)
    sampler: Callable[..., Iterator[Step]] = SAMPLERS[request.sampler]
    options: dict[str, Any] = request.options
    denoise: Any
    denoise, condition = guided_denoiser(model, request, numbers, condition)
    if start.known is not None:
        from diffusion_core.inpainting import KnownPixels, ReconstructionGuidance, repaint

        known = start.known.image, start.known.mask
        _refuse_students(model, start.known)
        if start.known.guided:
            denoise = ReconstructionGuidance(denoise, *known, data_range=model.denoiser.data_range)
        denoise = KnownPixels(denoise, *known)
        if start.known.resamplings > 1:
            sampler, options = repaint, {"resamplings": start.known.resamplings}
    noise: Any = start.noise
    if model.device.type != "cpu" and isinstance(noise, SeededNoise):
        noise = DrawnAhead(noise)
    steps = sampler(denoise, start.x, start.timesteps, model.schedule, condition, noise=noise, **options)
    return refuse_divergence(steps, len(start.timesteps), model.name)


def _refuse_students(model: LoadedModel, known: Known) -> None:
    """Raise ValueError if a student is asked to inpaint in a way that takes a denoiser's estimates."""
    if model.config.distillation is not None and (known.guided or known.resamplings > 1):
        raise ValueError(
            f"{model.name} is a student, which makes no estimates to guide by and takes no ddpm steps: inpaint without "
            f"resamplings and reconstruction guidance, or with its teacher, {model.config.distillation.teacher}"
        )


def kept_steps(num_steps: int) -> list[int]:
    """Return the steps of a sampler to keep as frames: all, or MAX_FRAMES evenly spaced ones including the first and last."""
    return evenly_spaced(num_steps + 1, MAX_FRAMES).tolist()


def refuse_frames_beyond_memory(config: RunConfig, request: SamplingRequest, pictures: int) -> None:
    """Raise TooLarge if the frames of a generation plainly need more memory than there is.

    Args:
        pictures: of each image in a frame.
    """
    frames = len(kept_steps(request.steps)) * request.num_images
    size = frames * pictures * math.prod(config.image_shape or ())
    refuse_beyond_memory(size, f"{frames:,} frames of this size", "choose fewer images or steps")


def metadata_of(run: str, fingerprint: str, request: SamplingRequest, origin: Origin = FROM_NOISE) -> dict[str, Any]:
    """Return the metadata of a PNG, from which the same image can be generated again unless it started from a picture."""
    metadata = {"run": run, "fingerprint": fingerprint, "request": asdict(request)}
    return metadata if origin == FROM_NOISE else metadata | {"origin": origin.about}
