"""Embedded colour profiles (ICC): from their colours to sRGB, which all that shows or compares images assumes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

MAX_BYTES = 2**22  # of a profile; those of printing presses have half a million
SAME = 2  # levels by which a profile's colours may differ from sRGB and still be sRGB's
NEUTRAL = 3  # levels by which the channels of a converted grey may differ
WHITE, BLACK = 192, 96  # levels that a possible profile's white is above, and its black below

IMPOSSIBLE = "with a colour profile that is damaged or of no use: their numbers are taken as sRGB"


@dataclass(frozen=True)
class Conversion:
    """A conversion to sRGB.

    Attributes:
        apply: converts an image of that mode to "RGB"; None if the numbers are to be kept.
        told: what to tell about a converted picture; empty if there is nothing to tell.
    """

    apply: Callable[[Image.Image], Image.Image] | None = None
    told: str = ""


KEPT = Conversion()


def conversion_of(profile: bytes | None, mode: str) -> Conversion:
    """Return the conversion of a picture of mode "L", "RGB", "CMYK" or "LAB" with this profile, perhaps none, to sRGB."""
    if mode == "LAB":  # the colours are defined without a profile
        return _lab()
    if not profile:
        plain = "in CMYK without a colour profile: converted without one"
        return Conversion(lambda image: image.convert("RGB"), plain) if mode == "CMYK" else KEPT
    try:
        found = _from_profile(profile, mode)
    except Exception:  # the library raises errors of several kinds on damaged profiles
        found = Conversion(told=IMPOSSIBLE)
    if mode == "CMYK" and found.apply is None:
        return Conversion(lambda image: image.convert("RGB"), found.told)
    return found


@lru_cache(64)
def _from_profile(content: bytes, mode: str) -> Conversion:
    if len(content) > MAX_BYTES:
        return Conversion(told=IMPOSSIBLE)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    space = profile.profile.xcolor_space.strip()
    if mode == "L" and space == "RGB":
        convert = (of_colours := _from_profile(content, "RGB")).apply
        return of_colours if convert is None else Conversion(lambda image: convert(image.convert("RGB")), of_colours.told)
    if space != {"L": "GRAY"}.get(mode, mode):
        return Conversion(told=IMPOSSIBLE)
    apply = _to_srgb(profile, mode)
    chart = _chart(mode)
    before, after = (np.asarray(part.convert("RGB")).reshape(-1, 3).astype(int) for part in (chart, apply(chart)))
    if after[0].min() < WHITE or after[-1].max() > BLACK or len(np.unique(after, axis=0)) < len(before) // 8:
        return Conversion(told=IMPOSSIBLE)
    if mode != "CMYK" and np.abs(after - before).max() <= SAME:
        return KEPT
    return Conversion(apply, f"with the colours of “{_name(profile)}”: converted to sRGB")


@lru_cache(1)
def _lab() -> Conversion:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return Conversion(_to_srgb(profile, "LAB"), "in CIE L*a*b*: converted to sRGB")


def _to_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> Callable[[Image.Image], Image.Image]:
    """Return the conversion that photo editors use: relative to white, with black kept black."""
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def apply(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # only changes in place return nothing
        return converted

    return apply


def grey_again(converted: Image.Image) -> Image.Image:
    """Return a picture that was grey before its conversion as "L", if all its colours are still grey but for rounding."""
    pixels = np.asarray(converted).astype(np.int16)
    grey = (pixels.max(2) - pixels.min(2)).max() <= NEUTRAL
    return converted.getchannel("G") if grey else converted


def _chart(mode: str) -> Image.Image:
    """Return colours that cover what a mode can show, from white to black."""
    levels = {"L": 256, "RGB": 9, "CMYK": 5}[mode]
    steps = np.linspace(255, 0, levels).round().astype(np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    channels = np.stack(np.meshgrid(*[steps if mode == "RGB" else 255 - steps] * len(mode), indexing="ij"), -1)
    return Image.frombytes(mode, (levels ** (len(mode) - 1), levels), channels.tobytes())


def _name(profile: ImageCms.ImageCmsProfile) -> str:
    """Return a profile's own name for people, in one short line."""
    named = "".join(letter for letter in ImageCms.getProfileDescription(profile) if letter.isprintable() or letter.isspace())
    return " ".join(named.split())[:60] or "an unnamed profile"
