"""Images as arrays: uint8 conversion, montages, PNG with metadata, GIF, MP4. No torch needed."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from .extras import require_extra
from .json_files import parse_json
from .picture_files import Source, picture_text

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]  # (..., H, W, C), C = 1 or 3
PALETTE_PIXELS = 2**14  # of a GIF's frame, from which its colours are chosen
REQUEST_KEY = "noisescope"  # the PNG text chunk that carries the request


def as_input(images: Tensor) -> Tensor:
    """Convert uint8 images of any shape to network inputs: float32 in [−1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Pixels:
    """Convert (B, C, H, W) in [−1, 1] (clipped) to (B, H, W, C) uint8."""
    scaled = ((x.detach().float() + 1) * 127.5).round().clamp(0, 255)
    return scaled.byte().permute(0, 2, 3, 1).cpu().numpy()


def montage(images: Pixels, columns: int | None = None, gap: int = 2, background: int = 255) -> Pixels:
    """Arrange (N, H, W, C) images row by row in one image of ``columns`` columns (about square by default)."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, np.uint8)
    for index, image in enumerate(images):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def split_montage(sheet: Pixels, height: int, width: int, count: int, gap: int = 2) -> Pixels:
    """Split what :func:`montage` arranged into its images: (count, height, width, C).

    Raises:
        ValueError: the montage holds fewer images of that size.
    """
    columns = (sheet.shape[1] - gap) // (width + gap)
    rows = (sheet.shape[0] - gap) // (height + gap)
    if count > columns * rows:
        size = f"{sheet.shape[1]}×{sheet.shape[0]}"
        raise ValueError(f"a montage of {size} pixels does not hold {count} images of {width}×{height}")
    whole = sheet[gap : gap + rows * (height + gap), gap : gap + columns * (width + gap)]
    cells = whole.reshape(rows, height + gap, columns, width + gap, -1).swapaxes(1, 2)
    return cells.reshape(rows * columns, height + gap, width + gap, -1)[:count, :height, :width]


def enlarge(image: Pixels, factor: int) -> Pixels:
    """Repeat every pixel ``factor`` times in both directions: (H, W, C) -> (factor·H, factor·W, C)."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


@cache
def _heat_colours() -> Pixels:
    """Return a colour map from dark to bright that suits colour-blind viewers too: (256, 3)."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    shades = sample_colorscale("Inferno", np.linspace(0, 1, 256))
    return np.array([unlabel_rgb(shade) for shade in shades]).round().astype(np.uint8)


def heat(values: Pixels) -> Pixels:
    """Map (…, 1) uint8 values to colours, (…, 3): 0 is black, 255 nearly white."""
    return _heat_colours()[values[..., 0]]


def as_pil(image: Pixels) -> Image.Image:
    """Convert (H, W, C) uint8 to a PIL image, grey for one channel."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def place_on_canvas(picture: Pixels, share: float, across: float, down: float) -> tuple[Pixels, Pixels]:
    """Shrink an image onto a canvas of its old size, and mask the rest of the canvas (for outpainting).

    Args:
        picture: (H, W, C) uint8.
        share: fraction of the canvas's side that the image covers, in (0, 1].
        across, down: position of the image, from 0 (left, top) to 1 (right, bottom).

    Returns:
        The (H, W, C) uint8 canvas, grey around the image, and the (H, W, 1) uint8 mask, white there.
    """
    height, width, channels = picture.shape
    sides = max(1, round(share * width)), max(1, round(share * height))
    small = as_pil(picture).resize(sides, Image.Resampling.LANCZOS)
    corner = round(across * (width - small.width)), round(down * (height - small.height))
    canvas, mask = Image.new(small.mode, (width, height), (128,) * channels), Image.new("L", (width, height), 255)
    canvas.paste(small, corner)
    mask.paste(0, (*corner, corner[0] + small.width, corner[1] + small.height))
    return np.array(canvas).reshape(picture.shape), np.array(mask)[..., None]


def png_bytes(image: Pixels, request: dict[str, Any] | None = None, compression: int = 6) -> bytes:
    """Encode a PNG file with ``request`` as JSON in its metadata; ``compression`` is from 1 (fast) to 9 (small)."""
    text = PngInfo()
    if request is not None:
        text.add_itxt(REQUEST_KEY, json.dumps(request, ensure_ascii=False))
    buffer = io.BytesIO()
    as_pil(image).save(buffer, "PNG", pnginfo=text, compress_level=compression)
    return buffer.getvalue()


def read_request(source: Source) -> dict[str, Any] | None:
    """Return the request in a PNG's metadata, or None if there is none.

    Raises:
        UnreadableError: the file is not a readable picture, or its request is not valid JSON.
    """
    text = picture_text(source, REQUEST_KEY)
    return parse_json(text, "the request in this picture") if text else None


def gif_bytes(frames: Iterable[Pixels], milliseconds: int | Sequence[int] = 120) -> bytes:
    """Encode (H, W, C) frames as an endlessly looping GIF."""
    pictures = (_with_palette(as_pil(frame)) for frame in frames)
    buffer = io.BytesIO()
    next(pictures).save(buffer, "GIF", save_all=True, append_images=pictures, duration=milliseconds, loop=0)
    return buffer.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """Reduce a colour image to 256 colours, chosen from PALETTE_PIXELS of its pixels, because from all it would be slow."""
    if image.mode == "L":
        return image
    every = max(1, math.isqrt(image.width * image.height // PALETTE_PIXELS))
    palette = Image.fromarray(np.asarray(image)[::every, ::every].copy()).quantize()
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def mp4_bytes(frames: Iterable[Pixels], frames_per_second: int = 8) -> bytes:
    """Encode (H, W, C) frames as an MP4 video (H.264, yuv420p, which every player supports).

    Colour is stored for blocks of 2×2 pixels, so enlarge small images by an even factor first. If the height or width is odd,
    the last row or column is repeated.
    """
    require_extra("video")
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as video:
        stream = None
        for frame in frames:
            height, width, _ = frame.shape
            picture = np.pad(np.broadcast_to(frame, (height, width, 3)), ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            if stream is None:
                stream = video.add_stream("libx264", frames_per_second, options={"crf": "14"})
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is not None:
            video.mux(stream.encode())
    return buffer.getvalue()


def film_strip(rows: Sequence[Pixels], labels: Sequence[str], gap: int = 2, background: int = 255) -> Pixels:
    """Arrange rows of (N, H, W, C) images in one (H', W', C) image, each row labelled at its left edge."""
    count, height, _, channels = rows[0].shape
    sheet = montage(np.concatenate(rows), columns=count, gap=gap, background=background)
    font = ImageFont.load_default(size=min(12, max(8, height // 2)))
    margin = max(int(font.getlength(label)) for label in labels) + 10
    gutter = Image.new("L", (margin, sheet.shape[0]), background)
    draw = ImageDraw.Draw(gutter)
    for row, label in enumerate(labels):
        middle = gap + row * (height + gap) + height // 2
        draw.text((margin - 4, middle), label, font=font, fill=0 if background > 127 else 255, anchor="rm")
    left = np.repeat(np.asarray(gutter)[..., None], channels, axis=2)
    return np.concatenate([left, sheet], axis=1)


def add_titles(picture: Pixels, titles: Sequence[str], size: int = 14) -> Pixels:
    """Put a line of titles above an image, each centred in an equal share of the width: (H + 2·size, W, C)."""
    width, channels = picture.shape[1:]
    line = Image.new("L", (width, 2 * size), 255)
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(size=size)
    for number, title in enumerate(titles):
        draw.text(((number + 0.5) * width / len(titles), size), title, font=font, fill=0, anchor="mm")
    return np.concatenate([np.repeat(np.asarray(line)[..., None], channels, axis=2), picture])
