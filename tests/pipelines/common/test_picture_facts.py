"""The facts in picture files' headers."""

import struct
import zlib

import numpy as np
import pytest
from made_pictures import MODES, PNG_SIGNATURE, bomb_png, chunk, flat, saved
from PIL import Image

from pipelines.common.picture_facts import picture_facts
from pipelines.common.picture_files import open_picture
from pipelines.common.reading import UnreadableError

GREY = {"L", "LA opaque", "LA transparent", "I;16 black", "I;16 white", "I;16 grey", "I;16 as TIFF"}
ALPHA = {name for name in MODES if name.startswith(("RGBA", "LA")) or name == "P transparent"}


def sixteen_bit_png() -> bytes:
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(8 * 3 * 2)) * 8)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", MODES)
def test_every_mode_is_told_in_words(name):
    image, picture_format, options, _ = MODES[name]
    facts = picture_facts(saved(image, picture_format, **options))
    assert (facts.width, facts.height, facts.format) == (*image.size, picture_format)
    assert facts.colours.endswith("with alpha") == (name in ALPHA)
    assert facts.colours.startswith("grey") == (name in GREY)
    assert facts.colours.startswith("palette") == name.startswith("P")
    assert facts.depth == ("16 bits" if name.startswith("I;16") else "1 bit" if name.startswith("1") else "8 bits")


def test_depths_that_the_mode_does_not_tell():
    assert picture_facts(sixteen_bit_png())[3:] == ("colour", "16 bits")
    floating = saved(Image.fromarray(np.zeros((8, 8), "f4")), "TIFF")
    assert picture_facts(floating)[3:] == ("grey", "32-bit floating point")


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_upright_picture(picture_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.new("RGB", (16, 8)), picture_format, exif=exif)
    facts = picture_facts(content)
    assert (facts.width, facts.height) == open_picture(content).size


def test_nothing_is_decoded_and_what_is_no_picture_is_refused():
    assert picture_facts(bomb_png(8000, pixels=False))[:2] == (8000, 8000)  # only its first row is there
    for content in (b"text", saved(flat("RGB", (1, 2, 3)))[:20], bomb_png(60_000, pixels=False)):
        with pytest.raises(UnreadableError):
            picture_facts(content)
