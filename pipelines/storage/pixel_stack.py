"""Decoded images as an array of bytes, (N, C, H, W): in memory if they are few, else in a file that is mapped into memory."""

from __future__ import annotations

import mmap
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from ..common.machine import machine_memory, refuse_beyond_memory
from .pixel_cache import make_room, pixel_folder

Pixels = NDArray[np.uint8]  # (N, C, H, W), or (C, H, W) of one image

IN_MEMORY = 2**29  # bytes of pixels that are kept in memory, if that is no more than a small part of it
SMALL_PART = 1 / 8
COPIES = 2  # of images in memory, while some are taken from all


def kept_in_memory() -> int:
    """Return how many bytes of pixels are kept in memory; more are mapped from a file."""
    return min(IN_MEMORY, int(machine_memory() * SMALL_PART))


class _Place(Protocol):
    def read(self, number: int) -> Pixels: ...
    def write(self, number: int, image: Pixels) -> None: ...
    def finish(self, count: int) -> Pixels: ...
    def close(self) -> None: ...


class _Memory:
    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self._images = np.empty((count, *shape), np.uint8)

    def read(self, number: int) -> Pixels:
        image: Pixels = self._images[number]
        return image

    def write(self, number: int, image: Pixels) -> None:
        self._images[number] = image

    def finish(self, count: int) -> Pixels:
        return self._images[:count]

    def close(self) -> None:
        pass


class _File:
    """A file without a name, written without being mapped: where the disk is full, that is an error and no crash."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self._shape, self._size = shape, int(np.prod(shape))
        make_room(count * self._size)
        self._file: BinaryIO = tempfile.TemporaryFile(dir=pixel_folder())  # noqa: SIM115  (closed by close)
        if hasattr(os, "posix_fallocate"):  # a full disk is then known now
            os.posix_fallocate(self._file.fileno(), 0, count * self._size)

    def read(self, number: int) -> Pixels:
        self._file.seek(number * self._size)
        return np.frombuffer(self._file.read(self._size), np.uint8).reshape(self._shape)

    def write(self, number: int, image: Pixels) -> None:
        self._file.seek(number * self._size)
        self._file.write(image.tobytes())

    def finish(self, count: int) -> Pixels:
        self._file.flush()
        self._file.truncate(count * self._size)
        images = map_file(self._file, (count, *self._shape))
        self.close()
        return images

    def close(self) -> None:
        self._file.close()


class PixelStack:
    """Images that arrive one by one, all as large as the first: grey until the first that is coloured.

    Many are written to a file in the cache's folder; if that fails, they are kept in memory too, with a warning.

    Args:
        count: maximum number of images.
        shape: (C, H, W) of the first.
        what: what they are, for messages.

    Raises:
        TooLarge: they fit neither on the disk nor into memory.
    """

    def __init__(self, count: int, shape: tuple[int, ...], what: str) -> None:
        self._count, self._shape, self._what, self._filled = count, shape, what, 0
        self._place = self._make()

    @property
    def _bytes(self) -> int:
        return self._count * int(np.prod(self._shape))

    def _make(self) -> _Place:
        if self._bytes > kept_in_memory():
            try:
                return _File(self._count, self._shape)
            except OSError as error:
                return self._in_memory(error)
        return _Memory(self._count, self._shape)

    def _in_memory(self, error: OSError) -> _Place:
        place = f"{pixel_folder()} ({error.strerror})"
        remedy = f"choose a smaller image_size, or make room for a file in {place}"
        refuse_beyond_memory(COPIES * self._bytes, f"reading {self._what}", remedy)
        warnings.warn(f"{self._what} are kept in memory, since no file for them can be written in {place}", stacklevel=2)
        return _Memory(self._count, self._shape)

    def _move(self, place: _Place) -> None:
        for number in range(self._filled):
            place.write(number, np.broadcast_to(self._place.read(number), self._shape))
        self._place.close()
        self._place = place

    def put(self, number: int, image: Pixels) -> None:
        """Set an image, (C, H, W): the next, or one from before."""
        if image.shape[0] > self._shape[0]:
            self._shape = image.shape
            self._move(self._make())
        image = np.broadcast_to(image, self._shape)
        try:
            self._place.write(number, image)
        except OSError as error:
            self._move(self._in_memory(error))
            self._place.write(number, image)
        self._filled = max(self._filled, number + 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W) of the images so far."""
        return (self._filled, *self._shape)

    @property
    def in_file(self) -> bool:
        """Whether the images are in a file, because they are many."""
        return isinstance(self._place, _File)

    def __iter__(self) -> Iterator[Pixels]:
        """Yield the images so far, without mapping a file: mapped pages would count as memory in use."""
        return map(self._place.read, range(self._filled))

    def finish(self) -> Pixels:
        """Return the images; the file of those that are mapped has no name, and vanishes with them."""
        return self._place.finish(self._filled)


def map_file(file: BinaryIO, shape: tuple[int, ...]) -> Pixels:
    """Map images at the start of a file into memory; what is changed there never reaches the file."""
    mapped = mmap.mmap(file.fileno(), int(np.prod(shape)), access=mmap.ACCESS_COPY)
    return np.frombuffer(mapped, np.uint8).reshape(shape)


def read_or_map(file: BinaryIO, shape: tuple[int, ...]) -> Pixels:
    """Return the images at the start of an open file: in memory if they are few, else mapped; and close the file."""
    with file:
        if int(np.prod(shape)) > kept_in_memory():
            return map_file(file, shape)
        return np.frombuffer(bytearray(file.read(int(np.prod(shape)))), np.uint8).reshape(shape)


def take(images: Pixels, rows: NDArray[np.int64]) -> Pixels:
    """Return some images in a stack of their own, in that order; see :class:`PixelStack`."""
    if len(rows) * images[:1].nbytes <= kept_in_memory():
        chosen: Pixels = images[rows]
        return chosen
    return _stacked((images[row] for row in rows), len(rows), images.shape[1:])


def coloured(images: Pixels) -> Pixels:
    """Return images with three channels, in a stack of their own; those that have three already, as they are."""
    shape = (3, *images.shape[2:])
    return images if images.shape[1:] == shape else _stacked(images, len(images), shape)


def _stacked(images: Iterable[Pixels], count: int, shape: tuple[int, ...]) -> Pixels:
    stack = PixelStack(count, shape, f"{count:,} images")
    for number, image in enumerate(images):
        stack.put(number, image)
    return stack.finish()
