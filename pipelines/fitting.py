"""Pictures of any size, and masks of them, fitted to the images that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .config import RunConfig
from .data import fit_image, open_image, to_8_bit
from .images import Pixels, as_input

if TYPE_CHECKING:
    from torch import Tensor

    from .model import LoadedModel


def fitted(picture: Image.Image, config: RunConfig) -> Pixels:
    """A picture -> (H, W, C) uint8, prepared as the run's training images were.

    Raises:
        ValueError: the run has not started training.
    """
    if config.image_shape is None:
        raise ValueError("this run has not started training: its images have no size yet")
    channels, size, _ = config.image_shape
    image = to_8_bit(picture).convert("L" if channels == 1 else "RGB")
    return np.array(fit_image(image, size, config.data.fit or "crop")).reshape(size, size, channels)


def mask_of(picture: Image.Image, mask: bytes) -> Image.Image:
    """An image file that says which part of a picture is meant -> the same in grey.

    Raises:
        ValueError: it is not a readable image, or it has not the size of the picture.
    """
    image = to_8_bit(open_image(mask)).convert("L")
    if image.size != picture.size:
        told = ("×".join(map(str, size)) for size in (image.size, picture.size))
        raise ValueError("a mask of {} pixels for a picture of {}: give one of the same size".format(*told))
    return image


def fitted_mask(picture: Image.Image, mask: bytes, config: RunConfig) -> NDArray[np.bool_]:
    """Which pixels of the :func:`fitted` picture lie under the white part of its mask, (H, W); see :func:`mask_of`."""
    return fitted(mask_of(picture, mask), config)[..., 0] > 127  # a pixel is one or the other


def fit_to_model(model: LoadedModel, picture: bytes) -> Tensor:
    """An image file -> (1, C, H, W) float32 in [−1, 1], see :func:`fitted`."""
    import torch

    return as_input(torch.from_numpy(fitted(open_image(picture), model.config))[None].permute(0, 3, 1, 2))
