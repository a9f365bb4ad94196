"""Open picture files that nobody vouches for: uploads, datasets, files of a run. Nothing else calls ``Image.open``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

from .conversion import Picture, reduction, to_8_bit
from .foreign_formats import about_tiff, is_heif, refuse_foreign
from .public import bounds, is_public
from .reading import MEGABYTE, UnreadableError, read_regular
from .sample_values import Range, Values, layout_of

Source = bytes | str | Path | io.BytesIO

BYTES_PER_PIXEL = {
    "AVIF": 20,  # 10-bit planes and transparency, beside two copies of the result
    "BMP": 8,
    "DDS": 8,
    "DIB": 8,
    "GIF": 8,
    "HEIF": 20,  # read by pillow-heif, where it is installed; planes of more than 8 bits, and three copies of the result
    "ICO": 8,
    "JPEG": 12,  # all coefficients of a progressive CMYK file, and the result; MPO files are JPEG
    "PCX": 8,
    "PNG": 8,
    "PPM": 8,
    "QOI": 8,
    "SGI": 8,
    "TIFF": 16,  # a single strip of 16-bit RGBA, and the result
    "WEBP": 16,  # two canvases of an animation, and two copies of the result
    "TGA": 8,  # last, since it has no signature to recognise it by
}
"""The formats that are read, with the most memory that Pillow takes for a pixel while it decodes one (as measured, or more).

