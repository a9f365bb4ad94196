"""The dashboard's computation queue: one job at a time, in a background thread.

A page submits a :class:`Job` and polls it. The worker thread computes independently of the pages, so that switching views or
leaving a page does not disturb it. Results are cached under everything that determines them, so that a repeated request is
answered at once.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from ..common.command_line import describe
from ..common.device_lock import DEVICE

if TYPE_CHECKING:
    from torch.nn import Module

Status = Literal["queued", "running", "done", "cancelled", "failed"]
CACHE_BYTES = 256 * 2**20
GRACE = 10.0  # seconds without a viewer before a job is abandoned; enough for a reload or a brief loss of connection
_END = object()


class Result(Protocol):
    """The result of a job."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""


class Results:
    """A cache of job results; beyond CACHE_BYTES the least recently used are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()

    def find(self, key: Hashable) -> Any:
        """Return the result stored under a key, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def all(self) -> list[Result]:
        """Return all results, the most recently used last."""
        with self._lock:
            return list(self._kept.values())

    def keep(self, key: Hashable, result: Result) -> None:
        """Store a result under a key."""
        with self._lock:
            self._kept[key] = result
            while sum(kept.nbytes for kept in self._kept.values()) > CACHE_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)


@dataclass(eq=False, kw_only=True)
class Job(ABC):
    """A computation on the device, done step by step.

    Attributes:
        doing: what it does, in a few words, before "… of … steps".
        preparing: what it does before that, such as loading a model; empty if nothing.
        wanted: returns whether the page that submitted the job is still open; if not for GRACE seconds, the job is cancelled.
        error: one sentence if the job failed, else empty.
        notes: notices to the user, one sentence each, for example about words cut from a prompt.
    """

    doing: ClassVar[str] = "Denoising"
    wanted: Callable[[], bool] = lambda: True
    status: Status = "queued"
    preparing: str = ""
    error: str = ""
    notes: list[str] = field(default_factory=list)
    _cancelled: bool = False
    _last_wanted: float = field(default_factory=time.monotonic)
    _first_step: tuple[float, float] | None = None
    """When the first step was done, and the share of the work done by then."""

    @abstractmethod
    def recall(self, results: Results) -> bool:
        """Fill in results that have been computed before; return whether nothing is left to compute."""

    @abstractmethod
    def compute(self, results: Results) -> Iterator[None]:
        """Compute the missing results, yielding after each step, and add them to the cache."""

    @property
    @abstractmethod
    def steps_done(self) -> int:
        """Number of steps done."""

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Total number of steps."""

    @property
    @abstractmethod
    def effort(self) -> float:
        """About how many network calls it takes (see :mod:`pipelines.sampling.effort`)."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of what it has computed."""

    @property
    def share_done(self) -> float:
        """Share of the work that is done, from 0 to 1."""
        return self.steps_done / max(1, self.num_steps)

    @property
    def seconds_left(self) -> float | None:
        """Estimated time until the job is done, from its pace since the first step; None before there is one."""
        if self._first_step is None:
            return None
        begun, before = self._first_step
        done = self.share_done
        return (time.monotonic() - begun) * (1 - done) / (done - before) if done > before else None

    @contextmanager
    def prepares(self, what: str) -> Iterator[None]:
        """Say, until the block ends, what the job does before its first step."""
        self.preparing = what
        try:
            yield
        finally:
            self.preparing = ""

    def note_step(self) -> None:
        """Note that a step is done; the time before the first one, in which models are loaded, says nothing of the pace."""
        if self._first_step is None:
            self._first_step = time.monotonic(), self.share_done

    @property
    def active(self) -> bool:
        """Whether the job is waiting or being computed."""
        return self.status in ("queued", "running")

    @property
    def given_up(self) -> bool:
        """Whether the job was cancelled, or the page that submitted it has been closed for GRACE seconds."""
        now = time.monotonic()
        if self.wanted():
            self._last_wanted = now
        return self._cancelled or now - self._last_wanted > GRACE

    def cancel(self) -> None:
        """Stop at once for whoever looks, and after the current network call in truth; partial results are kept."""
        self._cancelled = True
        if self.active:
            self.status = "cancelled"


AnyJob = TypeVar("AnyJob", bound=Job)


class GenerationQueue:
    """Computes jobs in a thread of its own, one at a time, first come, first served.

    Attributes:
        results: the cache of results.
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
        """Cancel all jobs and wait for the current network call to end."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.cancel()
            self._changed.notify_all()
        self._worker.join(timeout=30)

    def submit(self, job: AnyJob) -> AnyJob:
        """Queue a job and return it; if its results are cached, it is done at once."""
        if job.recall(self.results):
            job.status = "done"
            return job
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def wait(self, job: Job, seconds: float) -> None:
        """Return when a job has ended, or after that many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not job.active, seconds)

    def __len__(self) -> int:
        """Return how many jobs wait or are computed."""
        with self._changed:
            return sum(job.active for job in self._waiting)

    def position(self, job: Job) -> int:
        """Return how many jobs are ahead of this one; 0 if it is its turn."""
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
                    if job.status == "running":
                        job.status = "done"
                except GivenUp:
                    job.status = "cancelled"
                except Exception as error:  # any error is shown to the user, and the queue goes on
                    if not isinstance(error, (ValueError, OSError)):
                        logging.getLogger(__name__).exception("a job failed")
                    job.error = describe(error)
                    job.status = "failed"
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _compute(self, job: Job) -> None:
        steps, made = job.compute(self.results), None
        while made is not _END:
            with DEVICE:
                made = next(steps, _END)
            job.note_step()


class GivenUp(Exception):
    """Raised before the next network call of an abandoned job."""


@contextmanager
def interruptible(networks: Iterable[Module], job: Job) -> Iterator[None]:
    """Raise GivenUp before the next call of a network, even within a step of several calls, once the job is given up."""

    def check(*_: object) -> None:
        if job.given_up:
            raise GivenUp

    handles = [network.register_forward_pre_hook(check) for network in networks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
