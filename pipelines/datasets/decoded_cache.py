"""Decoded pictures from the cache, unless they, the others of their data, or what decodes them have changed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from ..common import colour_profiles, conversion, picture_files, picture_notes, sample_values
from ..common.picture_notes import notes_of
from ..common.reading import UnreadableError
from ..storage.cache import cache_key
from ..storage.pixel_cache import Numbers, find_pixels, store_pixels
from ..storage.pixel_stack import Pixels, read_or_map
from . import decoded, decoding, splits
from .decoded import Decoded, Fit, NoReadableImage, Part, decode
from .decoding import picture_place
from .files.inventory import Unused
from .files.places import file_of
from .splits import Keys, Rows

FEWEST = 64  # pictures for which the cache is asked
WORTH_CACHING = 1.0  # seconds of decoding
SETTLED = 2.0  # seconds since the last change: a file may change again within the resolution of its times
DECODERS = (colour_profiles, conversion, picture_files, picture_notes, sample_values, decoded, decoding, splits)
LIBRARIES = ("pil", "littlecms2", "webp", "avif", "libjpeg_turbo", "zlib", "libtiff")


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images, (N, C, H, W), and what is known of them; see :class:`pipelines.datasets.image_sets.ImageSet`."""

    pixels: Pixels
    rows: Rows
    keys: Keys
    skipped: tuple[Unused, ...]
    notes: tuple[str, ...]


def read_pictures(part: Part, fit: Fit, rest: Sequence[Part], data: str, settings: object) -> Images:
    """Decode pictures in parallel, or take them from the cache.

    Args:
        part, fit, rest, data: see :func:`pipelines.datasets.decoded.decode`.
        settings: what else chooses these pictures, as JSON: one state of them is kept in the cache.

    Raises:
        NoReadableImage: none of the pictures can be read.
        TooLarge: the images fit neither into memory nor on the disk.
    """
    if len(part.rows) < FEWEST:
        return _finished(decode(part, fit, rest, data), data)
    place, (state, newest) = cache_key([data, settings, *fit]), _state_of([part, *rest])
    if (known := _find(place, state)) is not None:
        return known
    began = time.time()
    found = decode(part, fit, rest, data)
    if found.stack is None or time.time() - began < WORTH_CACHING or began - newest < SETTLED:
        return _finished(found, data)
    store_pixels(place, state, found.stack, found.stack.shape, _numbers(found), _told(found))
    one_file = _find(place, state) if found.stack.in_file else None  # instead of two
    return one_file or _finished(found, data)


def _finished(found: Decoded, data: str) -> Images:
    if found.stack is None:
        raise NoReadableImage(data, found.skipped)
    return _images(found.stack.finish(), _numbers(found), _told(found))


def _numbers(found: Decoded) -> Numbers:
    """Return the rows and the keys of decoded pictures, (2, N)."""
    return np.array([[each.row for each in found.facts], [each.key for each in found.facts]], dtype=np.uint64)


def _told(found: Decoded) -> dict[str, Any]:
    """Return what there is to tell of decoded pictures, as JSON."""
    notes = notes_of((told for each in found.facts for told in each.told), (each.values for each in found.facts if each.values))
    return {"skipped": [[each.path, each.reason] for each in found.skipped], "notes": notes}


def _images(pixels: Pixels, numbers: Numbers, told: Mapping[str, Any]) -> Images:
    skipped = tuple(Unused(*each) for each in told["skipped"])
    return Images(pixels, numbers[0].astype(np.int64), numbers[1], skipped, tuple(told["notes"]))


def _find(place: str, state: str) -> Images | None:
    found = find_pixels(place, state)
    if found is None:
        return None
    return _images(read_or_map(found.file, found.shape), found.numbers, found.told)


def _state_of(parts: Sequence[Part]) -> tuple[str, float]:
    """Return a digest of the files of pictures and of what decodes them, and the time of the last change of a file.

    Contents are known by their digest, files by path, place on the disk, size, and times of their content and of their record.
    """
    found = hashlib.sha256(_decoders().encode())
    newest = 0.0
    for pictures, rows in parts:
        for row, cell in pictures.cells(rows):
            content = (cell or {}).get("bytes")
            if content:
                found.update(f"{row} {len(content)} {(cell or {}).get('path')}".encode())
                found.update(content)
                continue
            told: tuple[object, ...] = ()
            with suppress(OSError, UnreadableError):
                file, member = picture_place(cell, pictures.folders)
                disk = file_of(str(file)).stat()
                told = (str(file), member, disk.st_dev, disk.st_ino, disk.st_size, disk.st_mtime_ns, disk.st_ctime_ns)
                newest = max(newest, disk.st_mtime, disk.st_ctime)
            found.update(f"{row} {told!r}".encode())
    return found.hexdigest(), newest


@cache
def _decoders() -> str:
    """Return the versions of all that decodes pictures, of our own modules by their content."""
    versions = [f"{name} {features.version(name)}" for name in LIBRARIES]
    with suppress(PackageNotFoundError):
        versions.append(f"pillow-heif {version('pillow-heif')}")
    own = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in DECODERS)).hexdigest()
    return " ".join([*versions, own])
