"""The queue of what the dashboard computes: one job at a time, beside whoever watches.

A page submits a :class:`Job` and looks at it now and then; one worker thread computes, so that looking, switching views or
leaving the page never disturbs it. Results are kept, keyed by what determines them: the same request again is there at once.
"""

from __future__ import annotations

import atexit
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..common.command_line import describe, out_of_memory
from ..common.device_lock import DEVICE

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

Status = Literal["queued", "running", "done", "cancelled", "failed"]
CACHE_BYTES = 256 * 2**20
GRACE = 10.0  # seconds that nobody may be there before a job is given up: a reload, a tunnel
_END = object()


class Result(Protocol):
    """What a job has computed."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""


class Results:
    """What jobs have computed, by what determines it; the longest unused goes when there is more than CACHE_BYTES of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()

    def find(self, key: Hashable) -> Any:
        """Return a result; None where there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, result: Result) -> None:
        """Let a result be found."""
        with self._lock:
            self._kept[key] = result
            while sum(kept.nbytes for kept in self._kept.values()) > CACHE_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)


@dataclass(eq=False, kw_only=True)
class Job(ABC):
    """Work on the device that is done step by step.

    Attributes:
        wanted: whether whoever asked for it is still there; soon after nobody is, it is cancelled.
        error: one sentence, where it failed.
        notes: what whoever asked should know, a sentence each: words of a prompt that did not fit, a strength too small.
    """

    wanted: Callable[[], bool] = lambda: True
    status: Status = "queued"
    error: str = ""
    notes: list[str] = field(default_factory=list)
    _cancelled: bool = False
    _last_wanted: float = field(default_factory=time.monotonic)

    @abstractmethod
    def recall(self, results: Results) -> bool:
        """Take what has been computed before; return whether that is all."""

    @abstractmethod
    def compute(self, results: Results) -> Iterator[None]:
        """Compute what is missing, one step each time it is asked, and keep it among the results."""

    @property
    @abstractmethod
    def steps_done(self) -> int:
        """Steps whose outcome is there."""

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Steps in all."""

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


AnyJob = TypeVar("AnyJob", bound=Job)


class GenerationQueue:
    """Computes jobs one at a time, in the order they came, in a thread of its own.

    Attributes:
        results: what they have computed.
    """

    def __init__(self) -> None:
        self.results = Results()
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="generation", daemon=True)
        self._worker.start()
        atexit.register(self.close)  # a thread inside a network call must not outlive the interpreter

    def close(self) -> None:
        """Cancel everything and wait for the network call that is being made."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.cancel()
            self._changed.notify()
        self._worker.join(timeout=30)

    def submit(self, job: AnyJob) -> AnyJob:
        """Queue a job and return it, or answer it from what has been computed before."""
        if job.recall(self.results):
            job.status = "done"
            return job
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        return job

    def position(self, job: Job) -> int:
        """How many jobs are computed before this one; 0 if it is its turn."""
        with self._changed:
            ahead = [other for other in self._waiting if other.active]
            return ahead.index(job) if job in ahead else 0

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                job = self._waiting[0]
            if job.status == "queued":
                job.status = "running"
                try:
                    self._compute(job)
                    job.status = "done"
                except GivenUp:
                    job.status = "cancelled"
                except Exception as error:  # whatever goes wrong is told to whoever watches; the queue goes on
                    job.error = describe(error)
                    job.status = "failed"
            with self._changed:
                self._waiting.popleft()

    def _compute(self, job: Job) -> None:
        steps, made = job.compute(self.results), None
        while made is not _END:
            with DEVICE:
                made = next(steps, _END)


class GivenUp(Exception):
    """Raised before a network call of a job that nobody wants any more."""


@contextmanager
def interruptible(network: Module, job: Job) -> Iterator[None]:
    """Raise GivenUp before the next network call, also in the middle of a step of several, once the job is given up."""

    def check(*_: object) -> None:
        if job.given_up:
            raise GivenUp

    handle = network.register_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def within_memory(device: torch.device, count: int, compute: Callable[[int], Iterator[None]]) -> Iterator[None]:
    """Compute ``count`` images together, or fewer at once where memory runs out.

    Args:
        compute: begins anew with so many images at once.

    Raises:
        ValueError: memory runs out for one image, too.
    """
    at_once = max(1, count)
    while True:
        try:
            yield from compute(at_once)
            return
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if at_once == 1:
                raise ValueError(
                    f"out of memory on {device} even for one image at a time: close other programs or choose a smaller model"
                ) from error
            at_once = (at_once + 1) // 2
