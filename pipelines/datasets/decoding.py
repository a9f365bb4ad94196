"""The pictures of a dataset: where their files may lie, and how they become squares."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..common.picture_files import MAX_BYTES, picture_content
from ..common.reading import UnreadableError
from .files.archives import open_archive, read_member
from .files.places import literal_place, read_place, shown

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")
_IN_ZIP = re.compile(r"zip://(.+)::(.+)", re.DOTALL)  # as ``datasets`` writes the places of pictures in downloaded archives


def read_cell(cell: Mapping[str, Any] | None, folders: Sequence[Path]) -> bytes:
    """Return the picture file in a cell of an image column, which has its content or its path.

    Args:
        cell: as in a column of ``datasets.Image(decode=False)``.
        folders: where the file may lie, itself or in an archive (see :func:`pipelines.datasets.sources.picture_folders`). A
            relative path starts in the first of them. Links in these folders are followed.

    Raises:
        OSError, ValueError: there is no picture, its file lies elsewhere or on the network, or it cannot be read.
    """
    if content := (cell or {}).get("bytes"):
        return picture_content(content)
    file, member = picture_place(cell, folders)
    return read_member(open_archive(file), member, MAX_BYTES) if member else read_place(str(file), MAX_BYTES)


def picture_place(cell: Mapping[str, Any] | None, folders: Sequence[Path]) -> tuple[Path, str]:
    """Return where the picture of a cell without content is, and the member of that file if it is a downloaded archive.

    Args and errors: see :func:`read_cell`.
    """
    path = (cell or {}).get("path")
    if not path:
        raise UnreadableError("no image in this row")
    packed = _IN_ZIP.fullmatch(path)
    file = Path(os.path.normpath(folders[0] / literal_place(packed[2] if packed else path)))
    elsewhere = not packed and _ADDRESS.match(path)
    if elsewhere or not any(file.is_relative_to(folder) for folder in folders):
        raise UnreadableError("it lies outside the dataset's folder, where no picture is read")
    return file, packed[1] if packed else ""


def picture_name(cell: Mapping[str, Any] | None, row: int, split: object, folders: Sequence[Path]) -> str:
    """Return what a picture is called in reports: its file, relative to the dataset's folder, or its row in the split.

    Args:
        cell, folders: see :func:`read_cell`.
        row, split: number of the row, and name of the split if it has one.
    """
    path = (cell or {}).get("path")
    if not path:
        return f"{split}, row {row}" if split else f"row {row}"
    file = Path(os.path.normpath(folders[0] / literal_place(path)))
    return next((shown(str(file.relative_to(folder))) for folder in folders if file.is_relative_to(folder)), shown(path))


def fit_image(image: Image.Image, size: int, fit: str) -> Image.Image:
    """Return a square of ``size`` pixels: the middle of the image ("crop"), or all of it in a black frame ("pad")."""
    if fit == "pad":
        if max(image.size) > size:
            scale = size / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        square = Image.new(image.mode, (size, size))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def as_channels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image of mode "L" or "RGB" as an array, (C, H, W)."""
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if image.mode == "L" else pixels.transpose(2, 0, 1)
