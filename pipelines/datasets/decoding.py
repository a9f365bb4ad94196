"""Decode image files of any kind to squares of 8-bit pixels."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def to_8_bit(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert the first frame to 8 bits per channel: "L" if it is grey, else "RGB"; transparency shows the background."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 257.0 if image.mode.startswith("I;16") or values.max() > 255 else 1.0
        if image.mode == "F" and values.max() <= 1:  # floating-point images usually lie in [0, 1]
            scale = 1 / 255
        return Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    if image.mode in ("1", "L"):
        return image.convert("L")
    rgb = image.convert("RGB")
    red, green, blue = rgb.split()
    return red if red == green == blue else rgb


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


def open_image(source: bytes | str | Path | io.BytesIO) -> Image.Image:
    """Decode an untrusted image file and turn it upright as its EXIF tag says.

    Raises:
        ValueError: it is not a readable image, or it is unreasonably large (an attack or a mistake).
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        image.load()
        try:
            return ImageOps.exif_transpose(image)
        except (struct.error, SyntaxError, ValueError, TypeError):  # damaged EXIF; the image itself is intact
            return image
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image is too large: {error}".replace(", could be decompression bomb DOS attack.", "")) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"not a readable image: {error}") from error
