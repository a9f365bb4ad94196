"""What a kind of input is, and what several kinds share.

An attempt is one thing that the product does. Each must succeed or raise one sentence; an AssertionError says what else is
wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .seeds import Seeds, copy_run

Attempts = Iterator[Callable[[], object]]
Reader = Callable[[Path], Attempts]
RUN, OTHER = "tiny", "healthy"  # folders: the run that is damaged, and one beside it


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        about: what it is, for the table.
        prepare: lays out a valid input in an empty folder.
        mutate: damages it.
        attempts: yields what the product does with it, in the child process.
    """

    about: str
    prepare: Callable[[Seeds, Path], object]
    mutate: Callable[[Random, Path], object]
    attempts: Reader


def prepare_runs(seeds: Seeds, folder: Path) -> None:
    """Lay out two equal runs; one of them will be damaged."""
    copy_run(seeds, folder / RUN)
    copy_run(seeds, folder / OTHER)


def files_of(run: Path, *patterns: str) -> list[Path]:
    """Return a run's files that match one of the patterns, in order."""
    return sorted(file for pattern in patterns for file in run.glob(pattern))


def make_special(random: Random, file: Path) -> None:
    """Put something that is no ordinary file in the place of a file."""
    kind = random.choice(("pipe", "loop", "dangling", "folder", "secret", "zeros", "sparse", "empty", "gone"))
    content = file.read_bytes() if file.is_file() else b""
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "loop":
        file.symlink_to(file.name)
    elif kind == "dangling":
        file.symlink_to("nowhere")
    elif kind == "folder":
        (file / "inner").mkdir(parents=True)
    elif kind == "secret":
        file.write_bytes(content)
        file.chmod(0)
    elif kind == "zeros":
        file.symlink_to("/dev/zero")
    elif kind == "sparse":
        file.touch()
        os.truncate(file, 2**32)
    elif kind == "empty":
        file.touch()


VANISHES = "vanishes"  # file beside the runs: after how many accesses to its files the damaged run is removed
_left: dict[Path, int] = {}  # accesses left, by run


def vanish_later(random: Random, folder: Path) -> None:
    """Have the damaged run removed while it is read, as another person may do."""
    (folder / VANISHES).write_text(str(random.choice((0, 1, 2, 3, 5, 8, 13, 21, 34, 55))))


def expect_vanishing(folder: Path) -> None:
    """In the child: remove the run when the time that :func:`vanish_later` chose has come."""
    if not _left:
        sys.addaudithook(_vanish)
    _left.clear()
    when = folder / VANISHES
    _left[folder / RUN] = int(when.read_text()) if when.exists() else -1


def _vanish(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir"):
        for run, left in _left.items():
            if left >= 0 and str(arguments[0]).startswith(str(run)):
                _left[run] = left - 1
                if left == 0:
                    shutil.rmtree(run, ignore_errors=True)
