"""The cache of decoded images: files of pixels, each with what is known of them.

A file holds the pixels, (N, C, H, W) bytes; two numbers for each image; a record in JSON; the record's length, and a mark. Its
name tells the settings, then the state of the data: when that changes, the file is replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from errno import ENOSPC
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common.json_files import MOST as MOST_JSON
from ..common.json_files import parse_json
from ..common.reading import UnreadableError, open_regular
from ..common.temporary import remove_leftovers, temporary_path
from .cache import cache_folder

Numbers = NDArray[np.uint64]  # (2, N)

SUFFIX = ".pixels"
MARK = b"noisescope pixels 1"
MOST = 2**35  # bytes of all files together; beyond, those used least recently are removed
FREE = 2**30  # bytes that are left free on the disk
CHUNK = 2**24  # bytes that are read at once
_END = struct.Struct(f"<Q{len(MARK)}s")


class CachedPixels(NamedTuple):
    """An open file that begins with the pixels of images, (N, C, H, W), and what is known of them."""

    file: BinaryIO
    shape: tuple[int, ...]
    numbers: Numbers
    told: dict[str, Any]


def pixel_folder() -> Path:
    """Return the folder of decoded images."""
    return cache_folder() / "pictures"


def make_room(size: int) -> None:
    """Make the folder, and remove the images in it that were used least recently until there is room for ``size`` more bytes.

    Raises:
        OSError: the folder cannot be written, or there is too little space.
    """
    folder = pixel_folder()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    known = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in folder.glob(f"*{SUFFIX}"))
    total = sum(bytes_in for _, bytes_in, _ in known)
    for _, bytes_in, file in known:
        if total + size <= MOST and shutil.disk_usage(folder).free >= size + FREE:
            return
        file.unlink(missing_ok=True)
        total -= bytes_in
    if shutil.disk_usage(folder).free < size + FREE:
        raise OSError(ENOSPC, os.strerror(ENOSPC), str(folder))


def _path(place: str, state: str) -> Path:
    return pixel_folder() / f"{place[:32]}-{state[:32]}{SUFFIX}"


def store_pixels(
    place: str,
    state: str,
    images: Iterable[NDArray[np.uint8]],
    shape: tuple[int, ...],
    numbers: Numbers,
    told: Mapping[str, Any],
) -> None:
    """Cache images; a folder that cannot be written, or a full disk, causes a warning.

    Args:
        place: digest of the settings, in hexadecimal digits.
        state: digest of the data's state and of what decodes them. Images of the same place and another state are removed.
        images: (C, H, W) each.
        shape: (N, C, H, W) of all.
        numbers: two for each image.
        told: what else to keep, as JSON.
    """
    path = _path(place, state)
    temporary = temporary_path(path)
    checksum = 0
    try:
        make_room(int(np.prod(shape)))
        with temporary.open("xb") as file:
            for content in chain((image.tobytes() for image in images), [numbers.tobytes()]):
                checksum = zlib.crc32(content, checksum)
                file.write(content)
            record = json.dumps({"shape": shape, "crc32": checksum, "told": told}).encode()
            if len(record) > MOST_JSON:
                return
            file.write(record + _END.pack(len(record), MARK))
            file.flush()
            os.fsync(file.fileno())
        for older in path.parent.glob(f"{place[:32]}-*{SUFFIX}"):
            older.unlink(missing_ok=True)
        temporary.replace(path)
    except OSError as error:
        warnings.warn(f"decoded images could not be cached in {path.parent} ({error.strerror})", stacklevel=2)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def find_pixels(place: str, state: str) -> CachedPixels | None:
    """Return cached images; None if there are none, or their file is damaged."""
    path = _path(place, state)
    with suppress(OSError, UnreadableError, ValueError, LookupError, TypeError, struct.error):
        file = open_regular(path)
        try:
            file.seek(-_END.size, os.SEEK_END)
            length, mark = _END.unpack(file.read(_END.size))
            end = file.seek(-_END.size - length, os.SEEK_END)
            record = parse_json(file.read(min(length, MOST_JSON)))
            shape = tuple(map(int, record["shape"]))
            start = int(np.prod(shape))
            if mark == MARK and end == start + 16 * shape[0] and _checksum(file, end) == record["crc32"]:
                file.seek(start)
                numbers = np.frombuffer(file.read(16 * shape[0]), np.uint64).reshape(2, -1)
                file.seek(0)
                with suppress(OSError):
                    os.utime(path)  # used most recently
                return CachedPixels(file, shape, numbers, record["told"])
        except BaseException:
            file.close()
            raise
        file.close()
    return None


def _checksum(file: BinaryIO, size: int) -> int:
    """Return the checksum of the first ``size`` bytes of a file; mapped into memory, they would count as memory in use."""
    checksum = 0
    file.seek(0)
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        checksum = zlib.crc32(chunk, checksum)
    return checksum
