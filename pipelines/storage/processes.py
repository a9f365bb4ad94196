"""Processes that outlive whoever started them, each known by a small file that is never mistaken for another one's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from .files import ROOT, tail, write_text

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
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            psutil.Process(record.pid).terminate()


def launch(
    module: str, arguments: Sequence[str], record: Path, log: Path, progress_every: float = 0.1
) -> subprocess.Popen[bytes]:
    """Start ``python -m module arguments…`` and record it; it outlives this process and its terminal.

    Args:
        record: the file by which it is known.
        log: gets what it prints, in place of what was there.
        progress_every: seconds between lines of its progress bars.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TQDM_DISABLE": "", "TQDM_MININTERVAL": str(progress_every)}  # its bar tells how far it is
    environment.pop("OMP_WAIT_POLICY", None)  # the dashboard's own (main_interface.py); training would be a tenth slower
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    write_record(record, process.pid)
    return process


def last_lines(log: Path) -> list[str]:
    """The last lines that a process printed, every state of a progress bar a line of its own; blank ones left out."""
    lines = tail(log).decode("utf-8", "replace").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def failure_in(log: Path, work: str) -> str:
    """The sentence with which a process ended that failed; empty for any other.

    Args:
        work: what broke off, for processes that had no sentence.
    """
    lines = last_lines(log)
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if said:
        return said[-1]
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return f"{work} broke off ({lines[-1]}); see {log}"
    return ""
