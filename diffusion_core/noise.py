"""Reproducible noise: one stream per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SeededNoise:
    """Standard normal noise that depends on the seed, the image and the draw, and on nothing else.

    Image i of seed s gets the same noise whatever the batch it is in, the order, the chunking or the device: it is drawn
    on the CPU from a stream of its own, keyed by (seed, image, draw).

    Attributes:
        seed: 0 or greater.
        image_shape: (C, H, W).
        images: which images of that seed, one number (0 or greater) a row.
    """

    seed: int
    image_shape: tuple[int, ...]
    images: Sequence[int]

    def __post_init__(self) -> None:
        if self.seed < 0 or any(image < 0 for image in self.images):
            raise ValueError(f"seed={self.seed}, images={self.images}: seeds and image numbers are 0 or greater")

    def _draw(self, draw: int, device: torch.device | str) -> Tensor:
        # One generator an image: NumPy's seed sequence hashes the three numbers into independent streams.
        streams = (np.random.default_rng((self.seed, image, draw)) for image in self.images)
        rows = [stream.standard_normal(self.image_shape, dtype=np.float32) for stream in streams]
        return torch.from_numpy(np.stack(rows)).to(device)

    def initial(self, device: torch.device | str = "cpu") -> Tensor:
        """(B, C, H, W) float32, the noise that sampling starts from."""
        return self._draw(0, device)

    def at_step(self, index: int, device: torch.device | str = "cpu") -> Tensor:
        """(B, C, H, W) float32, the fresh noise that a stochastic sampler adds at its step ``index`` (from 0)."""
        return self._draw(index + 1, device)
