"""A table of pictures with text labels for its rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape

import numpy as np
import streamlit as st

from pages.components import frontend
from pages.components.pictures import data_uri
from pipelines.common.images import Pixels


def picture_table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Pixels]]], alt: str, widest: float = 16.0) -> None:
    """Show pictures in rows and columns, enlarged by the browser (see :func:`pages.components.pictures.keep_images_sharp`).

    Args:
        columns: names of the columns; empty strings for no header.
        rows: name (may be empty) and pictures of each row, one picture per column, (H, W, C), all of one size.
        alt: description of the table for screen readers.
        widest: maximum width of a column in rem.

    Raises:
        ValueError: the number of pictures in a row differs from the number of columns.
    """
    for name, pictures in rows:
        if len(pictures) != len(columns):
            raise ValueError(f"row {name!r} has {len(pictures)} pictures for {len(columns)} columns: give one per column")
    named = any(name for name, _ in rows)
    parts = [f"<style>{frontend.text('picture_table.css')}</style>"]
    parts.append(f'<div class="picture-table{"" if named else " unnamed"}" role="table" aria-label="{escape(alt)}" ')
    parts.append(f'style="--columns:{len(columns)};--widest:{widest}rem">')
    if any(columns):
        heads = "".join(f'<div role="columnheader">{escape(name)}</div>' for name in columns)
        corner = '<div class="corner" role="columnheader"></div>' if named else ""
        parts.append(f'<div role="row">{corner}{heads}</div>')
    for name, pictures in rows:
        parts.append('<div role="row">' + (f'<div role="rowheader">{escape(name)}</div>' if named else ""))
        for column, picture in zip(columns, pictures, strict=True):
            parts.append(f'<div role="cell">{_image(picture, f"{name}, {column}".strip(", "))}</div>')
        parts.append("</div>")
    st.html("".join([*parts, "</div>"]))


def _image(picture: Pixels, alt: str) -> str:
    height, width, _ = picture.shape
    source = _data_uri(picture.tobytes(), picture.shape)
    size = f'width="{width}" height="{height}"'  # of which it reserves a whole multiple before it is decoded
    return f'<img src="{source}" alt="{escape(alt)}" {size} decoding="sync">'


@lru_cache(maxsize=1024)
def _data_uri(pixels: bytes, shape: tuple[int, ...]) -> str:
    return data_uri(np.frombuffer(pixels, np.uint8).reshape(shape))
