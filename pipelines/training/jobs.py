"""The training queue: runs are trained one after the other.

The whole state of a run is in its folder, so that training does not depend on any browser or server::

    state/job.json      the request: place in the queue and time limit
    state/process.json  the process that trains it, written by every ``pipelines.train``, however it was started
    state/…             that process's progress, outcome and output (see pipelines.common.reports)

The worker is a separate process. It starts when a run is queued and ends when the queue is empty. Every change to the queue
is made under a lock, so several servers can share one folder of runs.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import Field

from ..common.command_line import describe
from ..common.reports import Progress, is_damaged, read_progress, read_typed
from ..datasets.sources import locate
from ..storage.claim import is_free
from ..storage.config import RunConfig
from ..storage.files import write_text
from ..storage.layout import CONFIG, METRICS, PROCESS
from ..storage.locations import with_settled_paths
from ..storage.processes import ProcessRecord, at_work, claim, ending, launch, stop
from ..storage.run import Run
from ..storage.runs import PRIVATE, find_runs
from .status import ACTIVE, Status, TrainingProgress, modified, read_training, training_status

JOB = "state/job.json"
LOCK, WORKER = ".jobs.lock", ".worker/process.json"  # in the folder of the runs
NAME = re.compile(r"(?!.*\.(?i:safetensors)$)[^\W_][\w.-]{0,63}")  # a name with that suffix would look like a weights file


@dataclass(frozen=True)
class Request:
    """A request to train a run.

    Attributes:
        queued: time of queuing, in nanoseconds since 1970; None if it is not waiting.
        time_limit: minutes of training, or None.
    """

    queued: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    time_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class Job:
    """The current state of one of the user's runs.

    Attributes:
        position: place in the queue, 1 for the next to be trained; 0 if it is not queued.
        progress: None if the run's configuration cannot be read.
        doing: current activity of its process; None if there is no process or it has not reported yet.
        error: one sentence if it failed, else empty.
    """

    run: Run
    status: Status
    request: Request
    position: int
    progress: TrainingProgress | None
    doing: Progress | None = None
    error: str = ""

    @property
    def active(self) -> bool:
        """Whether the run is queued or in training."""
        return self.status in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether training can be resumed."""
        return self.status in ("stopped", "failed", "interrupted") and self.run.can_go_on


