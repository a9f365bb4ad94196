"""What the header of a picture file says about it, read without decoding the picture."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from .picture_files import Source, one_error, open_header, orientation

_COLOURS = {"1": "black and white", "L": "grey", "P": "palette", "RGB": "colour", "CMYK": "CMYK", "I": "grey", "F": "grey"}
_WITH_ALPHA = {"LA": "L", "La": "L", "PA": "P", "RGBA": "RGB", "RGBa": "RGB"}
_DEPTHS = {"1": "1 bit", "I": "32 bits", "F": "32-bit floating point"}


class PictureFacts(NamedTuple):
    """The size, format, colours and depth of a picture file.

    Attributes:
        width, height: in pixels, turned upright.
        format: "PNG", "JPEG", …
        colours: "colour", "grey", "palette", …, if need be "with alpha".
        depth: "8 bits", "16 bits", …, of each channel.
    """

    width: int
    height: int
    format: str
    colours: str
    depth: str


def picture_facts(source: Source) -> PictureFacts:
    """Return the facts in a picture file's header.

    Raises:
        UnreadableError: see :func:`pipelines.common.picture_files.open_picture`.
    """
    with one_error():
        image = open_header(source)
        width, height = image.size
        if "exif" in image.info and orientation(image) >= 5:  # without a tag there, Pillow would decode a PNG to look for one
            width, height = height, width
        mode = _WITH_ALPHA.get(image.mode, image.mode)
        grey = image.mode.startswith("I;16")
        colours = "grey" if grey else _COLOURS.get(mode, mode)
        alpha = " with alpha" * (mode != image.mode or "transparency" in image.info)
        return PictureFacts(width, height, str(image.format), f"{colours}{alpha}", _depth(image))


def _depth(image: Image.Image) -> str:
    """Return the depth of a channel in the file; Pillow's mode does not tell the 16 bits of a colour PNG."""
    layouts = [tile[3] for tile in getattr(image, "tile", [])]
    raw = " ".join(str(layout[0] if isinstance(layout, tuple) else layout) for layout in layouts[:1])
    deep = ";16" in f"{image.mode} {raw}"
    return "16 bits" if deep else _DEPTHS.get(image.mode, "8 bits")
