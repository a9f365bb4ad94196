"""What a process tells whoever watches it: how far it is and how it ended, in two small files of a folder.

A command that was launched from a page finds the folder in its environment; training by hand reports beside the record of its
process. :func:`pipelines.common.command_line.run_command` reports the outcome. A process that nobody watches writes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

FOLDER = "NOISESCOPE_REPORTS"  # the environment's name for the folder
PROGRESS, OUTCOME, LOG = "progress.json", "outcome.json", "log.txt"
INTERVAL = 0.5  # seconds between reports of the same work
Record = TypeVar("Record")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far a process is.

    Attributes:
        what: the work that it is doing.
        share: done of this work, in [0, 1].
        seconds_left: of this work; None where that is not known.
    """

    what: str
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    seconds_left: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        status: "interrupted" where it could not report an outcome: it was killed, or the machine went down.
        error: one sentence, where it failed.
    """

    status: Literal["finished", "stopped", "failed", "interrupted"]
    error: str = ""


class Reporter:
    """Writes the reports of this process.

    Attributes:
        folder: where to; None while nobody watches.
        launched: whether a page started it, so that what it prints is in the folder too.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.launched = folder is not None
        self._what, self._due = "", 0.0

    def progress(self, progress: Progress) -> None:
        """Report progress; of the same work at most once in INTERVAL."""
        now = time.monotonic()
        if progress.what != self._what or now >= self._due:
            self._what, self._due = progress.what, now + INTERVAL
            self._write(PROGRESS, progress)

    def outcome(self, outcome: Outcome) -> None:
        """Report how this process ends."""
        self._write(OUTCOME, outcome)

    def _write(self, name: str, record: Progress | Outcome) -> None:
        if self.folder is None:
            return
        temporary = self.folder / f"{name}.tmp-{os.getpid()}"
        with suppress(OSError):  # a full disk ends no work here; and what is out of date soon need not be flushed to it
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
            temporary.replace(self.folder / name)


_REPORTER: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Let what runs inside report to the folder that the environment names, if any, or to where :func:`report_in` says."""
    folder = os.environ.pop(FOLDER, None)  # processes that this one starts are not meant
    reporter = Reporter(Path(folder) if folder else None)
    token = _REPORTER.set(reporter)
    try:
        yield reporter
    finally:
        _REPORTER.reset(token)


def report_in(folder: Path) -> None:
    """Report in ``folder`` from now on, where what an earlier process reported is forgotten."""
    forget_reports(folder)
    if reporter := _REPORTER.get():
        reporter.folder = folder


def report_progress(what: str, share: float = 0.0, seconds_left: float | None = None) -> None:
    """Report how far this process is (see :class:`Progress`)."""
    if reporter := _REPORTER.get():
        reporter.progress(Progress(what, share, seconds_left))


def forget_reports(folder: Path) -> None:
    """Remove the reports in a folder."""
    for name in (PROGRESS, OUTCOME):
        (folder / name).unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """Return what a process has last reported in a folder; None if nothing, or nothing that can be read."""
    return read_typed(folder / PROGRESS, Progress)


def read_outcome(folder: Path) -> Outcome | None:
    """Return the outcome reported in a folder; None if there is none, or none that can be read."""
    return read_typed(folder / OUTCOME, Outcome)


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_typed(path: Path, kind: type[Record]) -> Record | None:
    """Read a JSON file into a dataclass; None where the file is missing, damaged, or of a version that wrote something else."""
    try:
        record: Record = _adapter(kind).validate_json(path.read_bytes())  # type: ignore[arg-type]  # a type is hashable
        return record
    except (OSError, ValidationError):
        return None


class ProgressBar:
    """A bar in the terminal and, for whoever watches this process, a report; to be used in ``with``.

    Args:
        what: the work.
        total: its units.
        unit: their name.
        done: units that were done before.
        options: for tqdm.
    """

    def __init__(self, what: str, total: int, unit: str, *, done: int = 0, **options: Any) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=what, total=total, unit=unit, initial=done, **options)
        self._what, self._total, self._done, self._first, self._began = what, total, done, done, time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def update(self, count: int = 1) -> None:
        """So many units more are done."""
        self._bar.update(count)
        self._done = min(self._done + count, self._total)
        pace = (time.monotonic() - self._began) / (self._done - self._first)
        report_progress(self._what, self._done / self._total, pace * (self._total - self._done))

    def note(self, **values: object) -> None:
        """Show values behind the bar."""
        self._bar.set_postfix(values, refresh=False)


def tracked(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    """Yield the items, with a progress bar that goes when they are done."""
    with ProgressBar(what, len(items), unit, leave=False) as bar:
        for item in items:
            yield item
            bar.update()
