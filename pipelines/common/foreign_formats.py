"""Picture files that are not read, or only with another package: what they are, by their first bytes, and what to do."""

from __future__ import annotations

import io
from functools import cache

from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, ImageFileDirectory_v2

from .reading import UnreadableError

_SIGNATURES = (  # what a file is, the offset and the bytes by which it is known
    ("a JPEG 2000 file", 0, b"\x00\x00\x00\x0cjP  "),
    ("a JPEG 2000 file", 0, b"\xff\x4f\xff\x51"),
    ("a JPEG XL file", 0, b"\x00\x00\x00\x0cJXL "),
    ("a JPEG XL file", 0, b"\xff\x0a"),
    ("a Photoshop file", 0, b"8BPS"),
    ("an OpenEXR file", 0, b"\x76\x2f\x31\x01"),
    ("a Radiance HDR file", 0, b"#?RADIANCE"),
    ("a PDF file", 0, b"%PDF-"),
    ("an SVG drawing", 0, b"<svg"),
    ("a web page", 0, b"<!DOCTYPE html"),
    ("a web page", 0, b"<!doctype html"),
    ("a web page", 0, b"<html"),
    ("a raw photograph", 8, b"CR\x02\x00"),
    ("a video", 4, b"ftypisom"),
    ("a video", 4, b"ftypmp4"),
    ("a video", 4, b"ftypqt  "),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1")
_LFS = b"version https://git-lfs"


def refuse_foreign(content: bytes) -> None:
    """Raise an UnreadableError if a file is known to be none that is read.

    Raises:
        UnreadableError: what the file is, and what to do.
    """
    if not content:
        raise UnreadableError("not a readable image: the file is empty")
    if content.startswith(_LFS):
        raise UnreadableError("not a readable image: it is a pointer of Git LFS: run git lfs pull to fetch the image")
    for what, start, signature in _SIGNATURES:
        if content.startswith(signature, start):
            raise UnreadableError(f"not a readable image: it is {what}, which is not read: convert it to PNG or JPEG")
    if is_heif(content) and not can_read_heif():
        raise UnreadableError("not a readable image: it is a HEIC or HEIF file: pip install pillow-heif to read these")


def is_heif(content: bytes) -> bool:
    """Return whether a file is of the format in which phones write HEIC photographs; AVIF is built like it."""
    return content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and b"avif" not in content[12:64]


def about_tiff(content: bytes) -> str:
    """Describe the samples of a TIFF that Pillow does not know, such as 64-bit floating-point ones; empty if it is no TIFF."""
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return ""
    try:
        tags = ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        bits, kind = tags[BITSPERSAMPLE], tags.get(SAMPLEFORMAT, (1,))[0]
    except Exception:  # of any kind, on damaged tags
        return ""
    kinds = {1: "whole", 2: "signed whole", 3: "floating-point", 5: "complex whole", 6: "complex"}
    return f"{len(bits)} {kinds.get(kind, 'unknown')} number{'' if len(bits) == 1 else 's'} of {bits[0]} bits a pixel"


@cache
def can_read_heif() -> bool:
    """Return whether HEIC and HEIF files can be read, after letting Pillow know how."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True
