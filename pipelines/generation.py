"""Generation for interactive use: a queue of comparisons that runs beside whoever watches.

A page submits a :class:`Comparison` and looks at it now and then; one worker thread computes, so that looking, switching
views or leaving the page never disturbs it. Results are kept as uint8, keyed by weights and request: the same comparison
again is there at once.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from .command_line import describe
from .images import Pixels, to_uint8
from .runs import Run
from .sample import SamplingRequest, sample, shown_rows

if TYPE_CHECKING:
    from .model import LoadedModel

Status = Literal["queued", "running", "done", "cancelled", "failed"]
CACHE_BYTES = 256 * 2**20
MAX_FRAMES = 101  # kept of one generation, however many steps it takes
MODELS_KEPT = 4


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a generation, as pixels: (N, H, W, C) uint8 each."""

    index: int
    timestep: float
    x: Pixels
    x0: Pixels
    nfe: int
    seconds: float
    """Time spent on this generation so far, the waiting for others left out."""


@dataclass(eq=False)
class Generation:
    """One model making images: what a column of a comparison shows. ``frames`` grows while it runs."""

    run: Run
    request: SamplingRequest
    fingerprint: str
    image_shape: tuple[int, int, int]
    frames: list[Frame] = field(default_factory=list)
    num_parameters: int = 0

    @property
    def kept_steps(self) -> list[int]:
        """Which steps become frames: all of them, or MAX_FRAMES evenly spread, first and last included."""
        return shown_rows(self.request.steps + 1, MAX_FRAMES)

    @property
    def steps_done(self) -> int:
        """Steps whose outcome is on show."""
        return self.frames[-1].index if self.frames else 0

    @property
    def finished(self) -> bool:
        """Whether the last frame is the sample."""
        return bool(self.frames) and self.steps_done == self.request.steps

    @property
    def images_per_second(self) -> float:
        """Images made per second of computing; 0 before the first step."""
        seconds = self.frames[-1].seconds if self.frames else 0.0
        return self.request.num_images / seconds if seconds else 0.0


@dataclass(eq=False)
class Comparison:
    """Generations that advance together, one step each in turn, so that all strips grow side by side."""

    columns: list[Generation]
    status: Status = "queued"
    error: str = ""
    _cancelled: bool = False

    @property
    def active(self) -> bool:
        """Whether it is waiting or being computed."""
        return self.status in ("queued", "running")

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
        self._results: OrderedDict[tuple[str, SamplingRequest], tuple[list[Frame], int]] = OrderedDict()
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

    def submit(self, columns: list[tuple[Run, SamplingRequest]]) -> Comparison:
        """Queue a comparison, or answer it from what has been computed before.

        Raises:
            ValueError: a run without weights.
        """
        comparison = Comparison([_new_generation(run, request) for run, request in columns])
        with self._changed:
            for column in comparison.columns:
                known = self._results.get((column.fingerprint, column.request))
                if known is not None:
                    self._results.move_to_end((column.fingerprint, column.request))
                    column.frames, column.num_parameters = list(known[0]), known[1]
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
        import torch

        # One core is left to whoever watches: threads that wait for each other's spinning made this 5 times slower.
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
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
        growing = [_grow(column) for column in pending]
        for _ in zip_longest(*growing):  # every column takes one step in turn
            if comparison._cancelled:
                return False
        for column in pending:
            self._remember(column)
        return True

    def _remember(self, column: Generation) -> None:
        with self._changed:
            self._results[column.fingerprint, column.request] = (list(column.frames), column.num_parameters)
            while sum(map(_size, self._results.values())) > CACHE_BYTES and len(self._results) > 1:
                self._results.popitem(last=False)


def _new_generation(run: Run, request: SamplingRequest) -> Generation:
    shape = run.config.image_shape
    if shape is None:
        raise ValueError(f"run {run.name!r} has not started training: its images have no size yet")
    return Generation(run, request, run.fingerprint, shape)


def _grow(column: Generation) -> Iterator[None]:
    """Compute a generation, one step each time it is asked, keeping some as frames."""
    model = loaded_model(column.run, column.fingerprint)
    column.num_parameters = model.num_parameters
    column.fingerprint = model.fingerprint  # a run in training may have saved again since it was asked for
    kept = set(column.kept_steps)
    stream = sample(model, column.request)
    seconds = 0.0
    while not column.finished:
        before = time.perf_counter()
        step = next(stream)
        pictures = (to_uint8(step.x), to_uint8(step.x0)) if step.index in kept else None
        seconds += time.perf_counter() - before
        if pictures is not None:
            column.frames.append(Frame(step.index, step.timestep, *pictures, step.nfe, seconds))
        yield


def _size(result: tuple[list[Frame], int]) -> int:
    return sum(frame.x.nbytes + frame.x0.nbytes for frame in result[0])


@lru_cache(maxsize=MODELS_KEPT)
def loaded_model(run: Run, fingerprint: str) -> LoadedModel:
    """The run's model, loaded once for each state of its weights."""
    from .model import load_model

    return load_model(run)
