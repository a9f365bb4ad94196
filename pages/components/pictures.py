"""Images on a page: sent at their own size, enlarged by the browser to whole screen pixels, described for screen readers."""

from __future__ import annotations

import base64
import hashlib

import streamlit as st

from pages.components import frontend
from pipelines.common.images import Pixels, montage, png_bytes

QUICK = 1  # PNG compression level of pictures shown once: half the time, and noise compresses no worse

_sharp_images = frontend.component("sharp_images")


def keep_images_sharp() -> None:
    """Enlarge all small images of the page by whole factors, also those that come later (see frontend/sharp_images.js)."""
    with st.container(key="sharp-images"):
        _sharp_images(key="sharp_images")


def background() -> int:
    """Return the grey level between images for the theme: white, or nearly black."""
    return 16 if st.context.theme.type == "dark" else 255


def grid_columns(count: int) -> int:
    """Return the number of columns of a montage slightly wider than high: 10 for 60 images."""
    return max(1, round((count * 5 / 3) ** 0.5))


def grid_png(images: Pixels, grey: int, columns: int | None = None) -> bytes:
    """Return a montage of (N, H, W, C) images as PNG; :func:`grid_columns` by default."""
    sheet = montage(images, columns or grid_columns(len(images)), background=grey)
    return _png(digest_of(sheet), sheet)


@st.cache_data(max_entries=64, show_spinner=False)
def _png(digest: str, _image: Pixels) -> bytes:
    """Encode an image once, for as long as pages show it."""
    return png_bytes(_image, compression=QUICK)


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
    show_png(grid_png(images, background(), columns), alt)


def show_image(image: Pixels, alt: str, width: int) -> None:
    """Show one (H, W, C) image, up to ``width`` CSS pixels wide."""
    with st.container(width=width):
        show_png(_png(digest_of(image), image), alt)