Left out are formats whose decoder starts a program (EPS), leaves the size to the file's innards (JPEG 2000), or is for files
that hardly anyone has.
"""

FORMATS = [name for name in BYTES_PER_PIXEL if name != "HEIF"]  # that Pillow reads by itself
MEMORY = 3 * 2**28  # bytes: with the file itself and the interpreter, a picture stays below 1 GB
MAX_PIXELS = 2**26  # of any picture; phones take photographs of 50 million
MAX_SIDE = 2**16  # Pillow keeps a pointer for each row, which outweighs the pixels of very thin pictures
ALONE = 2**26  # bytes that a picture may take beside others that are decoded at the same time; larger ones wait for each other
MAX_BYTES = 96 * MEGABYTE  # of a file, which is read at once
MAX_SCANS = 100  # of a progressive JPEG, each of which goes through all of the picture; encoders write about ten
MAX_COMMENTS = 100  # in a PPM file written in digits, for each of which Pillow copies a MiB; encoders write one

SEVERAL = "of several frames or pages: the first is used"
_LARGE = Lock()

# For what only Pillow sees: pictures in icons, frames larger than their animation. It warns first, and refuses twice as many.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_UPRIGHT = {  # by EXIF orientation
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def open_picture(source: Source, background: str = "white") -> Image.Image:
    """Decode a picture file as :func:`read_picture` does, and return the image alone: of mode "L" if it is grey, else "RGB"."""
    return read_picture(source, background).image


def read_picture(source: Source, background: str = "white", ranges: Mapping[str, Range] | None = None) -> Picture:
    """Decode the first frame of a picture file to 8 bits per channel in sRGB, and turn it upright as its EXIF tag says.

    A picture of more than ``conversion.KEPT_PIXELS`` is reduced by a whole factor.

    Args:
        source: the content of a file, or its path.
        background: colour that shows through transparent parts.
        ranges: see :func:`pipelines.common.conversion.to_8_bit`.

    Raises:
        UnreadableError: the file is damaged, too large, or of a format that is not read.
    """
    with one_error():
        image = open_header(source)
        large = image.width * image.height * BYTES_PER_PIXEL[_kind(image)] > ALONE
        with _LARGE if large else nullcontext():
            if (factor := reduction(image)) > 1:
                image.draft(None, (image.width // factor, image.height // factor))  # decodes JPEG to a smaller size
            image.load()
            turned = _UPRIGHT.get(orientation(image))
            picture = to_8_bit(image, background, ranges)
            picture = picture if turned is None else picture.transposed(turned)
        return replace(picture, told=(*picture.told, SEVERAL)) if _has_more(image) else picture


def sample_values(source: Source) -> Values | None:
    """Return the sample values of a picture file, as :func:`read_picture` does; None if they are plain bytes.

    Raises:
        UnreadableError: see :func:`read_picture`.
    """
    with one_error():
        image = open_header(source)
        return None if layout_of(image) is None else read_picture(source).values


def picture_size(source: Source) -> tuple[int, int]:
    """Return the width and height of a picture file as :func:`open_picture` turns it, before any reduction.

    Raises:
        UnreadableError: see :func:`open_picture`.
    """
    with one_error():
        image = open_header(source)
        image.load()
        on_its_side = orientation(image) >= 5
        return (image.height, image.width) if on_its_side else image.size


def picture_text(source: Source, key: str) -> str | None:
    """Return a text from a picture file's metadata, or None if there is none; the picture is not decoded.

    Raises:
        UnreadableError: see :func:`open_picture`.
    """
    with one_error():
        text = open_header(source).info.get(key)
        return str(text) if isinstance(text, str) else None


def open_header(source: Source) -> Image.Image:
    """Open a picture file without decoding it, once nothing in its header speaks against that.

    Raises:
        UnreadableError: the file or the picture is too large.
        Exception: any, from Pillow.
    """
    content = picture_content(source)
    refuse_foreign(content)
    if content[:2] in (b"P1", b"P2", b"P3") and (comments := content.count(b"#")) > MAX_COMMENTS:
        read = f"of which {MAX_COMMENTS} are read"
        raise UnreadableError(f"the image is in too many pieces: {comments} comments in a PPM file, {read}")
    try:
        image = Image.open(io.BytesIO(content), formats=["HEIF"] if is_heif(content) else FORMATS)
    except UnidentifiedImageError:
        if samples := about_tiff(content):
            raise UnreadableError(f"not a readable image: a TIFF of {samples} is not read: save it with 8 or 16 bits") from None
        raise
    most = min(MAX_PIXELS, MEMORY // BYTES_PER_PIXEL[_kind(image)], *([bounds().picture_pixels] if is_public() else []))
    sizes = [image.size]
    if image.format == "TIFF":  # a tile may be larger than the picture
        tags = getattr(image, "tag_v2", {})
        sizes.append((tags.get(TILEWIDTH, 0), tags.get(TILELENGTH, 0)))
    for width, height in sizes:
        if width * height > most:
            allowed = f"{_kind(image)} files may have {most // 10**6} million"
            raise UnreadableError(f"the image is too large: {width}×{height} pixels, where {allowed}")
        if max(width, height) > MAX_SIDE:
            raise UnreadableError(f"the image is too large: a side of more than {MAX_SIDE} pixels")
    if image.info.get("progression") and (scans := content.count(b"\xff\xda")) > MAX_SCANS:
        raise UnreadableError(f"the image is in too many pieces: {scans} scans of a JPEG file, of which {MAX_SCANS} are read")
    return image


def _kind(image: Image.Image) -> str:
    """Return the key of an open picture in ``BYTES_PER_PIXEL``."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _has_more(image: Image.Image) -> bool:
    """Return whether a decoded file holds more frames or pages than the first."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # of any kind; the first frame is intact
        return False


def picture_content(source: Source) -> bytes:
    """Return the content of a picture file, whatever that is.

    Raises:
        OSError: the file is missing or cannot be read.
        UnreadableError: it is larger than ``MAX_BYTES``, or than a public dashboard allows, or no regular file.
    """
    most = min(MAX_BYTES, bounds().picture_bytes) if is_public() else MAX_BYTES
    if isinstance(source, str | Path):
        return read_regular(Path(source), most)
    content = source.getvalue() if isinstance(source, io.BytesIO) else source
    if len(content) > most:
        raise UnreadableError(f"the image is larger than {most // MEGABYTE} MiB, the limit for such a file")
    return content


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a decoded picture, 1 (upright) if there is none or the tags are damaged."""
    try:
        turned = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        return turned if turned in _UPRIGHT else 1
    except Exception:  # of any kind; the picture itself is intact
        return 1


@contextmanager
def one_error() -> Iterator[None]:
    """Turn whatever Pillow raises on damaged data into a :class:`UnreadableError`."""
    try:
        yield
    except UnreadableError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"the image is too large: more than {MAX_PIXELS // 10**6} million pixels") from error
    except UnidentifiedImageError as error:
        known = ", ".join(BYTES_PER_PIXEL)
        raise UnreadableError(f"not a readable image: it is damaged, or its format is none of {known}") from error
    except Exception as error:  # decoders raise errors of a dozen kinds, and more with every release
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadableError(f"not a readable image: {reason}") from error
