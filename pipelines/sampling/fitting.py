"""Uploaded pictures of any size and their masks, fitted to the size and channels of a model's images.

Pages request the same few pictures whenever anything on them changes, so the results are cached, and read-only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..common.images import Pixels, as_input
from ..common.picture_files import open_picture, read_picture
from ..common.picture_files import picture_size as size_in_file
from ..common.picture_notes import notes_of
from ..datasets.decoding import fit_image
from ..storage.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.loading import LoadedModel

KEPT = 16  # uploaded files
TINGE = 8  # largest difference between red, green and blue that is none to the eye


@lru_cache(KEPT)
def picture_size(picture: bytes) -> tuple[int, int]:
    """Return the width and height of an image file, after applying its EXIF orientation.

    Raises:
        ValueError: the file is not a readable image.
    """
    return size_in_file(picture)


@lru_cache(KEPT)
def picture_notes(picture: bytes) -> tuple[str, ...]:
    """Return how an image file is read where that is not obvious, a sentence each: its colours, transparency, or depth.

    Raises:
        ValueError: the file is not a readable image.
    """
    read = read_picture(picture)
    return notes_of(read.told, [read.values] if read.values else [])


def fit_picture(picture: bytes, config: RunConfig) -> Pixels:
    """Prepare an image file as the run's training images were -> (H, W, C) uint8.

    Raises:
        ValueError: the file is not a readable image, or the run has not started training.
    """
    channels, size, fit = _images_of(config)
    return _fitted(picture, channels, size, fit, "white")


def colour_note(picture: bytes, config: RunConfig) -> str:
    """Return a sentence if the colours of an image file are lost because the run's images are grey; empty if none are.

    Raises:
        ValueError: as :func:`fit_picture`.
    """
    channels, size, fit = _images_of(config)
    if channels != 1:
        return ""
    coloured = _fitted(picture, 3, size, fit, "white").astype(int)
    if np.ptp(coloured, axis=2).max() <= TINGE:
        return ""
    return "The model has learnt from grey images, so the picture is used without its colours and the results are grey."


def fit_mask(picture: bytes, mask: bytes, config: RunConfig) -> NDArray[np.bool_]:
    """Fit a mask as :func:`fit_picture` fits its picture -> (H, W), True where white; transparent parts count as black.

    Raises:
        ValueError: picture or mask is not a readable image, their sizes differ, or nothing white is left.
    """
    refuse_other_size(picture, mask)
    _, size, fit = _images_of(config)
    white: NDArray[np.bool_] = _fitted(mask, 1, size, fit, "black")[..., 0] > 127  # a pixel is one or the other
    if not white.any():
        raise ValueError(
            f"the mask has no white area at {size}×{size} pixels: paint the area to inpaint white, not too thinly, "
            "within the part of the picture that is used"
        )
    return white


def refuse_other_size(picture: bytes, mask: bytes) -> None:
    """Raise a ValueError if a mask and its picture differ in size, or one of them is not a readable image."""
    sizes = [picture_size(mask), picture_size(picture)]
    if sizes[0] != sizes[1]:
        told = ("×".join(map(str, size)) for size in sizes)
        raise ValueError("a mask of {} pixels for a picture of {}: give one of the same size".format(*told))


def fit_to_model(model: LoadedModel, picture: bytes) -> Tensor:
    """Prepare an image file as network input, (1, C, H, W) float32 in [−1, 1]; see :func:`fit_picture`."""
    import torch

    return as_input(torch.tensor(fit_picture(picture, model.config))[None].permute(0, 3, 1, 2))


def _images_of(config: RunConfig) -> tuple[int, int, str]:
    """Return the number of channels, the side length and the fit of a run's images."""
    if config.image_shape is None:
        raise ValueError("this run has not started training, so its image size is unknown: choose another run")
    channels, size, _ = config.image_shape
    return channels, size, config.data.fit or "crop"


@lru_cache(KEPT)
def _fitted(picture: bytes, channels: int, size: int, fit: str, background: str) -> Pixels:
    image = open_picture(picture, background).convert("L" if channels == 1 else "RGB")
    pixels = np.array(fit_image(image, size, fit)).reshape(size, size, channels)
    pixels.flags.writeable = False
    return pixels
