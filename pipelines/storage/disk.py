"""Whether files can be written, asked before the work whose results they will hold; does not load torch."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ..common.machine import in_words
from ..common.reading import reason_of
from ..common.temporary import temporary_path

TRIED = 4096  # bytes, a block of most file systems


def refuse_unwritable(folder: Path, remedy: str) -> None:
    """Raise ValueError if no file can be written in a folder, or in the nearest one that exists, in which it would be made.

    A file is written for it and removed: permissions alone do not tell of a disk that is full or was mounted read-only.

    Args:
        folder: the folder, which need not exist yet.
        remedy: what to do instead, for the message.
    """
    place = _nearest(folder)
    if not place.is_dir():
        raise ValueError(f"{folder} cannot be written, because {place} is not a folder: {remedy}")
    trial = temporary_path(place / "trial")
    try:
        with trial.open("xb") as file:
            file.write(bytes(TRIED))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ValueError(f"the disk of {folder} is full: free some space, or {remedy}") from error
        raise ValueError(f"{folder} cannot be written ({reason_of(error)}): {remedy}") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


def free_space(folder: Path) -> int:
    """Return the bytes that are free on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(_nearest(folder)).free


def refuse_full(folder: Path, needed: int, what: str, remedy: str) -> None:
    """Raise ValueError if files would certainly need more room than is free on the disk of a folder.

    Args:
        folder: where they will be written.
        needed: bytes, at least.
        what: the files, for the message, and ``remedy`` what to do instead.
    """
    free = free_space(folder)
    if needed > free:
        raise ValueError(f"{what} take at least {in_words(needed)} in {folder}, where {in_words(free)} are free: {remedy}")


def _nearest(folder: Path) -> Path:
    """Return the folder if it exists, and otherwise the nearest path around it that does."""
    around = (folder, *folder.absolute().parents)
    return next(path for path in around if os.path.lexists(path))
