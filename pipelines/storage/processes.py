"""Processes that outlive their parent, each identified by a small file that is never mistaken for another process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field

from ..common.paths import folder_in
from ..common.reports import FOLDER, LOG, Outcome, forget_reports, read_outcome, read_typed, report_in
from .files import ROOT, write_text

BAR_EVERY = 60.0  # seconds between lines of a progress bar in a log
FOLDERS = ("NOISESCOPE_DATA", "NOISESCOPE_RUNS", "NOISESCOPE_CACHE")  # environment variables
SAME_START = 1.5  # seconds; the boot time is only known to a second, and no process id is reused that soon


def _started(process: psutil.Process) -> float:
    """Return when a process started, always the same for one process.

    Linux counts from boot; its wall-clock boot time moves when the clock is corrected, as after the machine was suspended.
    """
    return process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


@dataclass(frozen=True)
class ProcessRecord:
    """A process that is or was running.

    Attributes:
        pid: its process id.
        started: its start time in seconds, which tells it from a later process with the same id.
        stopping: whether it was asked to stop.
    """

    pid: Annotated[int, Field(gt=0, lt=2**31)]
    started: Annotated[float, Field(allow_inf_nan=False)]
    stopping: bool = False

    @property
    def alive(self) -> bool:
        """Whether it is still running."""
        try:
            process = psutil.Process(self.pid)
            return abs(_started(process) - self.started) < SAME_START and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def write_record(path: Path, pid: int | None = None) -> None:
    """Record the process ``pid`` (this one by default) in ``path``."""
    process = psutil.Process(pid)
    _write(path, ProcessRecord(process.pid, _started(process)))


def _write(path: Path, record: ProcessRecord) -> None:
    write_text(path, json.dumps(asdict(record)) + "\n")


def read_record(path: Path) -> ProcessRecord | None:
    """Return the process recorded in ``path``, alive or not; None if there is no complete record."""
    return read_typed(path, ProcessRecord)


def at_work(path: Path) -> bool:
    """Return whether the process recorded in ``path`` is alive."""
    record = read_record(path)
    return record is not None and record.alive


def claim(path: Path, work: str) -> None:
    """Record this process in ``path``; a command reports beside it from now on.

    Args:
        work: what it is about to do, for the error message.

    Raises:
        ValueError: another process that is still alive is recorded there.
    """
    other = read_record(path)
    if other is not None and other.pid != os.getpid() and other.alive:
        raise ValueError(f"process {other.pid} is already busy with {work}: wait for it, or stop it first")
    write_record(path)
    report_in(path.parent)


def stop(path: Path) -> None:
    """Ask the process recorded in ``path`` to stop, once: a second signal would end it before it has saved."""
    record = read_record(path)
    if record is not None and record.alive and not record.stopping:
        _write(path, replace(record, stopping=True))
        with suppress(psutil.NoSuchProcess):  # it has just ended
            psutil.Process(record.pid).terminate()


def launch(module: str, arguments: Sequence[str], record: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m module arguments…`` and record it; it outlives this process and its terminal.

    Args:
        record: the file that identifies it; its output and reports go into the same folder.
    """
    folder = record.parent
    folder.mkdir(parents=True, exist_ok=True)
    forget_reports(folder)
    folders = {name: str(path) for name in FOLDERS if (path := folder_in(name)) is not None}  # it runs in another folder
    environment = os.environ | folders | {FOLDER: str(folder.resolve()), "TQDM_MININTERVAL": str(BAR_EVERY)}
    environment.pop("OMP_WAIT_POLICY", None)  # set for the dashboard (main_interface.py); it would slow training by a tenth
    with (folder / LOG).open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        write_record(record, process.pid)
    except BaseException:  # a process that nobody knows of could not be stopped
        process.kill()
        process.wait()
        raise
    return process


def ending(record: Path) -> Outcome | None:
    """Return the outcome that the process recorded in ``record`` reported; None if it is alive or there is none."""
    process = read_record(record)
    if process is not None and process.alive:
        return None
    outcome = read_outcome(record.parent)
    if outcome is None and process is not None:
        return Outcome("stopped" if process.stopping else "interrupted")
    return outcome
