"""Trajectories: every state that a sampler passes through on the way to its samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..common.images import Pixels, heat, to_uint8
from ..models.loading import loaded_model
from ..storage.run import Run
from .effort import calls_of, size_of
from .origins import FROM_NOISE, Origin
from .queue import Job, Results, interruptible
from .request import SamplingRequest
from .sample import kept_steps, refuse_frames_beyond_memory, sample
from .smaller_batches import within_memory

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel

NOISE_RANGE = 3.0  # predicted noise shown as white, in standard deviations; its negative is black


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The trajectories of B images in F frames, the last of which is the sample.

    Attributes:
        steps: (F,) step of the sampler that each frame shows: all steps, or MAX_FRAMES evenly spaced ones.
        timesteps, alpha, sigma: (F,) noise level; 0, 1 and 0 for the sample.
        nfe: (F,) network evaluations so far, per image.
        x, x0, noise: (F, B, H, W, C) uint8: the state, the estimate of the clean image, and the noise in the state that this
            estimate implies (grey is 0, black and white are ±NOISE_RANGE; all grey in the sample). For a latent diffusion
            model, state and noise are grey images of the channels, and the sample is decoded.
        moved: (S, B) distance by which each of the S steps moved the state: the root mean square over pixels (in [−1, 1]) or
            latents, and channels.
        moved_x0: (S − 1, B) the same for the estimate; the last step makes no new estimate.
        change: (F, B, H, W, 1) uint8, by how much the condition changes the estimate, zero in the sample; None for an
            unconditional sample. Like ``attention``, it comes from :func:`~pipelines.sampling.influence.influence`, whose
            network calls are not counted in ``nfe``.
        attention: (F, B, len(words), H, W), share of each pixel's attention on each word, zero in the sample.
        words: of the prompt; empty if there is none.
        of_latents: whether state and noise are latents, shown as grey images of their channels.
        notes: notices to the user, one sentence each.
        pace: seconds that a network call took for each image.
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
    notes: tuple[str, ...] = ()
    pace: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        arrays = (getattr(self, field.name) for field in fields(self))
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    @property
    def labels(self) -> list[str]:
        """Label of each frame."""
        return [f"t = {timestep:.0f}" for timestep in self.timesteps[:-1]] + ["sample"]

    @property
    def log_snr(self) -> NDArray[np.float64]:
        """(F,) log(alpha²/sigma²): −inf for pure noise, inf for the sample."""
        with np.errstate(divide="ignore"):
            return 2 * np.log(self.alpha / self.sigma)

    def pictures(self, image: int = 0) -> Pixels:
        """Return x, x0, noise and any change of one image in colours, (F, P, H, W, C) with P = 3 or 4.

        The colours of the change range from black, none, to nearly white, the largest of this image (see `largest_change`).
        """
        shown = [self.x[:, image], self.x0[:, image], self.noise[:, image]]
        if self.change is not None:
            gain = 255 / max(1, self.largest_change(image))
            shown.append(heat((self.change[:, image] * gain).round().astype(np.uint8)))
        channels = max(part.shape[-1] for part in shown)
        return np.stack([np.broadcast_to(part, (*part.shape[:-1], channels)) for part in shown], axis=1)

    def largest_change(self, image: int = 0) -> int:
        """Return by how much the condition changes a pixel of this image at most: 255 is black against white."""
        return 0 if self.change is None else int(self.change[:, image].max())

    def distance_left(self, image: int = 0) -> NDArray[np.float64]:
        """Return how far each estimate of x0 is from the sample, (F,), as a share of the first one's distance.

        It is the root mean square over pixels; all zero if the first estimate is the sample.
        """
        x0 = self.x0[:, image].astype(np.float64).reshape(len(self.x0), -1)
        distance = np.sqrt(np.square(x0 - x0[-1]).mean(1))
        return distance / (distance[0] or 1.0)


def trajectory(
    model: LoadedModel, request: SamplingRequest, images: Sequence[int] | None = None, origin: Origin = FROM_NOISE
) -> Trajectory:
    """Compute the trajectories of images; see :func:`pipelines.sampling.sample.sample` for the arguments."""
    numbers = range(request.num_images) if images is None else images
    recorder = _Recorder(model, request, numbers, origin)
    for step in sample(model, request, numbers, origin):
        recorder.add(step)
    return recorder.trajectory()


class _Recorder:
    """Builds a trajectory from the steps of a sampler."""

    def __init__(self, model: LoadedModel, request: SamplingRequest, numbers: Sequence[int], origin: Origin) -> None:
        from .influence import words_of
        from .prompts import guided_denoiser

        self._model, self._origin = model, origin
        self._last = len(origin.timesteps(model, request))
        self._kept = set(kept_steps(self._last))
        condition = guided_denoiser(model, request, numbers)[1]
        # What a condition changes is known only of networks that also have an estimate without one.
        changes = (request.label is not None or bool(request.prompt)) and not model.config.network.always_conditional
        self._condition = condition if changes else None
        self._words = words_of(model.config.condition, request.prompt[0]) if len(request.prompt) == 1 else []
        self._before: Step | None = None
        self._frames: list[tuple[Any, ...]] = []
        self._moves: list[list[NDArray[np.float64]]] = []
        self._influences: list[tuple[Any, Any]] = []

    def add(self, step: Step) -> None:
        """Record the next step."""
        from .influence import influence

        model, last = self._model, step.index == self._last
        if self._before is not None:
            self._moves.append([_distance(step.x, self._before.x), _distance(step.x0, self._before.x0)])
        if step.index in self._kept:
            if self._condition is not None and not last:
                self._influences.append(influence(model, self._condition, step.x, step.timestep, self._words))
            alpha, sigma = (1.0, 0.0) if last else _level(model, step.timestep)
            image = to_uint8(self._origin.images(model, step.x0))
            noise = model.pictures(_noise(step.x, step.x0, alpha, sigma), NOISE_RANGE)
            pictures = (image if last else model.pictures(step.x), image, noise)
            self._frames.append((step.index, step.timestep, alpha, sigma, step.nfe, *pictures))
        self._before = step

    def trajectory(self) -> Trajectory:
        """Return the recorded trajectory, from the first step to the sample."""
        moved, moved_x0 = np.array(self._moves).swapaxes(0, 1)
        columns = [np.array(column) for column in zip(*self._frames, strict=True)] + [moved, moved_x0[:-1]]
        change = attention = None
        if self._influences:  # the sample has none
            parts = zip(*self._influences, strict=True)
            change, attention = (np.stack([*part, np.zeros_like(part[0])]) for part in parts)
        words = tuple(word.text for word in self._words)
        of_latents = self._model.autoencoder is not None
        return Trajectory(*columns, change=change, attention=attention, words=words, of_latents=of_latents)  # type: ignore[misc]


def _join(parts: Sequence[Trajectory]) -> Trajectory:
    """Join the trajectories of different images into one."""
    per_image = ("x", "x0", "noise", "moved", "moved_x0", "change", "attention")
    arrays = {name: [getattr(part, name) for part in parts] for name in per_image}
    joined: dict[str, Any] = {name: np.concatenate(own, axis=1) for name, own in arrays.items() if own[0] is not None}
    return replace(parts[0], **joined)


@dataclass(eq=False)
class TrajectoryJob(Job):
    """The trajectories of some images, to be computed by the queue.

    Attributes:
        images: image numbers of the request.
        way: the trajectory; None until it is complete.
        learned: the timesteps, if their spacing is the learned one.
    """

    run: Run
    request: SamplingRequest
    images: tuple[int, ...]
    origin: Origin = FROM_NOISE
    way: Trajectory | None = None
    _fingerprint: str = field(init=False)
    _done: int = field(init=False, default=0)
    _steps: int = field(init=False)
    learned: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        refuse_frames_beyond_memory(self.run.config, self.request, pictures=3)
        self._fingerprint, self._steps = self.run.fingerprint, self.request.steps
        self.learned = self.request.learned_timesteps(self.run)

    def is_of(self, run: Run, request: SamplingRequest, images: tuple[int, ...], origin: Origin) -> bool:
        """Return whether it computes these images of this run and request."""
        asked = (request, images, origin, request.learned_timesteps(run))
        return (self.run.path, self.request, self.images, self.origin, self.learned) == (run.path, *asked)

    @property
    def steps_done(self) -> int:
        """Number of steps taken, summed over the batches of images."""
        return self._done

    @property
    def num_steps(self) -> int:
        """Number of steps to take; that of the request until the model is loaded."""
        return self._steps

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the weights."""
        return self._fingerprint

    @property
    def effort(self) -> float:
        config = self.run.config
        looks = 2 if config.network.conditional else 1  # the effect of the condition takes calls of its own
        return size_of(config) * calls_of(config, self.request, self.origin) * looks

    @property
    def nbytes(self) -> int:
        return 0 if self.way is None else self.way.nbytes

    @property
    def _key(self) -> tuple[object, ...]:
        return self._fingerprint, self.request, self.learned, self.images, self.origin

    def recall(self, results: Results) -> bool:
        """Fill in the trajectory if it has been computed before; return whether it has."""
        self.way = results.find(self._key)
        if self.way is not None:
            self.notes = list(self.way.notes)
        return self.way is not None

    def compute(self, results: Results) -> Iterator[None]:
        """Compute the trajectory step by step, in smaller batches if memory runs out."""
        with self.prepares(f"Loading the model {self.run.name}"):
            from .prompts import condition_notes

            model = loaded_model(self.run, self._fingerprint)
        self._fingerprint = model.fingerprint  # a run in training may have saved new weights since the request
        with self.prepares("Loading the text encoder" if self.request.prompt else ""):
            self.notes = condition_notes(model.config.condition, self.request)
        self.notes += self.origin.notes()
        with interruptible(model.networks, self):
            yield from within_memory(model.device, len(self.images), partial(self._follow, model))
        assert self.way is not None
        results.keep(self._key, self.way)

    def _follow(self, model: LoadedModel, at_once: int) -> Iterator[None]:
        parts = [self.images[start : start + at_once] for start in range(0, len(self.images), at_once)]
        self._done, self._steps = 0, len(parts) * len(self.origin.timesteps(model, self.request))
        ways, seconds = [], 0.0
        for part in parts:
            recorder = _Recorder(model, self.request, part, self.origin)
            before = time.perf_counter()
            for step in sample(model, self.request, part, self.origin):
                seconds += time.perf_counter() - before
                recorder.add(step)
                self._done += step.index > 0  # the first state yielded is the starting point
                yield
                before = time.perf_counter()
            ways.append(recorder.trajectory())
        pace = seconds / (len(self.images) * step.nfe)
        self.way = replace(_join(ways), notes=tuple(self.notes), pace=pace)


def _level(model: LoadedModel, timestep: float) -> tuple[float, float]:
    alpha, sigma = model.schedule.at(timestep)
    return alpha.item(), sigma.item()


def _noise(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """Return the noise in a state if ``x0`` is the clean image; zero if the state is clean."""
    from diffusion_core.process import noise_from_x0

    return noise_from_x0(x0, x, alpha, sigma) if sigma else x * 0


def _distance(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """Return the root mean square difference of two batches, (B,)."""
    return (a - b).square().flatten(1).mean(1).sqrt().cpu().double().numpy()
