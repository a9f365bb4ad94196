"""The way of an image through time: what a sampler passes through, from noise, from between two seeds, or from an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..common.device_lock import DEVICE
from ..common.images import Pixels, montage, to_uint8
from ..common.indices import evenly_spaced
from .origins import FROM_NOISE, Origin
from .queue import MAX_FRAMES
from .request import SamplingRequest
from .sample import sample

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.loading import LoadedModel

NOISE_RANGE = 3.0  # standard deviations of predicted noise from grey to white, and to black
GAP = 2  # pixels between the pictures of a frame


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where B images have been; F frames, the last one is the sample.

    Attributes:
        steps: (F,) which step of the sampler each frame is: all of them, or MAX_FRAMES evenly spread.
        timesteps, alpha, sigma: (F,) the noise level; 0, 1 and 0 for the sample.
        nfe: (F,) network evaluations so far, per image.
        x, x0, noise: (F, B, H, W, C) uint8: the state, the estimate of the clean image made from it, and the noise that is
            then predicted to be in the state (grey is 0, black and white are ±NOISE_RANGE; all grey in the sample). Of a model
            of latents state and noise are grey pictures of their channels, and the sample is an image.
        moved: (S, B) how far each of the S steps moved the state: the root mean square over all pixels (or latents) and
            channels; pixels run from −1 to 1.
        moved_x0: (S − 1, B) the same of the estimate; the last step makes none, it arrives there.
        change: (F, B, H, W, 1) uint8, what the condition changes about the estimate, zero in the sample; None without
            condition. Like ``attention`` it comes from :func:`~pipelines.sampling.influence.influence`, whose network calls
            are not counted in ``nfe``.
        attention: (F, B, len(words), H, W), the share of each pixel's attention that a word gets, zero in the sample.
        words: of the prompt; empty where there is none.
        of_latents: whether state and noise are latents, shown as grey pictures of their channels.
    """

    steps: NDArray[np.int64]
    timesteps: NDArray[np.float64]
    alpha: NDArray[np.float64]
    sigma: NDArray[np.float64]
    nfe: NDArray[np.int64]
    x: Pixels
    x0: Pixels
    noise: Pixels
    moved: NDArray[np.float64]
    moved_x0: NDArray[np.float64]
    change: Pixels | None = None
    attention: NDArray[np.float16] | None = None
    words: tuple[str, ...] = ()
    of_latents: bool = False

    @property
    def labels(self) -> list[str]:
        """What each frame is called."""
        return [f"t = {timestep:.0f}" for timestep in self.timesteps[:-1]] + ["sample"]

    @property
    def log_snr(self) -> NDArray[np.float64]:
        """(F,) log(alpha²/sigma²): −inf for pure noise, inf for the sample."""
        with np.errstate(divide="ignore"):
            return 2 * np.log(self.alpha / self.sigma)

    def pictures(self, image: int = 0, background: int = 255) -> Pixels:
        """(F, H, W', C): x, x0, noise and, where there is one, the change of one image side by side."""
        shown = [self.x[:, image], self.x0[:, image], self.noise[:, image]]
        if self.change is not None:
            shown.append(np.broadcast_to(self.change[:, image], shown[0].shape))
        rows = np.stack(shown, axis=1)
        return np.stack([montage(row, len(shown), GAP, background)[GAP:-GAP, GAP:-GAP] for row in rows])


def trajectory(
    model: LoadedModel,
    request: SamplingRequest,
    images: Sequence[int] | None = None,
    origin: Origin = FROM_NOISE,
    progress: Callable[[float], object] | None = None,
) -> Trajectory:
    """Compute the whole way of images.

    Args:
        model, request, images, origin: as for :func:`pipelines.sampling.sample.sample`.
        progress: called after every step with the share that is done; what it raises ends the computation.
    """
    from .influence import influence, words_of
    from .prompts import guided_denoiser

    count = len(origin.timesteps(model, request))
    numbers = range(request.num_images) if images is None else images
    kept = set(evenly_spaced(count + 1, MAX_FRAMES))
    frames, moves, influences = [], [], []
    with DEVICE:
        steps = sample(model, request, numbers, origin)
    _, condition = guided_denoiser(model, request, numbers)
    words = words_of(model.config.condition, request.prompt[0]) if len(request.prompt) == 1 else []
    before = None
    for _ in range(count + 1):
        with DEVICE:
            step = next(steps)
            if condition is not None and step.index in kept and step.index < count:
                influences.append(influence(model, condition, step.x, step.timestep, words))
        if before is not None:
            moves.append([_distance(step.x, before.x), _distance(step.x0, before.x0)])
        if step.index in kept:
            alpha, sigma = (1.0, 0.0) if step.index == count else _level(model, step.timestep)
            image = to_uint8(origin.images(model, step.x0))
            noise = model.pictures(_noise(step.x, step.x0, alpha, sigma), NOISE_RANGE)
            pictures = (image if step.index == count else model.pictures(step.x), image, noise)
            frames.append((step.index, step.timestep, alpha, sigma, step.nfe, *pictures))
        before = step
        if progress is not None:
            progress(step.index / count)
    moved, moved_x0 = np.array(moves).swapaxes(0, 1)
    columns = [np.array(column) for column in zip(*frames, strict=True)] + [moved, moved_x0[:-1]]
    change = attention = None
    if influences:  # there is none in the sample
        change, attention = (np.stack([*part, np.zeros_like(part[0])]) for part in zip(*influences, strict=True))
    told = tuple(word.text for word in words)
    of_latents = model.autoencoder is not None
    return Trajectory(*columns, change=change, attention=attention, words=told, of_latents=of_latents)  # type: ignore[misc]


def _level(model: LoadedModel, timestep: float) -> tuple[float, float]:
    alpha, sigma = model.schedule.at(timestep)
    return alpha.item(), sigma.item()


def _noise(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise in a state if ``x0`` is the clean image; none where the state is clean."""
    from diffusion_core.process import noise_from_x0

    return noise_from_x0(x0, x, alpha, sigma) if sigma else x * 0


def _distance(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """(B,) root mean square difference of two batches."""
    return (a - b).square().flatten(1).mean(1).sqrt().cpu().double().numpy()
