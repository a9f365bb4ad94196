"""Picture files that hurt: damaged ones of every format, headers that lie, bombs, and PostScript under other names."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

from PIL import Image, ImageDraw

from .mutations import mutate_bytes

PNG = b"\x89PNG\r\n\x1a\n"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{ 1 pop } loop\n"
OTHERS = (  # of formats that nobody uploads on purpose
    POSTSCRIPT,
    b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 30, len(POSTSCRIPT), 0, 0, 0, 0) + b"\xff\xff" + POSTSCRIPT,  # DOS EPS
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://example.invalid/pixel.png"/></svg>',
    b"\xd7\xcd\xc6\x9a" + bytes(60),  # Windows metafile
    b"\x89HDF\r\n\x1a\n" + bytes(500),
    b"GRIB" + bytes(500),
    b"SIMPLE  =                    T" + b" " * 2850,
    b"8BPS\x00\x01" + bytes(100),
    b"icns" + struct.pack(">I", 16) + b"ic10" + struct.pack(">I", 8),
    b"\x00\x00\x01\xb3" + bytes(500),  # MPEG
    b"GIF89a" + bytes(7),
    b"P6 1 1 255 abc",
    b"",
)


def _drawing(mode: str) -> Image.Image:
    image = Image.new("RGB", (40, 30), (30, 10, 40))
    ImageDraw.Draw(image).ellipse((5, 5, 30, 25), fill=(200, 120, 30))
    return image.convert("L").convert(mode) if mode in ("I", "F", "I;16") else image.convert(mode)


@cache
def valid_pictures() -> dict[str, bytes]:
    """Return valid files of all the formats that Pillow writes and people have, by name."""
    made = {}
    kinds = {
        "PNG": ("RGB", "RGBA", "L", "1", "P", "LA", "I;16"),
        "JPEG": ("RGB", "L", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "TIFF": ("RGB", "RGBA", "F", "I;16", "CMYK", "1"),
        "GIF": ("P", "L"),
        "BMP": ("RGB", "P", "1"),
        "AVIF": ("RGB", "RGBA"),
        "DDS": ("RGB", "RGBA"),
        "ICO": ("RGBA",),
        "PPM": ("RGB", "L", "1"),
        "TGA": ("RGB",),
        "QOI": ("RGB",),
        "JPEG2000": ("RGB",),
    }
    Image.init()
    for kind, modes in kinds.items():
        for mode in modes if kind in Image.SAVE else ():
            buffer = io.BytesIO()
            _drawing(mode).save(buffer, kind)
            made[f"{kind} {mode}"] = buffer.getvalue()
    for kind in [kind for kind in ("GIF", "PNG", "WEBP", "TIFF") if kind in Image.SAVE]:
        frames, buffer = [_drawing("RGB").rotate(angle) for angle in range(0, 90, 10)], io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        made[f"{kind} frames"] = buffer.getvalue()
    turned, buffer = Image.Exif(), io.BytesIO()
    turned[0x0112] = 6
    _drawing("RGB").save(buffer, "JPEG", exif=turned)
    return made | {"JPEG turned": buffer.getvalue()}


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def split_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG file into the kinds and contents of its chunks."""
    chunks, place = [], len(PNG)
    while place + 8 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def join_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG file of these chunks."""
    return PNG + b"".join(chunk(kind, content) for kind, content in chunks)


def mutate_chunks(random: Random, png: bytes) -> bytes:
    """Change, remove, repeat or add a chunk of a PNG file; all checksums are right."""
    chunks = split_chunks(png)
    place = random.randrange(len(chunks))
    kind, content = chunks[place]
    change = random.choice(("content", "remove", "repeat", "size", "header", "text"))
    if change == "content":
        chunks[place] = (kind, mutate_bytes(random, content))
    elif change == "remove":
        del chunks[place]
    elif change == "repeat":
        chunks[place:place] = [chunks[place]] * random.choice((1, 1000))
    elif change == "size":
        sides = (0, 1, 3, 4_000, 20_000, 60_000, 2**31 - 1, 2**32 - 1)
        chunks[0] = (b"IHDR", struct.pack(">2I", random.choice(sides), random.choice(sides)) + chunks[0][1][8:])
    elif change == "header":
        header = bytearray(chunks[0][1])
        header[random.randrange(8, len(header))] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        chunks[0] = (b"IHDR", bytes(header))
    else:
        chunks[1:1] = [random.choice(_texts())]
    return join_chunks(chunks)


@cache
def _texts() -> tuple[tuple[bytes, bytes], ...]:
    """Return chunks beside the pixels that are large, deeply nested, or large once decompressed."""
    return (
        (b"zTXt", b"noisescope\x00\x00" + _zeros(200_000_000)),
        (b"iTXt", b"noisescope\x00\x01\x00\x00\x00" + zlib.compress(b"[" * 50_000_000, 9)),
        (b"iTXt", b"noisescope\x00\x00\x00\x00\x00" + b"[" * 100_000),
        (b"tEXt", b"x" * 1_000_000),
        (b"iCCP", b"icc\x00\x00" + _zeros(100_000_000)),
        (b"acTL", struct.pack(">2I", 2**31 - 1, 0)),
        (b"eXIf", b"II*\x00" + b"\xff" * 200),
    )


@cache
def _zeros(count: int) -> bytes:
    """Return ``count`` compressed zeros; after a full flush every mebibyte of them is the same bytes again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(count % (1 << 20))) + packer.flush()
    checksum = (count % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + block * (count >> 20) + rest + struct.pack(">I", checksum)


def png_bomb(side: int, depth: int, colour: int, frames: int = 0) -> bytes:
    """Return a small PNG of ``side``² black pixels; with ``frames``, an animation that says to have that many."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = _zeros(side * (1 + (side * depth * channels + 7) // 8))
    header = struct.pack(">2I5B", side, side, depth, colour, 0, 0, 0)
    palette = [(b"PLTE", bytes(3))] if colour == 3 else []
    animation = [(b"acTL", struct.pack(">2I", frames, 0))] if frames else []
    return join_chunks([(b"IHDR", header), *animation, *palette, (b"IDAT", data), (b"IEND", b"")])


def tiff_bomb(width: int, height: int, bits: int, sample_format: int, samples: int = 1) -> bytes:
    """Return a small TIFF of zeros; ``sample_format`` is 1 for whole and 3 for floating-point numbers."""
    data = _zeros(width * height * samples * bits // 8)
    entries = {
        256: width, 257: height, 258: bits, 259: 8, 262: 2 if samples > 2 else 1, 273: 8, 277: samples, 278: height,
        279: len(data), 339: sample_format,
    }  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    data += bytes(len(data) % 2)
    return b"II*\x00" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + directory + bytes(4)


def gif_bomb(frames: int) -> bytes:
    """Return a GIF whose screen is far larger than its ``frames`` frames of one pixel."""
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\x00\x02\x02D\x01\x00"
    return b"GIF89a" + struct.pack("<2H", 9_000, 9_000) + b"\x80\x00\x00" + bytes(6) + frame * frames + b";"


BOMBS: tuple[Callable[[], bytes], ...] = (
    lambda: png_bomb(13_000, 16, 0),
    lambda: png_bomb(9_000, 8, 6),
    lambda: png_bomb(9_000, 16, 6),
    lambda: png_bomb(13_000, 1, 3),
    lambda: png_bomb(4_000, 8, 2, frames=10_000),
    lambda: tiff_bomb(13_000, 13_000, 32, 3),
    lambda: tiff_bomb(13_000, 13_000, 16, 1),
    lambda: tiff_bomb(9_000, 9_000, 8, 1, 4),
    lambda: tiff_bomb(170_000_000, 1, 8, 1),
    lambda: gif_bomb(100_000),
    lambda: b"P6 13000 13000 255\n" + bytes(1000),
    lambda: b"P1 13000 13000 " + b"0 " * 100_000,
)


def mutate_picture(random: Random) -> bytes:
    """Return a picture file that is damaged, lies about its size, or is of another kind than its name says."""
    draw = random.random()
    if draw < 0.05:
        return random.choice(OTHERS)
    if draw < 0.15:
        return random.choice(BOMBS)()
    name, data = random.choice(list(valid_pictures().items()))
    if name.startswith("PNG") and draw < 0.8:
        return mutate_chunks(random, data)
    return mutate_bytes(random, data)
