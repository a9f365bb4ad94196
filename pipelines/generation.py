"""Generation for interactive use: a queue of comparisons that runs beside whoever watches.

A page submits a :class:`Comparison` and looks at it now and then; one worker thread computes, so that looking, switching
views or leaving the page never disturbs it. Results are kept as uint8, keyed by weights and request: the same comparison
again is there at once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from .command_line import describe
from .images import Pixels, to_uint8
from .runs import Run
from .sample import SamplingRequest, sample

if TYPE_CHECKING:
    from .model import LoadedModel

Status = Literal["queued", "running", "done", "cancelled", "failed"]
CACHE_BYTES = 256 * 2**20
MODELS_KEPT = 4


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a generation, as pixels: (N, H, W, C) uint8 each."""

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
    frames: list[Frame] = field(default_factory=list)
    num_parameters: int = 0
    from_cache: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last frame is the sample."""
        return len(self.frames) == self.request.steps + 1

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
        threading.Thread(target=self._work, name="generation", daemon=True).start()

    def submit(self, columns: list[tuple[Run, SamplingRequest]]) -> Comparison:
        """Queue a comparison, or answer it from what has been computed before.

        Raises:
            ValueError: a run without weights.
        """
        comparison = Comparison([Generation(run, request, run.fingerprint) for run, request in columns])
        with self._changed:
            for column in comparison.columns:
                known = self._results.get((column.fingerprint, column.request))
                if known is not None:
                    self._results.move_to_end((column.fingerprint, column.request))
                    column.frames, column.num_parameters = list(known[0]), known[1]
                    column.from_cache = True
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
                self._changed.wait_for(lambda: self._waiting)
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
        streams = []
        for column in pending:
            model = loaded_model(column.run, column.fingerprint)
            column.num_parameters = model.num_parameters
            streams.append(sample(model, column.request))
        for _ in range(max(column.request.steps for column in pending) + 1):
            for column, stream in zip(pending, streams, strict=True):
                if comparison._cancelled:
                    return False
                if not column.finished:
                    before = time.perf_counter()
                    step = next(stream)
                    x, x0 = to_uint8(step.x), to_uint8(step.x0)
                    spent = time.perf_counter() - before + (column.frames[-1].seconds if column.frames else 0.0)
                    column.frames.append(Frame(step.timestep, x, x0, step.nfe, spent))
        for column in pending:
            self._remember(column)
        return True

    def _remember(self, column: Generation) -> None:
        with self._changed:
            self._results[column.fingerprint, column.request] = (list(column.frames), column.num_parameters)
            while sum(map(_size, self._results.values())) > CACHE_BYTES and len(self._results) > 1:
                self._results.popitem(last=False)


def _size(result: tuple[list[Frame], int]) -> int:
    return sum(frame.x.nbytes + frame.x0.nbytes for frame in result[0])


@lru_cache(maxsize=MODELS_KEPT)
def loaded_model(run: Run, fingerprint: str) -> LoadedModel:
    """The run's model, loaded once for each state of its weights."""
    from .model import load_model

    return load_model(run)
