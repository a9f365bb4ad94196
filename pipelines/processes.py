"""Which process is at work on something: a small file that survives the process and is never mistaken for another one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from .runs import write_text

SAME_START = 1.5  # seconds; the time of boot is known to a second only, and no process number comes back that soon


def _started(process: psutil.Process) -> float:
    """When a process started, the same whenever it is asked.

    Linux counts from boot; its wall-clock time of boot moves when the clock is corrected, as after a pause of the machine.
    """
    return process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


@dataclass(frozen=True)
class ProcessRecord:
    """A process that is, or was, at work.

    Attributes:
        pid: its number.
        started: when it started, in seconds; tells it from a later process of the same number.
        stopping: whether it was asked to stop.
    """

    pid: int
    started: float
    stopping: bool = False

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        try:
            process = psutil.Process(self.pid)
            return abs(_started(process) - self.started) < SAME_START and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def write_record(path: Path, pid: int | None = None) -> None:
    """Record in ``path`` that the process ``pid`` (this one by default) is at work."""
    process = psutil.Process(pid)
    _write(path, ProcessRecord(process.pid, _started(process)))


def _write(path: Path, record: ProcessRecord) -> None:
    write_text(path, json.dumps(asdict(record)) + "\n")


def read_record(path: Path) -> ProcessRecord | None:
    """The process recorded in ``path``, alive or not; None where there is no whole record."""
    try:
        return ProcessRecord(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def at_work(path: Path) -> bool:
    """Whether the process recorded in ``path`` is alive."""
    record = read_record(path)
    return record is not None and record.alive


def claim(path: Path, work: str) -> None:
    """Record this process in ``path``.

    Args:
        work: what it is going to do, for the error's sentence.

    Raises:
        ValueError: another process that is still alive is recorded there.
    """
    other = read_record(path)
    if other is not None and other.pid != os.getpid() and other.alive:
        raise ValueError(f"{work} is being done by process {other.pid} already: wait for it, or stop it first")
    write_record(path)


def stop(path: Path) -> None:
    """Ask the process recorded in ``path`` to stop, once: a second signal would end it before it has saved."""
    record = read_record(path)
    if record is not None and record.alive and not record.stopping:
        _write(path, replace(record, stopping=True))
        psutil.Process(record.pid).terminate()
