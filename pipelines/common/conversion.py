"""Decoded pictures of every mode to 8 bits per channel in sRGB, with what there is to tell about each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from .colour_profiles import conversion_of, grey_again
from .sample_values import Layout, Range, Values, bands, choose_range, extremes, layout_of

KEPT_PIXELS = 2**25  # larger pictures are reduced, since networks take far smaller ones; a grid of 64 images of 512×512 is not
BAND_PIXELS = 2**20  # converted at once

TRANSPARENT = "with transparent parts: put on {}"
_WITH_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of 8 bits per channel, "L" if it is grey, else "RGB".

    Attributes:
        image: in sRGB.
        stored: with the numbers in the file, before its colours were converted; usually ``image`` itself.
        values: the file's sample values; None if they were plain bytes.
        told: what to tell about the picture, without "1 picture" in front.
    """

    image: Image.Image
    stored: Image.Image
    values: Values | None = None
    told: tuple[str, ...] = ()

    def transposed(self, turned: Transpose) -> Picture:
        """Return the picture turned or mirrored."""
        image = self.image.transpose(turned)
        stored = image if self.stored is self.image else self.stored.transpose(turned)
        return Picture(image, stored, self.values, self.told)


def to_8_bit(image: Image.Image, background: str = "white", ranges: Mapping[str, Range] | None = None) -> Picture:
    """Convert a decoded image to 8 bits per channel in sRGB, and reduce it by a whole factor if it is beyond ``KEPT_PIXELS``.

    This is done band by band, so that no more than a small part of the picture exists in several copies.

    Args:
        background: colour that shows through transparent parts.
        ranges: by kind, the ranges of pictures that declare none, instead of what their own extremes suggest.

    Raises:
        ValueError: the values are not finite, or of a kind that has no colours.
    """
    factor = reduction(image)
    rows = factor * max(1, BAND_PIXELS // (image.width * factor))
    layout, values = layout_of(image), None
    if layout is not None:
        values = _values(layout, *extremes(image, layout, rows), ranges or {})
    conversion = conversion_of(image.info.get("icc_profile"), _colours(image, layout))
    stored, shown, transparent = [], [], False
    for band in bands(image, rows):
        plain, alpha = _plain(band, layout, values)
        transparent |= alpha is not None and alpha.getextrema()[0] < 255  # type: ignore[operator]  # of a single channel
        converted = [_numbers(plain)] if conversion.apply is None else [_numbers(plain), conversion.apply(plain)]
        ready = [_grey_if_possible(_on_background(part, alpha, background)) for part in converted]
        if ready[0].mode == "L" and ready[-1].mode == "RGB":
            ready[-1] = grey_again(ready[-1])
        ready = ready if factor == 1 else [part.reduce(factor) for part in ready]
        stored.append(ready[0])
        shown.append(ready[-1])
    told = ([TRANSPARENT.format(background)] if transparent else []) + ([conversion.told] if conversion.told else [])
    numbers = _joined(stored)
    return Picture(numbers if conversion.apply is None else _joined(shown), numbers, values, tuple(told))


def reduction(image: Image.Image) -> int:
    """Return the whole factor by which to reduce both sides of an image."""
    return max(1, math.ceil(math.sqrt(image.width * image.height / KEPT_PIXELS)))


def _values(layout: Layout, low: float, high: float, ranges: Mapping[str, Range]) -> Values:
    chosen = layout.declared or ranges.get(layout.kind) or choose_range(layout.kind, low, high)
    return Values(layout.kind, low, high, chosen, layout.declared is not None)


def _colours(image: Image.Image, layout: Layout | None) -> str:
    """Return the mode of an image without its palette and transparency: "L", "RGB", "CMYK" or "LAB"."""
    if layout is not None or image.mode in ("1", "L", "LA", "La"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def _plain(band: Image.Image, layout: Layout | None, values: Values | None) -> tuple[Image.Image, Image.Image | None]:
    """Return a band as "L", "RGB", "CMYK" or "LAB", and its opacity, if it has one."""
    transparency = band.info.get("transparency")
    if layout is not None and values is not None:
        samples = layout.samples(band)
        greys = values.range.to_bytes(samples)
        clear = isinstance(transparency, int) and values.declared
        alpha = Image.fromarray(np.where(samples == transparency, 0, 255).astype(np.uint8)) if clear else None
        return Image.fromarray(255 - greys if layout.inverted else greys), alpha
    if band.mode in _WITH_ALPHA or transparency is not None:
        grey = _colours(band, None) == "L"
        band = (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
        colours = band.getchannel("G") if grey else band.convert("RGB")
        return colours, band.getchannel("A")
    mode = _colours(band, None)
    return (band if band.mode == mode else band.convert(mode)), None


def _numbers(plain: Image.Image) -> Image.Image:
    """Return a band with its numbers as they are, or as they are without a profile, in "L" or "RGB"."""
    if plain.mode == "LAB":
        converted = conversion_of(None, "LAB").apply
        assert converted is not None
        return converted(plain)
    return plain.convert("RGB") if plain.mode == "CMYK" else plain


def _on_background(band: Image.Image, alpha: Image.Image | None, background: str) -> Image.Image:
    if alpha is None:
        return band
    band = band.convert("RGB")
    band.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", band.size, background), band).convert("RGB")


def _grey_if_possible(band: Image.Image) -> Image.Image:
    if band.mode == "L" or len(set(band.getextrema())) > 1:  # quick, and enough for nearly all coloured pictures
        return band
    red, green, blue = band.split()
    return red if red == green == blue else band


def _joined(parts: list[Image.Image]) -> Image.Image:
    """Join bands from top to bottom."""
    if len(parts) == 1:
        return parts[0]
    mode = "L" if all(part.mode == "L" for part in parts) else "RGB"
    whole = Image.new(mode, (parts[0].width, sum(part.height for part in parts)))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole
