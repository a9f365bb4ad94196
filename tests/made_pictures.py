"""Picture files made on the spot: one of every mode, some that are not what they say, and folders of them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.datasets.sources import resolve
from pipelines.storage.config import DataConfig

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image, picture_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def flat(mode: str, colour, side: int = 8) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def _palette(colour) -> Image.Image:
    return flat("RGB", colour).quantize(4)


def _transparent_palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 1
    return image


# By name: an image, the format and options to save it with, and the grey or colour that it is read as.
MODES = {
    "L": (flat("L", 70), "PNG", {}, 70),
    "RGB": (flat("RGB", (200, 100, 50)), "PNG", {}, (200, 100, 50)),
    "RGB of greys": (flat("RGB", (90, 90, 90)), "PNG", {}, 90),
    "P of greys": (_palette((90, 90, 90)), "PNG", {}, 90),
    "RGB as BMP": (flat("RGB", (200, 100, 50)), "BMP", {}, (200, 100, 50)),
    "RGBA opaque": (flat("RGBA", (200, 100, 50, 255)), "PNG", {}, (200, 100, 50)),
    "RGBA transparent": (flat("RGBA", (200, 100, 50, 0)), "PNG", {}, 255),
    "RGBA half transparent": (flat("RGBA", (255, 0, 0, 128)), "PNG", {}, (255, 127, 127)),
    "RGBA of greys": (flat("RGBA", (90, 90, 90, 255)), "PNG", {}, 90),
    "P": (_palette((200, 100, 50)), "PNG", {}, (200, 100, 50)),
    "P transparent": (_transparent_palette(), "PNG", {}, 255),
    "LA opaque": (flat("LA", (70, 255)), "PNG", {}, 70),
    "LA transparent": (flat("LA", (70, 0)), "PNG", {}, 255),
    "CMYK": (flat("CMYK", (0, 255, 255, 0)), "TIFF", {}, (255, 0, 0)),
    "1 white": (flat("1", 1), "PNG", {}, 255),
    "1 black": (flat("1", 0), "PNG", {}, 0),
    "I;16 black": (Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG", {}, 0),
    "I;16 white": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), "PNG", {}, 255),
    "I;16 grey": (Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)), "PNG", {}, 128),
    "I;16 as TIFF": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), "TIFF", {}, 255),
    "WebP": (flat("RGB", (0, 0, 255)), "WEBP", {"lossless": True}, (0, 0, 255)),
}


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(count: int) -> bytes:
    """Many zeros, compressed a part at a time."""
    squeeze = zlib.compressobj(1)
    part = bytes(2**20)
    return b"".join(squeeze.compress(part) for _ in range(-(-count // 2**20))) + squeeze.flush()


def bomb_png(side: int, depth: int = 8, colour: int = 0, pixels: bool = True) -> bytes:
    """A small PNG of side × side black pixels (colour 0: grey, 6: RGBA), or only its header and first row."""
    row = side * (4 if colour == 6 else 1) * depth // 8 + 1
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    content = zeros(row * side if pixels else row)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def bomb_tiff(side: int, bits: int = 8, sample: int = 1, tile: int | None = None, pixels: bool = True) -> bytes:
    """A small TIFF of side × side grey pixels (sample 3: floating point), in one strip or tile, or only its header."""
    content = zeros((tile or side) ** 2 * bits // 8 if pixels else 1)
    tags = {256: side, 257: side, 258: bits, 259: 8, 262: 1, 277: 1, 339: sample}
    pieces = {322: tile, 323: tile, 324: None, 325: len(content)} if tile else {278: side, 273: None, 279: len(content)}
    tags |= pieces
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, start if value is None else value) for tag, value in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + content


def write_picture(folder: Path, name: str, content: bytes | Image.Image) -> None:
    """Write a picture, or other bytes, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else saved(content))


def pictures_config(folder: Path, **changes) -> DataConfig:
    """The resolved settings of a folder of pictures, at 8×8."""
    return resolve(DataConfig(str(folder), **({"image_size": 8} | changes)))


def first_pixels(images) -> list[int]:
    """The first value of each image."""
    return [int(image[0, 0, 0]) for image in images.images]


def grey_tiff(
    samples: np.ndarray, *, bits: int | None = None, white_is_zero: bool = False, content: bytes | None = None
) -> bytes:
    """An uncompressed little-endian TIFF of one channel, of the samples' own type; ``bits`` and ``content`` say otherwise."""
    content = samples.tobytes() if content is None else content
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    tags = {
        256: samples.shape[1],
        257: samples.shape[0],
        258: bits or 8 * samples.itemsize,
        259: 1,
        262: int(not white_is_zero),
    }
    tags |= {273: 8 + 2 + 12 * 10 + 4, 277: 1, 278: samples.shape[0], 279: len(content), 339: kind}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + content


# The primaries of colour spaces, in XYZ under D50.
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def icc_profile(primaries=None, gamma: float = 2.2, name: str = "made") -> bytes:
    """A small ICC profile: of these primaries, or of grey, and a gamma."""

    def fixed(values) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    about = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + b"\0" * 79
    about += b"\0" * (-len(about) % 4)
    tags = {b"desc": about, b"cprt": b"text\0\0\0\0x\0\0\0", b"wtpt": b"XYZ \0\0\0\0" + fixed((0.9642, 1, 0.8249))}
    if primaries is None:
        tags[b"kTRC"] = curve
    for letter, primary in zip((b"r", b"g", b"b"), primaries or (), strict=False):
        tags |= {letter + b"XYZ": b"XYZ \0\0\0\0" + fixed(primary), letter + b"TRC": curve}
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", start + len(body), len(value))
        body += value
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I", 128 + len(table) + len(body)) + b"lcms" + struct.pack(">I", 0x02100000) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acspAPPL" + b"\0" * 24 + fixed((0.9642, 1, 0.8249))
    return head + b"\0" * (128 - len(head)) + table + body
