"""Pixels on a page: enlarged with nearest neighbour, described for screen readers, never jumping in size."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from pipelines.common.images import Pixels, enlarge, film_strip, montage, png_bytes, shrink

QUICK = 1  # compression of pictures that are looked at once: half the time, the same size for noise
SHOWN_WIDTH = 1460  # pixels that an enlarged picture has at most; Streamlit would blur a wider one down to this
STRIP_SIDE = 64  # pixels that an image is wide in a film strip at most: 60 × 11 of 128 would be 30 MB at every look


def background() -> int:
    """The grey between images that goes with the theme: white, or nearly black."""
    return 16 if st.context.theme.type == "dark" else 255


def grid_columns(count: int) -> int:
    """Columns of a montage that is somewhat wider than high: 60 images are 10 × 6."""
    return max(1, round((count * 5 / 3) ** 0.5))


def grid_png(images: Pixels, grey: int, width: int, columns: int | None = None) -> bytes:
    """A montage of (N, H, W, C) images, :func:`grid_columns` a row by default, enlarged to at most ``width`` pixels."""
    sheet = montage(images, columns or grid_columns(len(images)), background=grey)
    return png_bytes(enlarge(sheet, max(1, width // sheet.shape[1])), compression=QUICK)


def data_uri(image: Pixels) -> str:
    """An (H, W, C) image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image, compression=QUICK)).decode()}"


def digest_of(pixels: Pixels) -> str:
    """16 hexadecimal digits that change whenever the pixels or their shape do."""
    return hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()[:16]


def show_png(png: bytes, alt: str) -> None:
    """A picture across the place's width."""
    st.image(png, width="stretch", alt=alt, output_format="PNG")  # it would become a JPEG otherwise


def show_file(file: Path, alt: str) -> None:
    """A picture of few pixels across the place's width."""
    with Image.open(file) as image:
        pixels = np.atleast_3d(np.asarray(image))
    show_png(png_bytes(enlarge(pixels, max(1, SHOWN_WIDTH // pixels.shape[1])), compression=QUICK), alt)


def show_grid(images: Pixels, alt: str, columns: int | None = None) -> None:
    """A montage of (N, H, W, C) images across the place's width."""
    show_png(grid_png(images, background(), SHOWN_WIDTH, columns), alt)


def show_image(image: Pixels, alt: str, width: int) -> None:
    """One (H, W, C) image, ``width`` CSS pixels wide."""
    st.image(
        png_bytes(enlarge(image, max(1, -(-2 * width // image.shape[1]))), compression=QUICK),
        width=width,
        alt=alt,
        output_format="PNG",
    )


def film_strip_png(rows: Sequence[Pixels], labels: Sequence[str], grey: int) -> bytes:
    """Rows = timesteps, columns = images, at one picture pixel an image pixel; those wider than STRIP_SIDE are smaller."""
    factor = -(-rows[0].shape[2] // STRIP_SIDE)
    return png_bytes(film_strip([shrink(row, factor) for row in rows], labels, gap=1, background=grey), compression=QUICK)


def show_film_strip(png: bytes, alt: str, image_width: int) -> None:
    """A film strip at one screen pixel an image pixel or more; what is wider than its place scrolls sideways."""
    width = int.from_bytes(png[16:20], "big")  # a PNG's header begins with its width
    with st.container(key=f"film-strip-{alt}"):  # the key becomes a CSS class
        st.image(png, width=width * max(1, 40 // image_width), alt=alt, output_format="PNG")
