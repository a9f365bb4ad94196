"""Pixels on a page: enlarged with nearest neighbour, described for screen readers, never jumping in size."""

from __future__ import annotations

import base64
import html

import streamlit as st

from pipelines.images import Pixels, enlarge, film_strip, montage, png_bytes

QUICK = 1  # compression of pictures that are looked at once: half the time, the same size for noise
SHOWN_WIDTH = 1200  # pixels that an enlarged picture has at least, so that the browser only ever shrinks it


def background() -> int:
    """The grey between images that goes with the theme: white, or nearly black."""
    return 16 if st.context.theme.type == "dark" else 255


def grid_columns(count: int) -> int:
    """Columns of a montage that is somewhat wider than high: 60 images are 10 × 6."""
    return max(1, round((count * 5 / 3) ** 0.5))


def show_grid(images: Pixels, alt: str, columns: int | None = None) -> None:
    """A montage of (N, H, W, C) images across the place's width, :func:`grid_columns` a row by default."""
    sheet = montage(images, columns or grid_columns(len(images)), background=background())
    st.image(png_bytes(enlarge(sheet, -(-SHOWN_WIDTH // sheet.shape[1])), compression=QUICK), width="stretch", alt=alt)


def show_image(image: Pixels, alt: str, width: int) -> None:
    """One (H, W, C) image, ``width`` CSS pixels wide."""
    st.image(png_bytes(enlarge(image, max(1, -(-2 * width // image.shape[1]))), compression=QUICK), width=width, alt=alt)


def show_film_strip(rows: list[Pixels], labels: list[str], alt: str) -> None:
    """Rows = timesteps, columns = images, at one image pixel a screen pixel or more; wider strips scroll sideways."""
    strip = film_strip(rows, labels, gap=1, background=background())
    factor = max(1, 40 // rows[0].shape[1])
    data = base64.b64encode(png_bytes(strip, compression=QUICK)).decode()
    st.html(
        f'<div style="overflow-x:auto" tabindex="0" role="region" aria-label="{html.escape(alt)}">'
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" width="{strip.shape[1] * factor}" '
        f'height="{strip.shape[0] * factor}" style="image-rendering:pixelated;max-width:none;display:block"></div>'
    )
