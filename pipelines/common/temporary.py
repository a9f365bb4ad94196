"""Temporary names beside the files that they replace, and the removal of those that a killed process has left behind."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import psutil

NAME = re.compile(r".+\.tmp-(\d{1,10})-[0-9a-f]{8}")  # the number is the id of the process that writes
SLACK = 2.0  # seconds by which the times of a file and of a process may disagree


def temporary_path(path: Path) -> Path:
    """Return an unused name beside ``path``, which :func:`remove_leftovers` recognises."""
    return path.with_name(f"{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


def is_temporary(path: Path) -> bool:
    """Return whether ``path`` has a name of :func:`temporary_path`."""
    return NAME.fullmatch(path.name) is not None


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` has such a name and the process that wrote it is gone.

    A process with the same id does not count if it started after the last change: in a container the ids repeat.
    """
    match = NAME.fullmatch(path.name)
    if match is None:
        return False
    try:
        return psutil.Process(int(match[1])).create_time() > path.lstat().st_mtime + SLACK
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except psutil.Error:
        return False


def remove_leftovers(*folders: Path) -> None:
    """Remove the temporary files directly in ``folders`` that a killed process has left, and nothing else."""
    for folder in folders:
        if folder.is_dir():
            for path in folder.iterdir():
                if is_leftover(path) and path.is_file() and not path.is_symlink():
                    with suppress(OSError):  # of another person, or on a disk that has become read-only
                        path.unlink(missing_ok=True)
