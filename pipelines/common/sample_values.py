"""Which sample values of a picture file are black and white, where they are not plain bytes from 0 to 255.

Most files declare it by their depth. Floating-point files declare nothing, 32-bit and signed integers are containers more often
than ranges: for these, :func:`choose_range` looks at the extremes of one picture, or of all pictures of a dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

from .reading import UnreadableError

OVERSHOOT = 0.1  # of a range, by which values may lie outside and are clipped: filters and rounding leave such values
FLOAT_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
LEAST_USED = 1 / 16  # of a range: if no value is beyond, another is meant
DARK = 4096  # pictures of 16 bits whose values stay below are probably of 12 or fewer bits

Samples = NDArray[np.generic]  # (H, W)


@dataclass(frozen=True)
class Range:
    """The sample values of black and white."""

    black: float
    white: float

    def to_bytes(self, samples: Samples) -> NDArray[np.uint8]:
        """Map black to 0 and white to 255, linearly, and clip what lies beyond."""
        scaled = (samples.astype(np.float64) - self.black) / (self.white - self.black) * 255
        return scaled.round().clip(0, 255).astype(np.uint8)

    def __str__(self) -> str:
        return f"{in_digits(self.black)} to {in_digits(self.white)}"


@dataclass(frozen=True)
class Layout:
    """How the samples of a grey picture are stored.

    Attributes:
        kind: a name for people, and for the pictures that share a range.
        dtype: what the samples are; Pillow reads some as another type of the same width.
        declared: the range that the file declares; None if it declares none.
        inverted: whether low values are bright.
    """

    kind: str
    dtype: np.dtype[np.generic]
    declared: Range | None = None
    inverted: bool = False

    def samples(self, image: Image.Image) -> Samples:
        """Return the samples of a picture, or of a part of it."""
        stored: Samples = np.asarray(image)
        return stored if stored.dtype.kind == self.dtype.kind else stored.view(self.dtype)


@dataclass(frozen=True)
class Values:
    """The sample values of a picture: their kind, their extremes, and the range by which they were converted."""

    kind: str
    low: float
    high: float
    range: Range
    declared: bool


def layout_of(image: Image.Image) -> Layout | None:
    """Return how an open picture stores its samples; None if they are plain bytes."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    signed = tags.get(SAMPLEFORMAT, (1,))[0] == 2
    bits = tags.get(BITSPERSAMPLE, (32,))[0] if image.mode == "I" else 8
    inverted = tags.get(PHOTOMETRIC_INTERPRETATION) == 0
    if image.mode == "F":
        return Layout("floating-point", np.dtype(np.float32), None, inverted)
    if image.mode.startswith("I;16"):
        white = 2 ** tags.get(BITSPERSAMPLE, (16,))[0] - 1
        return Layout(f"{white.bit_length()}-bit", np.dtype(np.uint16), Range(0, white), inverted)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # Pillow scales the samples of both to 16 bits
        return Layout("16-bit", np.dtype(np.int32), Range(0, 65535))
    if image.mode == "I" and bits == 32 and tags and not signed:
        return Layout("32-bit", np.dtype(np.uint32), None, inverted)
    if image.mode == "I":
        return Layout(f"{bits}-bit signed", np.dtype(np.int32), None, inverted)
    if image.mode == "L" and signed:
        return Layout("8-bit signed", np.dtype(np.int8), None, inverted)
    return None


def bands(image: Image.Image, rows: int) -> Iterator[Image.Image]:
    """Cut a picture into bands of ``rows`` rows; the last may have fewer."""
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def extremes(image: Image.Image, layout: Layout, rows: int) -> tuple[float, float]:
    """Return the lowest and the highest sample of a picture, looking at ``rows`` rows at once.

    Raises:
        UnreadableError: some are not numbers, or infinite.
    """
    lows, highs = [], []
    for band in bands(image, rows):
        samples = layout.samples(band)
        lows.append(float(samples.min()))
        highs.append(float(samples.max()))
    if not np.isfinite([*lows, *highs]).all():
        raise UnreadableError("not a readable image: it has values that are not finite (NaN or infinity)")
    return min(lows), max(highs)


def choose_range(kind: str, low: float, high: float) -> Range:
    """Return the range of samples that declare none, given the extremes of a picture or of all those that share it.

    Floating-point values are from 0 to 1, −1 to 1 or 0 to 255 if they lie in that range, give or take a tenth; the last only if
    some are above 16. Integers of 32 bits are from 0 to 255 or 65535 if they lie there. Those of 8 or 16 bits, signed, start at
    0, or at their lowest value if some are negative. Otherwise the extremes themselves are black and white.
    """
    if kind == "floating-point":
        for black, white in FLOAT_RANGES:
            slack = OVERSHOOT * (white - black)
            if black - slack <= low and LEAST_USED * white < max(high, white <= 1) and high <= white + slack:
                return Range(black, white)
    elif kind.startswith("32-bit"):
        for white in (255, 65535):
            if low >= 0 and high <= white:
                return Range(0, white)
    else:
        half = 2.0 ** (int(kind.partition("-")[0]) - 1)
        return Range(-half if low < 0 else 0, half - 1)
    return Range(low, high) if low < high else Range(min(low, 0), max(high, 0))


def about_values(found: list[Values]) -> str:
    """Describe how the sample values of pictures of one kind were converted; empty if that goes without saying."""
    used, kind, count = found[0].range, found[0].kind, len(found)
    low, high = min(each.low for each in found), max(each.high for each in found)
    pictures = f"{count:,} {kind} picture{'' if count == 1 else 's'}"
    if found[0].declared:
        if high >= DARK or used.white < DARK:
            return ""
        return f"{pictures}: 0 to {in_digits(used.white)} taken as black to white, though no value is above {in_digits(high)}"
    beyond = [in_digits(value) for value in (low, high) if not used.black <= value <= used.white]
    clipped = f"; values as far as {' and '.join(beyond)} clipped" if beyond else ""
    return f"{pictures}: {used} taken as black to white{clipped}"


def in_digits(value: float) -> str:
    """Format a sample value: 65,535, 1.01."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 2**53 else f"{value:.6g}"
