"""Unpacking of archives into the cache, under names of our own, and never more than the disk can hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ...common.reading import UnreadableError
from ...storage.cache import cache_folder, cache_key
from ...storage.files import atomic

ALWAYS_UNPACKED = 2**30  # bytes; what is larger may be at most so many times as large as its archive:
MOST_TIMES = 100
KEPT_FREE = 2**30  # bytes of the disk that unpacking leaves free


def most_unpacked(packed: int) -> int:
    """Return to how many bytes an archive, or archives in one, may unpack that take so many bytes."""
    return max(ALWAYS_UNPACKED, MOST_TIMES * packed)


def unpacked(path: Path, member: str, suffix: str, parts: Iterable[bytes], packed: int) -> Path:
    """Return the file of the cache that holds ``parts``, which are written once until the archive changes.

    Args:
        path: the archive.
        member: name of the member that the parts are the content of; "" for all of a compressed TAR.
        suffix: of the file's name.
        parts: the content, unpacked as it is read.
        packed: number of bytes that it takes in the archive.

    Raises:
        OSError: the cache cannot be written.
        UnreadableError: there is so much of it that it can only be meant to fill the disk, or it does fill the disk.
    """
    status = path.stat()
    key = cache_key([os.fsencode(path.absolute()).hex(), status.st_size, status.st_mtime_ns, os.fsencode(member).hex()])[:32]
    kept = cache_folder() / "archives" / f"{key}{suffix}"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with atomic(kept) as temporary, temporary.open("wb") as target:
            for part in parts:
                written += len(part)
                if written > most_unpacked(packed):
                    raise UnreadableError(f"it unpacks to more than {MOST_TIMES} times its size")
                if shutil.disk_usage(kept.parent).free < KEPT_FREE:
                    raise UnreadableError(
                        "the disk has no space to unpack it: set NOISESCOPE_CACHE to a folder on a larger one"
                    )
                target.write(part)
    return kept
