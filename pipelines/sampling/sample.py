"""Sampling: from a request to the steps of a sampler, and what its pictures record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diffusion_core.choices import SAMPLERS

from ..common.images import Pixels, enlarge, gif_bytes, montage
from ..common.indices import evenly_spaced
from .origins import FROM_NOISE, Origin

if TYPE_CHECKING:
    from diffusion_core.condition import Condition
    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel
from .request import SamplingRequest

MAX_FRAMES = 101  # kept of one generation or trajectory, however many steps it takes


def sample(
    model: LoadedModel,
    request: SamplingRequest,
    images: Sequence[int] | None = None,
    origin: Origin = FROM_NOISE,
    condition: Condition | None = None,
) -> Iterator[Step]:
    """Generate images, yielding every step.

    Args:
        model: see :func:`load_model`.
        request: what to generate.
        images: which image numbers of the request; all of them by default. The subset looks the same as in the whole.
        origin: where to start; :mod:`pipelines.sampling.origins` has other ways than from noise.
        condition: what each of these images is to show, in place of the request's class or prompts.

    Yields:
        Steps with x and x0 of shape (len(images), *model.state_shape), float32 on the model's device; in the last one both are
        the sample. ``origin.images`` makes the images of it, in [−1, 1]. What coming to a start costs is not in their ``nfe``:
        it is the same for all images, and ``origin.nfe`` tells it.

    Raises:
        ValueError: before the first step, for more steps than the model's schedule has, or a condition that the model does
            not take.
    """
    from .prompts import guided_denoiser

    numbers = range(request.num_images) if images is None else images
    start = origin.start(model, request, numbers)
    sampler: Callable[..., Iterator[Step]] = SAMPLERS[request.sampler]
    options: dict[str, Any] = request.options
    denoise: Any
    denoise, condition = guided_denoiser(model, request, numbers, condition)
    if start.known is not None:
        from diffusion_core.inpainting import KnownPixels, repaint

        denoise = KnownPixels(denoise, start.known.image, start.known.mask)
        if start.known.resamplings > 1:
            sampler, options = repaint, {"resamplings": start.known.resamplings}
    return sampler(denoise, start.x, start.timesteps, model.schedule, condition, noise=start.noise, **options)


def kept_steps(num_steps: int) -> list[int]:
    """Return which steps of a sampler become frames: all of them, or MAX_FRAMES evenly spaced, first and last included."""
    return evenly_spaced(num_steps + 1, MAX_FRAMES).tolist()


def metadata_of(run: str, fingerprint: str, request: SamplingRequest, origin: Origin = FROM_NOISE) -> dict[str, Any]:
    """What goes into every PNG: enough to make the same image again, where no other picture went into it."""
    metadata = {"run": run, "fingerprint": fingerprint, "request": asdict(request)}
    return metadata if origin == FROM_NOISE else metadata | {"origin": origin.about}


def denoising_gif(frames: Sequence[Pixels]) -> bytes:
    """A GIF of montages of (N, H, W, C) frames, the last one held for a moment."""
    factor = max(1, 64 // frames[0].shape[1])
    pictures = [enlarge(montage(frame), factor) for frame in frames]
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])
