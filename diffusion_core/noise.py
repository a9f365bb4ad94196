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
        seed: from 0 to 2³² − 1.
        image_shape: (C, H, W).
        images: which images of that seed, one number (from 0 to 2³² − 1) a row.
    """

    seed: int
    image_shape: tuple[int, ...]
    images: Sequence[int]

    def __post_init__(self) -> None:
        # Larger numbers would fill two words of the stream's key, and could then meet another image's key.
        for name, number in [("seed", self.seed), *(("image number", image) for image in self.images)]:
            if not 0 <= number < 2**32:
                raise ValueError(f"{name} {number}: choose a whole number from 0 to {2**32 - 1}")

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
