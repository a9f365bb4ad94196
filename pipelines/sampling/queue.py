"""Generation for interactive use: a queue of comparisons that runs beside whoever watches.

A page submits a :class:`Comparison` and looks at it now and then; one worker thread computes, so that looking, switching
views or leaving the page never disturbs it. Results are kept as uint8, keyed by weights and request: the same comparison
again is there at once.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..common.command_line import describe, out_of_memory
from ..common.device_lock import DEVICE
from ..common.images import Pixels, to_uint8
from ..common.indices import evenly_spaced
from ..storage.config import RunConfig
from ..storage.runs import Run
from .origins import FROM_NOISE, Origin
from .request import SamplingRequest
from .sample import sample

if TYPE_CHECKING:
    from torch.nn import Module

    from diffusion_core.samplers import Step

    from ..models.loading import LoadedModel

Status = Literal["queued", "running", "done", "cancelled", "failed"]
Wish = tuple[Run, SamplingRequest] | tuple[Run, SamplingRequest, Origin]
CACHE_BYTES = 256 * 2**20
MAX_FRAMES = 101  # kept of one generation, however many steps it takes
MODELS_KEPT = 4
_END = object()
GRACE = 10.0  # seconds that nobody may be there before a comparison is given up: a reload, a tunnel


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
        """Which steps become frames: all of them, or MAX_FRAMES evenly spread, first and last included."""
        return evenly_spaced(self.num_steps + 1, MAX_FRAMES).tolist()

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
    def images_per_second(self) -> float:
        """Images made per second of computing; 0 before the first step."""
        return self.request.num_images / self.seconds if self.seconds else 0.0


@dataclass(eq=False)
class Comparison:
    """Generations that advance together, one step each in turn, so that all strips grow side by side."""

    columns: list[Generation]
    wanted: Callable[[], bool] = lambda: True
    """Whether whoever asked for it is still there."""
    status: Status = "queued"
    error: str = ""
    _cancelled: bool = False
    _last_wanted: float = field(default_factory=time.monotonic)

    @property
    def active(self) -> bool:
        """Whether it is waiting or being computed."""
        return self.status in ("queued", "running")

    @property
    def given_up(self) -> bool:
        """Whether it was cancelled, or whoever asked for it has been gone for a while."""
        now = time.monotonic()
        if self.wanted():
            self._last_wanted = now
        return self._cancelled or now - self._last_wanted > GRACE

    def cancel(self) -> None:
        """Stop after the network call that is being made; what there is stays."""
        self._cancelled = True
        if self.status == "queued":
            self.status = "cancelled"


class GenerationQueue:
    """Computes comparisons one at a time, in the order they came, in a thread of its own."""

    def __init__(self) -> None:
        self._waiting: deque[Comparison] = deque()
        self._changed = threading.Condition()
        self._results: OrderedDict[tuple[str, SamplingRequest, Origin], Generation] = OrderedDict()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="generation", daemon=True)
        self._worker.start()
        atexit.register(self.close)  # a thread inside a network call must not outlive the interpreter

    def close(self) -> None:
        """Cancel everything and wait for the network call that is being made."""
        with self._changed:
            self._closed = True
            for comparison in self._waiting:
                comparison.cancel()
            self._changed.notify()
        self._worker.join(timeout=30)

    def submit(self, columns: Sequence[Wish], wanted: Callable[[], bool] = lambda: True) -> Comparison:
        """Queue a comparison, or answer it from what has been computed before.

        Args:
            columns: what to make, and where to start, from noise by default.
            wanted: tells whether somebody still waits for it; soon after nobody does, it is cancelled.

        Raises:
            ValueError: a run without weights.
        """
        comparison = Comparison([_new_generation(*column) for column in columns], wanted)
        with self._changed:
            for number, column in enumerate(comparison.columns):
                known = self._results.get(_key(column))
                if known is not None:
                    self._results.move_to_end(_key(column))
                    # The same weights may go by two names.
                    comparison.columns[number] = replace(known, run=column.run, config=column.config)
            if all(column.finished for column in comparison.columns):
                comparison.status = "done"
            else:
                self._waiting.append(comparison)
                self._changed.notify()
        return comparison

    def position(self, comparison: Comparison) -> int:
        """How many comparisons are computed before this one; 0 if it is its turn."""
        with self._changed:
            ahead = [other for other in self._waiting if other.active]
            return ahead.index(comparison) if comparison in ahead else 0

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                comparison = self._waiting[0]
            if comparison.status == "queued":
                comparison.status = "running"
                try:
                    finished = self._compute(comparison)
                    comparison.status = "done" if finished else "cancelled"
                except Exception as error:  # whatever goes wrong is told to whoever watches; the queue goes on
                    comparison.error = describe(error)
                    comparison.status = "failed"
            with self._changed:
                self._waiting.popleft()

    def _compute(self, comparison: Comparison) -> bool:
        pending = [column for column in comparison.columns if not column.finished]
        growing = [_grow(column, comparison) for column in pending]
        try:
            while growing:  # every column takes one step in turn
                growing = [growth for growth in growing if next(growth, _END) is not _END]
        except _GivenUp:
            return False
        for column in pending:
            self._remember(column)
        return True

    def _remember(self, column: Generation) -> None:
        with self._changed:
            self._results[_key(column)] = column
            while sum(map(_size, self._results.values())) > CACHE_BYTES and len(self._results) > 1:
                self._results.popitem(last=False)


def _new_generation(run: Run, request: SamplingRequest, origin: Origin = FROM_NOISE) -> Generation:
    config = run.config
    if config.image_shape is None:
        raise ValueError(f"run {run.name!r} has not started training: its images have no size yet")
    return Generation(run, request, run.fingerprint, config, origin=origin, num_steps=request.steps)


def _key(column: Generation) -> tuple[str, SamplingRequest, Origin]:
    return column.fingerprint, column.request, column.origin


class _GivenUp(Exception):
    """Nobody wants the images any more that the network was about to work on."""


@contextmanager
def _interruptible(network: Module, comparison: Comparison) -> Iterator[None]:
    """Before every network call, also in the middle of a step of several: raise _GivenUp if the comparison is."""

    def check(*_: object) -> None:
        if comparison.given_up:
            raise _GivenUp

    handle = network.register_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _grow(column: Generation, comparison: Comparison) -> Iterator[None]:
    """Compute a generation, one step each time it is asked, keeping some as frames; in parts where memory is short."""
    from .prompts import cut_notes

    model = loaded_model(column.run, column.fingerprint)
    column.num_parameters = model.num_parameters
    column.notes = cut_notes(model.config.condition, column.request) + column.origin.notes(model, column.request)
    column.fingerprint = model.fingerprint  # a run in training may have saved again since it was asked for
    at_once = max(1, column.request.num_images)
    while not column.finished:
        try:
            yield from _advance(column, model, at_once, comparison)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if at_once == 1:
                raise ValueError(
                    f"out of memory on {model.device} even for one image at a time: "
                    "close other programs or choose a smaller model"
                ) from error
            at_once = (at_once + 1) // 2


def _advance(column: Generation, model: LoadedModel, at_once: int, comparison: Comparison) -> Iterator[None]:
    from ..common.devices import finish
    from ..common.memory import TensorMemory, weight_bytes

    request = column.request
    numbers = range(request.num_images)
    starts = range(0, max(1, len(numbers)), at_once)
    seconds = column.seconds
    with DEVICE, _interruptible(model.denoiser.network, comparison):
        before = time.perf_counter()
        streams = [sample(model, request, numbers[start : start + at_once], column.origin) for start in starts]
        column.origin_nfe = column.origin.nfe(model, request)
        seconds += time.perf_counter() - before
    last = column.num_steps = len(column.origin.timesteps(model, request))
    kept = set(column.kept_steps) - {frame.index for frame in column.frames}
    memory = TensorMemory()
    for index in range(last + 1):
        # All steps take the same memory. It is counted in the last one, and where the sample is made into an image.
        with DEVICE, memory if index >= last - 1 else nullcontext():
            before = time.perf_counter()
            with _interruptible(model.denoiser.network, comparison):
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


def _size(result: Generation) -> int:
    return sum(frame.x.nbytes + frame.x0.nbytes for frame in result.frames)


@lru_cache(maxsize=MODELS_KEPT)
def loaded_model(run: Run, fingerprint: str) -> LoadedModel:
    """The run's model, loaded once for each state of its weights."""
    from ..models.loading import load_model

    return load_model(run)
