"""Generations for interactive use: images that grow step by step, side by side, as pictures of uint8."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..common.images import Pixels, to_uint8
from ..models.loading import loaded_model
from ..storage.config import RunConfig
from ..storage.runs import Run
from .origins import FROM_NOISE, Origin
from .queue import Job, Results, interruptible, within_memory
from .request import SamplingRequest
from .sample import kept_steps, sample

if TYPE_CHECKING:
    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel

Wish = tuple[Run, SamplingRequest] | tuple[Run, SamplingRequest, Origin]
_END = object()


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a generation, as pixels: (N, H, W, C) uint8 each."""

    index: int
    timestep: float
    log_snr: float
    """log(alpha²/sigma²) of ``x``: −inf for pure noise, inf for the sample."""
    x: Pixels
    """The state; of a model of latents their channels as grey pictures, until the sample, which is an image."""
    x0: Pixels
    """The estimate of the image."""
    nfe: int
    seconds: float
    """Time spent on this generation so far, the waiting for others left out."""


@dataclass(eq=False)
class Generation:
    """One model making images: what a column of a comparison shows. ``frames`` grows while it runs."""

    run: Run
    request: SamplingRequest
    fingerprint: str
    config: RunConfig
    """Of the run, as it was when the images were asked for."""
    frames: list[Frame] = field(default_factory=list)
    num_parameters: int = 0
    peak_memory: int = 0
    """Bytes of the weights and, at its largest, of what one step holds besides; known at the end."""
    notes: list[str] = field(default_factory=list)
    """What whoever asked should know, a sentence each: words of a prompt that did not fit, a strength too small."""
    origin: Origin = FROM_NOISE
    num_steps: int = 0
    """Steps that are taken: those of the request, or fewer from a picture, which is known once it is computed."""
    origin_nfe: int = 0
    """Network evaluations, of one image, to come where sampling starts: once for all images from there."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        assert self.config.image_shape is not None  # a run without one is refused
        return self.config.image_shape

    @property
    def of_latents(self) -> bool:
        """Whether its states are latents, shown as grey pictures of their channels."""
        return self.config.latent.latent_shape is not None

    @property
    def kept_steps(self) -> list[int]:
        """Which steps become frames."""
        return kept_steps(self.num_steps)

    @property
    def steps_done(self) -> int:
        """Steps whose outcome is on show."""
        return self.frames[-1].index if self.frames else 0

    @property
    def nfe(self) -> int:
        """Network evaluations so far, per image; those of ``origin_nfe`` are not among them."""
        return self.frames[-1].nfe if self.frames else 0

    @property
    def seconds(self) -> float:
        """Seconds of computing so far."""
        return self.frames[-1].seconds if self.frames else 0.0

    @property
    def finished(self) -> bool:
        """Whether the last frame is the sample."""
        return bool(self.frames) and self.steps_done == self.num_steps

    @property
    def key(self) -> tuple[str, SamplingRequest, Origin]:
        """What determines the images."""
        return self.fingerprint, self.request, self.origin

    @property
    def nbytes(self) -> int:
        """Bytes of its frames."""
        return sum(frame.x.nbytes + frame.x0.nbytes for frame in self.frames)

    @property
    def images_per_second(self) -> float:
        """Images made per second of computing; 0 before the first step."""
        return self.request.num_images / self.seconds if self.seconds else 0.0


@dataclass(eq=False)
class Comparison(Job):
    """Generations that advance together, one step each in turn, so that all strips grow side by side."""

    columns: list[Generation]

    @classmethod
    def of(cls, wishes: Sequence[Wish], wanted: Callable[[], bool] = lambda: True) -> Comparison:
        """Return a comparison to submit.

        Args:
            wishes: what to make, and where to start, from noise by default.

        Raises:
            ValueError: a run without weights.
        """
        return cls([_new_generation(*wish) for wish in wishes], wanted=wanted)

    @property
    def steps_done(self) -> int:
        """Steps of all columns whose outcome is on show."""
        return sum(column.steps_done for column in self.columns)

    @property
    def num_steps(self) -> int:
        """Steps of all columns."""
        return sum(column.num_steps for column in self.columns)

    def recall(self, results: Results) -> bool:
        """Take the columns that have been computed before; return whether that is all of them."""
        for number, column in enumerate(self.columns):
            known: Generation | None = results.find(column.key)
            if known is not None:  # the same weights may go by two names
                self.columns[number] = replace(known, run=column.run, config=column.config)
        self._gather_notes()
        return all(column.finished for column in self.columns)

    def compute(self, results: Results) -> Iterator[None]:
        """Let every column that is not finished take one step in turn."""
        pending = [column for column in self.columns if not column.finished]
        growing = [_grow(column, self) for column in pending]
        while growing:
            growing = [growth for growth in growing if next(growth, _END) is not _END]
            self._gather_notes()
            yield
        for column in pending:
            results.keep(column.key, column)

    def _gather_notes(self) -> None:
        self.notes = list(dict.fromkeys(note for column in self.columns for note in column.notes))


def _new_generation(run: Run, request: SamplingRequest, origin: Origin = FROM_NOISE) -> Generation:
    config = run.config
    if config.image_shape is None:
        raise ValueError(f"run {run.name!r} has not started training: its images have no size yet")
    return Generation(run, request, run.fingerprint, config, origin=origin, num_steps=request.steps)


def _grow(column: Generation, job: Job) -> Iterator[None]:
    """Compute a generation, one step each time it is asked, keeping some as frames; in parts where memory is short."""
    from .prompts import cut_notes

    model = loaded_model(column.run, column.fingerprint)
    column.num_parameters = model.num_parameters
    column.notes = cut_notes(model.config.condition, column.request) + column.origin.notes(model, column.request)
    column.fingerprint = model.fingerprint  # a run in training may have saved again since it was asked for
    yield from within_memory(model.device, column.request.num_images, partial(_advance, column, model, job))


def _advance(column: Generation, model: LoadedModel, job: Job, at_once: int) -> Iterator[None]:
    from ..common.devices import finish
    from ..common.memory import TensorMemory, weight_bytes

    request = column.request
    numbers = range(request.num_images)
    starts = range(0, max(1, len(numbers)), at_once)
    seconds = column.seconds
    with interruptible(model.denoiser.network, job):
        before = time.perf_counter()
        streams = [sample(model, request, numbers[start : start + at_once], column.origin) for start in starts]
        column.origin_nfe = column.origin.nfe(model, request)
        seconds += time.perf_counter() - before
    last = column.num_steps = len(column.origin.timesteps(model, request))
    kept = set(column.kept_steps) - {frame.index for frame in column.frames}
    memory = TensorMemory()
    for index in range(last + 1):
        # All steps take the same memory. It is counted in the last one, and where the sample is made into an image.
        with memory if index >= last - 1 else nullcontext():
            before = time.perf_counter()
            with interruptible(model.denoiser.network, job):
                parts = [next(stream) for stream in streams]
            finish(model.device)
            done = time.perf_counter()
            frame = _frame(parts, model, column.origin, last) if index in kept else None
            # To make the sample into an image is part of the work; to do it with what leads there is for whoever watches.
            seconds += (time.perf_counter() if index == last else done) - before
        if index == last:
            column.peak_memory = sum(map(weight_bytes, model.modules)) + memory.peak
        if frame is not None:
            column.frames.append(replace(frame, seconds=seconds))
        yield


def _frame(parts: list[Step], model: LoadedModel, origin: Origin, last: int) -> Frame:
    """The parts of one step as pixels; its seconds are left at 0."""
    first = parts[0]
    x0 = np.concatenate([to_uint8(origin.images(model, part.x0)) for part in parts])
    x = x0 if first.index == last else np.concatenate([model.pictures(part.x) for part in parts])
    alpha, sigma = model.schedule.at(first.timestep)
    log_snr = math.inf if first.index == last else 2 * (alpha / sigma).log().item()
    return Frame(first.index, first.timestep, log_snr, x, x0, first.nfe, 0.0)
