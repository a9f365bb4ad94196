"""Images on a page: enlarged with nearest neighbour, described for screen readers, stable in size."""

from __future__ import annotations

import base64
import hashlib

import streamlit as st

from pipelines.common.images import Pixels, enlarge, montage, png_bytes

QUICK = 1  # PNG compression level of pictures shown once: half the time, and noise compresses no worse
SHOWN_WIDTH = 1460  # maximum width of an enlarged picture in pixels; Streamlit would shrink and blur wider ones


def background() -> int:
    """Return the grey level between images for the theme: white, or nearly black."""
    return 16 if st.context.theme.type == "dark" else 255


def grid_columns(count: int) -> int:
    """Return the number of columns of a montage slightly wider than high: 10 for 60 images."""
    return max(1, round((count * 5 / 3) ** 0.5))


def grid_png(images: Pixels, grey: int, width: int, columns: int | None = None) -> bytes:
    """Return a montage of (N, H, W, C) images as PNG, enlarged to at most ``width`` pixels; :func:`grid_columns` by default."""
    sheet = montage(images, columns or grid_columns(len(images)), background=grey)
    return _enlarged_png(digest_of(sheet), max(1, width // sheet.shape[1]), sheet)


@st.cache_data(max_entries=64, show_spinner=False)
def _enlarged_png(digest: str, factor: int, _image: Pixels) -> bytes:
    """Encode an enlarged image, once for as long as pages show it: that takes 50 ms for one as wide as a page."""
    return png_bytes(enlarge(_image, factor), compression=QUICK)


def data_uri(image: Pixels) -> str:
    """Return an (H, W, C) image as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image, compression=QUICK)).decode()}"


def digest_of(pixels: Pixels) -> str:
    """Return 16 hexadecimal digits that identify the pixels and their shape."""
    return hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()[:16]


def show_png(png: bytes, alt: str) -> None:
    """Show a picture across the width of its container."""
    st.image(png, width="stretch", alt=alt, output_format="PNG")  # Streamlit would convert it to JPEG otherwise


def show_grid(images: Pixels, alt: str, columns: int | None = None) -> None:
    """Show a montage of (N, H, W, C) images across the width of its container."""
    show_png(grid_png(images, background(), SHOWN_WIDTH, columns), alt)


def show_image(image: Pixels, alt: str, width: int) -> None:
    """Show one (H, W, C) image, ``width`` CSS pixels wide."""
    png = _enlarged_png(digest_of(image), max(1, -(-2 * width // image.shape[1])), image)
    st.image(png, width=width, alt=alt, output_format="PNG")
