"""Image metrics: difference maps, mean squared error and structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .images import Pixels

WINDOW = 11  # side of the SSIM window in pixels


def difference_map(images: Pixels, reference: Pixels) -> Pixels:
    """Return the absolute difference of (N, H, W, C) images, averaged over channels: (N, H, W, 1) uint8."""
    return np.abs(images.astype(np.int16) - reference).mean(axis=-1, keepdims=True).round().astype(np.uint8)


def mean_squared_error(images: Pixels, reference: Pixels) -> float:
    """Return the mean squared error over all pixels, with black at 0 and white at 1."""
    difference: NDArray[np.float64] = (images.astype(np.float64) - reference) / 255
    return float(np.square(difference).mean())


@dataclass(frozen=True)
class Distance:
    """How far images are from others, on average.

    Attributes:
        absolute, squared: mean absolute and squared error over all pixels, with black at 0 and white at 1.
        ssim: see :func:`structural_similarity`; NaN for images that are smaller than its window.
        unrelated: mean absolute error between each of the others and the next one; NaN for one image.
    """

    absolute: float
    squared: float
    ssim: float
    unrelated: float


def distance(images: Pixels, reference: Pixels) -> Distance:
    """Measure how far (N, H, W, C) images are from those that they correspond to."""
    small = min(images.shape[1:3]) < WINDOW
    return Distance(
        _mean_absolute_error(images, reference),
        mean_squared_error(images, reference),
        math.nan if small else structural_similarity(images, reference),
        _mean_absolute_error(np.roll(reference, 1, axis=0), reference) if len(reference) > 1 else math.nan,
    )


def _mean_absolute_error(images: Pixels, reference: Pixels) -> float:
    return float(np.abs(images.astype(np.int16) - reference).mean() / 255)


def structural_similarity(images: Pixels, reference: Pixels) -> float:
    """Return the mean SSIM over images and channels, 1 for equal images (Wang et al. 2004, equation 13, with its constants).

    The windows are Gaussian, of 11×11 pixels and standard deviation 1.5; only windows inside the image count.

    Raises:
        ValueError: the images are smaller than the window.
    """
    if min(images.shape[1:3]) < WINDOW:
        raise ValueError(f"images of {images.shape[1]}×{images.shape[2]} pixels: SSIM needs at least {WINDOW}×{WINDOW}")
    import torch
    import torch.nn.functional as F

    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    bell = torch.exp(-distance.square() / (2 * 1.5**2))
    bell = bell / bell.sum()

    def local_mean(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(x, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))

    a, b = (torch.from_numpy(part / 255).permute(0, 3, 1, 2).flatten(0, 1)[:, None] for part in (images, reference))
    mean_a, mean_b = local_mean(a), local_mean(b)
    variance = local_mean(a * a) - mean_a**2 + local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variance + c2))
    return float(similarity.mean())