@dataclass(frozen=True)
class TrainingQueue:
    """The training queue of one folder of runs.

    Args:
        root: the folder; that of the user's own runs by default.
    """

    root: Path = PRIVATE

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the queue, so that no other process changes it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / LOCK, timeout=30):
            yield

    def _run(self, name: str) -> Run:
        run = next((run for run in find_runs(self.root) if run.path.name == name), None)
        if run is None:
            raise ValueError(f"no run called {name!r} in {self.root}: it may have been deleted")
        return run

    def _request(self, run: Run) -> Request:
        return read_typed(run.path / JOB, Request) or Request()

    def _write(self, run: Run, request: Request) -> None:
        write_text(run.path / JOB, json.dumps(asdict(request)) + "\n")

    def waiting(self) -> list[Run]:
        """Return the queued runs in order."""
        asked = [(queued, run) for run in find_runs(self.root) if (queued := self._request(run).queued) is not None]
        return [run for _, run in sorted(asked, key=lambda pair: pair[0])]

    def _training(self) -> bool:
        return any(at_work(run.path / PROCESS) for run in find_runs(self.root))

    def jobs(self) -> list[Job]:
        """Return all runs: the one in training, the queued ones in order, then the others, most recently changed first."""
        queue = self.waiting()
        jobs = [self._job(run, queue.index(run) + 1 if run in queue else 0) for run in find_runs(self.root)]
        return sorted(jobs, key=lambda job: (not job.active, job.position, -_touched(job.run), job.run.name))

    def _job(self, run: Run, position: int = 0) -> Job:
        request = self._request(run)
        status, error = training_status(run, request.queued is not None)
        reached = None
        try:
            reached = read_training(run)
        except (ValueError, OSError) as broken:
            if status == "stopped":
                status, error = "failed", describe(broken)
        damaged = [file for file, kind in ((JOB, Request), (PROCESS, ProcessRecord)) if is_damaged(run.path / file, kind)]
        if damaged and not error:
            error = f"{' and '.join(damaged)} cannot be read and {'are' if len(damaged) > 1 else 'is'} ignored"
        if status == "stopped" and reached is not None and reached.step >= reached.steps:
            status = "finished"
        doing = read_progress((run.path / PROCESS).parent) if status in ("starting", "training", "stopping") else None
        if reached is not None and doing is not None and status != "starting":  # more recent than the log's last line
            step = max(reached.step, round(doing.share * reached.steps))
            reached = replace(reached, step=step, seconds_left=doing.seconds_left)
        return Job(run, status, request, position, reached, doing, error)

    def create(self, name: str, config: RunConfig, time_limit: float | None = None) -> Run:
        """Create a run folder and queue the run.

        Args:
            name: of the run and its folder.
            config: the run's configuration.
            time_limit: minutes after which training stops, or None.

        Raises:
            ValueError: the name is invalid or taken, the dataset is unknown, or the time limit is not positive and finite.
        """
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be a run's name: use up to 64 letters, digits, dots, hyphens and underscores, "
                "beginning with a letter or a digit"
            )
        if time_limit is not None and not 0 < time_limit < math.inf:
            raise ValueError(f"time_limit={time_limit}: choose a number of minutes above 0, or none")
        locate(config.data.data)
        config = with_settled_paths(config)  # the worker has another working directory
        run = Run(self.root / name)
        with self._alone():
            if not is_free(run.path):
                raise ValueError(f"a run called {name!r} exists already: choose another name")
            try:
                run.write_config(config)
                self._enqueue(run, Request(time_limit=time_limit))
            except BaseException:  # on a full disk, say: the name is free again
                shutil.rmtree(run.path, ignore_errors=True)
                raise
        return run

    def resume(self, name: str) -> None:
        """Queue a run that was stopped, failed or was interrupted.

        Raises:
            ValueError: there is no such run, it is active or finished, or its saved state is missing.
        """
        with self._alone():
            job = self._job(self._run(name))
            if job.active or job.status == "finished":
                raise ValueError(f"run {name!r} is {job.status}: there is nothing to resume")
            job.run.refuse_without_state()
            self._enqueue(job.run, job.request)

    def _enqueue(self, run: Run, request: Request) -> None:
        self._write(run, replace(request, queued=time.time_ns()))
        self._start_worker()

    def _start_worker(self) -> None:
        if at_work(self.root / WORKER):
            return
        launch("pipelines.jobs", [str(self.root.resolve())], self.root / WORKER)

    @property
    def error(self) -> str:
        """One sentence on why the last worker failed; empty if it did not, or a worker is running."""
        ended = ending(self.root / WORKER)
        return "" if ended is None else ended.error

    def wake(self) -> None:
        """Start the worker if runs are queued and none is running, for example after a reboot."""
        if self.waiting() and not at_work(self.root / WORKER):
            with self._alone():
                self._start_worker()

    def stop(self, name: str) -> None:
        """Remove a run from the queue, or ask its training to save and stop; return at once.

        Raises:
            ValueError: there is no such run.
        """
        with self._alone():
            run = self._run(name)
            self._write(run, replace(self._request(run), queued=None))
            stop(run.path / PROCESS)

    def delete(self, name: str) -> None:
        """Delete a run's folder, including its weights.

        Raises:
            ValueError: there is no such run, or it is being trained.
        """
        with self._alone():
            run = self._run(name)
            if at_work(run.path / PROCESS):
                raise ValueError(f"run {name!r} is being trained: stop it before deleting it")
            run.delete()

    def work(self) -> None:
        """Train the queued runs, one after the other, until the queue is empty.

        Raises:
            ValueError: another worker is running.
        """
        with self._alone():
            claim(self.root / WORKER, f"the queue of {self.root}")
        while True:
            with self._alone():
                queue = self.waiting()
                if not queue:
                    (self.root / WORKER).unlink(missing_ok=True)
                    return
                run, training = queue[0], None
                if not self._training():
                    training = self._launch(run)
            if training is None:
                time.sleep(0.5)  # wait for a run started by hand, or by a worker that was killed
            else:
                training.wait()

    def _launch(self, run: Run) -> subprocess.Popen[bytes]:
        request = self._request(run)
        limit = [] if request.time_limit is None else ["--time-limit", str(request.time_limit)]
        arguments = ["--resume", str(run.path.resolve()), *limit]
        process = launch("pipelines.train", arguments, run.path / PROCESS)
        self._write(run, replace(request, queued=None))
        return process


def _touched(run: Run) -> float:
    return max(modified(run.path / file) for file in (METRICS, CONFIG, JOB))
