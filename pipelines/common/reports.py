"""Reports of a process: its progress, its outcome and perhaps a result, in small files of a folder.

A command launched from a page finds the folder in its environment; training started by hand reports beside its process
record. :func:`pipelines.common.command_line.run_command` reports the outcome. A process without a folder reports nothing.
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

from .json_files import read_json
from .reading import UnreadableError
from .temporary import remove_leftovers, temporary_path

FOLDER = "NOISESCOPE_REPORTS"  # environment variable that names the folder
PROGRESS, OUTCOME, RESULT, LOG = "progress.json", "outcome.json", "result.json", "log.txt"
INTERVAL = 0.5  # seconds between reports of the same work
Record = TypeVar("Record")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """Progress of a process.

    Attributes:
        what: its current work.
        share: fraction of this work that is done, in [0, 1].
        seconds_left: estimated time left for this work; None if unknown.
    """

    what: str
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    seconds_left: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a process.

    Attributes:
        status: "interrupted" if it could not report an outcome, because it was killed or the machine went down.
        error: one sentence if it failed.
    """

    status: Literal["finished", "stopped", "failed", "interrupted"]
    error: str = ""


class Reporter:
    """Writes the reports of this process.

    Attributes:
        folder: where to write them; None to write nothing.
        launched: whether a page started the process, so that its output is in the folder too.
        settled: whether to report there whatever the process claims later.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.launched = folder is not None
        self.settled = False
        self._what, self._due = "", 0.0

    def progress(self, progress: Progress) -> None:
        """Report progress, at most once per INTERVAL for the same work."""
        now = time.monotonic()
        if progress.what != self._what or now >= self._due:
            self._what, self._due = progress.what, now + INTERVAL
            self._write(PROGRESS, progress)

    def outcome(self, outcome: Outcome) -> None:
        """Report the outcome of this process."""
        self._write(OUTCOME, outcome)

    def result(self, result: Any) -> None:
        """Report what this process has found, a dataclass."""
        self._write(RESULT, result)

    def _write(self, name: str, record: Any) -> None:
        if self.folder is None:
            return
        temporary = temporary_path(self.folder / name)
        with suppress(OSError):  # a full disk must not stop the work; short-lived reports need no flush
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
            temporary.replace(self.folder / name)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


_REPORTER: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Let the block report to the folder named by the environment, if any, or by :func:`report_in`."""
    folder = os.environ.pop(FOLDER, None)  # not for processes that this one starts
    reporter = Reporter(Path(folder) if folder else None)
    token = _REPORTER.set(reporter)
    try:
        yield reporter
    finally:
        _REPORTER.reset(token)


def report_in(folder: Path) -> None:
    """Report in ``folder`` from now on, after removing an earlier process's reports there."""
    forget_reports(folder)
    if (reporter := _REPORTER.get()) and not reporter.settled:
        reporter.folder = folder


def report_here() -> None:
    """Go on reporting where this process does now, although it will claim another folder."""
    if reporter := _REPORTER.get():
        reporter.settled = True


def stop_reporting() -> None:
    """Report nothing from now on: the folder is no longer this process's own."""
    if (reporter := _REPORTER.get()) and not reporter.settled:
        reporter.folder = None


def report_progress(what: str, share: float = 0.0, seconds_left: float | None = None) -> None:
    """Report the progress of this process (see :class:`Progress`)."""
    if reporter := _REPORTER.get():
        reporter.progress(Progress(what, share, seconds_left))


def report_result(result: Any) -> None:
    """Report what this process has found, a dataclass, to be read with :func:`read_typed` from ``RESULT``."""
    if reporter := _REPORTER.get():
        reporter.result(result)


def forget_reports(folder: Path) -> None:
    """Remove the reports in a folder, with those that a killed process was about to write."""
    remove_leftovers(folder)
    for name in (PROGRESS, OUTCOME, RESULT):
        (folder / name).unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """Return the progress last reported in a folder; None if there is none, or it cannot be read."""
    return read_typed(folder / PROGRESS, Progress)


def read_outcome(folder: Path) -> Outcome | None:
    """Return the outcome reported in a folder; None if there is none, or it cannot be read."""
    return read_typed(folder / OUTCOME, Outcome)


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_typed(path: Path, kind: type[Record]) -> Record | None:
    """Read a JSON file into a dataclass; return None if it is missing, damaged, or another version's."""
    try:
        record: Record = _adapter(kind).validate_python(read_json(path))  # type: ignore[arg-type]  # a type is hashable
        return record
    except (OSError, UnreadableError, ValidationError):
        return None


def is_damaged(path: Path, kind: type[Any]) -> bool:
    """Return whether there is a file that :func:`read_typed` cannot read."""
    return os.path.lexists(path) and read_typed(path, kind) is None


class ProgressBar:
    """Progress bar in the terminal that also reports progress; used in a ``with`` statement.

    Args:
        what: the work.
        total: number of units.
        unit: name of a unit.
        done: units done before.
        options: passed to tqdm.
    """

    def __init__(self, what: str, total: int, unit: str, *, done: int = 0, **options: Any) -> None:
        from tqdm import tqdm

        quiet = os.environ.get("LOCAL_RANK", "0") != "0"  # one bar for all processes launched together on this machine
        self._bar = tqdm(desc=what, total=total, unit=unit, initial=done, disable=quiet, **options)
        self._what, self._total, self._done, self._first, self._began = what, total, done, done, time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    @property
    def done(self) -> int:
        """Number of units that are done."""
        return self._done

    def update(self, count: int = 1) -> None:
        """Count ``count`` more units as done."""
        self._bar.update(count)
        self._done = min(self._done + count, self._total)
        pace = (time.monotonic() - self._began) / (self._done - self._first)
        report_progress(self._what, self._done / self._total, pace * (self._total - self._done))

    def note(self, **values: object) -> None:
        """Show values after the bar."""
        self._bar.set_postfix(values, refresh=False)


def tracked(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    """Yield the items with a progress bar that disappears at the end."""
    with ProgressBar(what, len(items), unit, leave=False) as bar:
        for item in items:
            yield item
            bar.update()
