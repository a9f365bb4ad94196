"""Generations for interactive use: models compared side by side, with every step as uint8 images."""

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

Wish = tuple[Run, SamplingRequest] | tuple[Run, SamplingRequest, Origin]
_END = object()


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a generation; its images are (N, H, W, C) uint8."""

    index: int
    timestep: float
    log_snr: float
    """log(alpha²/sigma²) of ``x``: −inf for pure noise, inf for the sample."""
    x: Pixels
    """The state; latents are shown as grey images of their channels, but the sample itself is decoded."""
    x0: Pixels
    """The estimate of the image."""
    nfe: int
    seconds: float
    """Computing time of this generation so far, without the time spent on others."""


@dataclass(eq=False)
class Generation:
    """The images of one model and request, a column of a comparison. ``frames`` grows while they are computed."""

    run: Run
    request: SamplingRequest
    fingerprint: str
    config: RunConfig
    """The run's configuration at the time of the request."""
    frames: list[Frame] = field(default_factory=list)
    num_parameters: int = 0
    peak_memory: int = 0
    """Bytes of the weights and of the largest other memory in use during a step; known at the end."""
    notes: list[str] = field(default_factory=list)
    """Notices to the user, one sentence each, for example about words cut from a prompt or a picture with transparent parts."""
    origin: Origin = FROM_NOISE
    num_steps: int = 0
    """Number of sampling steps: that of the request, or fewer from a picture, which is known once computing starts."""
    origin_nfe: int = 0
    """Network evaluations to compute the starting point, once for all images."""
    learned: tuple[float, ...] = ()
    """The timesteps, if their spacing is the learned one."""
    log_snrs: tuple[float, ...] = ()
    """log(alpha²/sigma²) of the states before each step, known once computing starts."""
    begun: float = 0.0
    """When the job that computed it began, on the monotonic clock; 0 before."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        assert self.config.image_shape is not None  # a run without one is refused
        return self.config.image_shape

    @property
    def of_latents(self) -> bool:
        """Whether its states are latents, shown as grey images of their channels."""
        return self.config.latent.latent_shape is not None

    @property
    def kept_steps(self) -> list[int]:
        """Indices of the steps that become frames."""
        return kept_steps(self.num_steps)

    @property
    def steps_done(self) -> int:
        """Number of steps up to the last frame."""
        return self.frames[-1].index if self.frames else 0

    @property
    def nfe(self) -> int:
        """Network evaluations so far, per image, without ``origin_nfe``."""
        return self.frames[-1].nfe if self.frames else 0

    @property
    def expected_seconds(self) -> float:
        """Computing time of the whole generation at the pace so far; 0 before the first step."""
        return self.seconds * self.num_steps / self.steps_done if self.steps_done else 0.0

    @property
    def seconds(self) -> float:
        """Computing time so far."""
        return self.frames[-1].seconds if self.frames else 0.0

    @property
    def finished(self) -> bool:
        """Whether the last frame is the sample."""
        return bool(self.frames) and self.steps_done == self.num_steps

    @property
    def key(self) -> tuple[object, ...]:
        """Everything that determines the images."""
        return self.fingerprint, self.request, self.learned, self.origin

    @property
    def nbytes(self) -> int:
        """Bytes of its frames."""
        return sum(frame.x.nbytes + frame.x0.nbytes for frame in self.frames)

    @property
    def images_per_second(self) -> float:
        """Images per second of computing; 0 before the first step."""
        return self.request.num_images / self.seconds if self.seconds else 0.0


@dataclass(eq=False)
class Comparison(Job):
    """Generations that advance together, one step each in turn, so that all columns grow at the same pace."""

    columns: list[Generation]

    @classmethod
    def of(cls, wishes: Sequence[Wish], wanted: Callable[[], bool] = lambda: True) -> Comparison:
        """Return a comparison to submit to the queue.

        Args:
            wishes: a run, a request and optionally an origin (noise by default) for each column.
            wanted: see :class:`Job`.

        Raises:
            ValueError: a run has no weights.
        """
        return cls([_new_generation(*wish) for wish in wishes], wanted=wanted)

    def is_of(self, wishes: Sequence[Wish]) -> bool:
        """Return whether these runs and requests are what it generates."""
        own = [(column.run.path, column.request, column.origin) for column in self.columns]
        return own == [(run.path, request, *(origin or [FROM_NOISE])) for run, request, *origin in wishes]

    @property
    def steps_done(self) -> int:
        """Number of steps shown so far, summed over the columns."""
        return sum(column.steps_done for column in self.columns)

    @property
    def num_steps(self) -> int:
        """Number of steps, summed over the columns."""
        return sum(column.num_steps for column in self.columns)

    @property
    def share_done(self) -> float:
        """Share of the work that is done: columns count by the time that they take; 0 until every column has a step."""
        expected = [column.expected_seconds for column in self.columns]
        return min(1.0, sum(column.seconds for column in self.columns) / sum(expected)) if all(expected) else 0.0

    @property
    def computed_together(self) -> bool:
        """Whether one job computed all columns, in turns, so that their times are of the same moment."""
        return len({column.begun for column in self.columns}) == 1

    @property
    def effort(self) -> float:
        return sum(size_of(one.config) * calls_of(one.config, one.request, one.origin) for one in self.columns)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns)

    def recall(self, results: Results) -> bool:
        """Fill in the columns that have been computed before; return whether all are complete."""
        for number, column in enumerate(self.columns):
            known: Generation | None = results.find(column.key)
            if known is not None:  # two runs may have the same weights
                self.columns[number] = replace(known, run=column.run, config=column.config)
        self._gather_notes()
        return all(column.finished for column in self.columns)

    def compute(self, results: Results) -> Iterator[None]:
        """Advance every unfinished column by one step in turn, until all are finished."""
        pending = [column for column in self.columns if not column.finished]
        begun = time.monotonic()
        for column in pending:
            column.begun = begun
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
        raise ValueError(f"run {run.name!r} has not started training, so its image size is unknown: choose another run")
    refuse_frames_beyond_memory(config, request, pictures=2)
    learned = request.learned_timesteps(run)
    return Generation(run, request, run.fingerprint, config, origin=origin, num_steps=request.steps, learned=learned)


def _grow(column: Generation, job: Job) -> Iterator[None]:
    """Compute a generation step by step, keeping some steps as frames; in smaller batches if memory runs out."""
    with job.prepares(f"Loading the model {column.run.name}"):
        from .prompts import condition_notes

        model = loaded_model(column.run, column.fingerprint)
    column.num_parameters = model.num_parameters
    with job.prepares("Loading the text encoder" if column.request.prompt else ""):
        column.notes = condition_notes(model.config.condition, column.request)
    column.notes += column.origin.notes()
    column.fingerprint = model.fingerprint  # a run in training may have saved new weights since the request
    yield from within_memory(model.device, column.request.num_images, partial(_advance, column, model, job))


def _advance(column: Generation, model: LoadedModel, job: Job, at_once: int) -> Iterator[None]:
    from ..common.devices import finish
    from ..common.memory import TensorMemory, weight_bytes

    request = column.request
    numbers = range(request.num_images)
    starts = range(0, max(1, len(numbers)), at_once)
    seconds = column.seconds
    with interruptible(model.networks, job), job.prepares(column.origin.preparation):
        before = time.perf_counter()
        streams = [sample(model, request, numbers[start : start + at_once], column.origin) for start in starts]
        column.origin_nfe = column.origin.nfe(model, request)
        seconds += time.perf_counter() - before
    timesteps = column.origin.timesteps(model, request)
    last = column.num_steps = len(timesteps)
    column.log_snrs = tuple(_log_snr(*model.schedule.at(timesteps)).tolist())
    kept = set(column.kept_steps) - {frame.index for frame in column.frames}
    memory = TensorMemory()
    for index in range(last + 1):
        # All steps take the same memory. It is measured in the last one, and while the sample is decoded.
        with memory if index >= last - 1 else nullcontext(), interruptible(model.networks, job):
            before = time.perf_counter()
            parts = [next(stream) for stream in streams]
            finish(model.device)
            done = time.perf_counter()
            frame = _frame(parts, model, column.origin, last) if index in kept else None
            # Decoding the sample counts as computing time; decoding the steps before it only serves the display.
            seconds += (time.perf_counter() if index == last else done) - before
        if index == last:
            column.peak_memory = sum(map(weight_bytes, model.modules)) + memory.peak
        if frame is not None:
            column.frames.append(replace(frame, seconds=seconds))
        yield


def _frame(parts: list[Step], model: LoadedModel, origin: Origin, last: int) -> Frame:
    """Return one step, computed in parts, as a frame; its seconds are left at 0."""
    first = parts[0]
    x0 = np.concatenate([to_uint8(origin.images(model, part.x0)) for part in parts])
    x = x0 if first.index == last else np.concatenate([model.pictures(part.x) for part in parts])
    log_snr = math.inf if first.index == last else _log_snr(*model.schedule.at(first.timestep)).item()
    return Frame(first.index, first.timestep, log_snr, x, x0, first.nfe, 0.0)


def _log_snr(alpha: Tensor, sigma: Tensor) -> Tensor:
    return 2 * (alpha / sigma).log()
