"""Held-out images that are copies or near copies of training images: a loss on them says little about new images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .image_sets import ImageSet

SIDE = 16  # pixels of the small images that are compared
NEAR = 0.1  # of an image's own contrast: a smaller difference is that of another encoding, size or retouching
AT_ONCE = 4096  # images reduced or compared in one piece


class Copies(NamedTuple):
    """Numbers of held-out images that have the same pixels as a training image, or nearly the same."""

    exact: int
    near: int


def count_copies(train: ImageSet, held_out: ImageSet) -> Copies:
    """Count the held-out images that are copies of training images.

    Exact copies are found by their keys. Near ones differ from the nearest training image by less than a tenth of their own
    standard deviation, both images reduced to 16×16 pixels.
    """
    exact = np.isin(held_out.keys, train.keys)
    if exact.all():
        return Copies(len(exact), 0)
    others = _reduced(held_out.images[torch.from_numpy(~exact)])
    nearest = torch.full((len(others),), torch.inf)
    for images in train.images.split(AT_ONCE):
        candidates = _reduced(images)
        squares = candidates.square().sum(1) - 2 * others @ candidates.T  # |a − b|² without |a|²
        match = candidates[squares.argmin(1)]
        nearest = nearest.minimum((others - match).square().mean(1))
    near = nearest.sqrt() < NEAR * others.std(1, correction=0)
    return Copies(int(exact.sum()), int(near.sum()))


def _reduced(images: Tensor) -> Tensor:
    """Return (N, C, H, W) uint8 images at SIDE × SIDE pixels, as vectors (N, C·SIDE²)."""
    return torch.cat([F.adaptive_avg_pool2d(part.float(), SIDE).flatten(1) for part in images.split(AT_ONCE)])
