"""The machine's memory, refusing what plainly needs more of it, and how busy others keep its processor.

Importing this module does not load torch.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


class TooLarge(ValueError):
    """Raised instead of running out of memory; the message is one sentence."""


@cache
def machine_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or the limit of its container or of its own."""
    import psutil

    return min([psutil.virtual_memory().total, *_cgroup_limits(CGROUPS, Path("/proc/self/cgroup")), *_own_limits()])


def _own_limits() -> list[int]:
    """Return the limit that was set for the process (ulimit -v), if any."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _cgroup_limits(root: Path, own: Path) -> list[int]:
    """Return the memory limits of a process's control group and of those around it; some kernels report none.

    Args:
        root: where control groups are mounted, version 2 or 1.
        own: the file that lists the groups of the process.
    """
    limits: list[int] = []
    for line in own.read_text().splitlines() if own.is_file() else ():  # only Linux has it
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (root / kinds, "memory.limit_in_bytes") if kinds else (root, "memory.max")
        place = top / group.lstrip("/")
        around = (folder for folder in (place, *place.parents) if folder.is_relative_to(top))
        limits += filter(None, (_number(folder / name) for folder in around))
    return limits


def _number(file: Path) -> int | None:
    """Return the number in a file; None if there is no such file, or none in it ("max")."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def in_words(size: float) -> str:
    """Format a number of bytes: 20 KiB, 512 MiB, 1.5 GiB, 3.2 TiB."""
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if size >= 2**power:
            return f"{size / 2**power:,.1f} {unit}"
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size / 2**10:,.0f} KiB"


def refuse_beyond_memory(needed: float, what: str, remedy: str, memory: int | None = None, owner: str = "this machine") -> None:
    """Raise TooLarge if something would need more memory than there is.

    Args:
        needed: bytes.
        what: what would need them, for the message.
        remedy: what to do instead.
        memory: bytes that there are, and ``owner`` what has them; by default :func:`machine_memory`.
    """
    memory = machine_memory() if memory is None else memory
    if needed > memory:
        raise TooLarge(f"{what} would take about {in_words(needed)} of memory, and {owner} has {in_words(memory)}: {remedy}")


def usable_cores() -> set[int]:
    """Return the numbers of the processor cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class OtherWork:
    """The work of other programs on the processor cores that this process may use, from when this is made."""

    def __init__(self) -> None:
        self._began = self._seconds()

    @property
    def share(self) -> float:
        """Share of the cores' time that other programs have taken, 0 to 1."""
        whole, others = (now - then for now, then in zip(self._seconds(), self._began, strict=True))
        return min(max(others / whole, 0.0), 1.0) if whole > 0 else 0.0

    @property
    def cores(self) -> float:
        """Number of cores that other programs have used on average."""
        return self.share * len(usable_cores())

    @staticmethod
    def _seconds() -> tuple[float, float]:
        """Return the seconds of all these cores so far, and of those the ones in which they worked for others."""
        import psutil

        every = psutil.cpu_times(percpu=True)
        whole = worked = 0.0
        for core in usable_cores():
            times = every[core]._asdict()
            idle = times["idle"] + times.get("iowait", 0.0)
            counted = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # within user and nice
            whole, worked = whole + counted, worked + counted - idle
        return whole, worked - time.process_time()
