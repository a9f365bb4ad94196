"""Pictures to read, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_images(folder: Path, count: int, side: int, suffix: str, **options: Any) -> None:
    """Write images of coloured noise, smooth enough to resemble photographs to a decoder.

    Args:
        folder: where to write them.
        count: number of images.
        side: of each, in pixels.
        suffix: ".png" or ".jpg".
        options: of Pillow's encoder.
    """
    random = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:06d}{suffix}", **options)
