"""A table of pictures: what its rows and columns stand for is written as text, beside and above them."""

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
    """Pictures in rows and columns, enlarged by the browser with nearest neighbour.

    Args:
        columns: what the columns are called; empty names for none.
        rows: what each row is called (empty names for none), and its pictures, (H, W, C) of one size, one for each column.
        alt: what the table shows, for screen readers.
        widest: rem that a column has at most.

    Raises:
        ValueError: a row has another number of pictures than there are columns.
    """
    for name, pictures in rows:
        if len(pictures) != len(columns):
            raise ValueError(f"row {name!r} has {len(pictures)} pictures for {len(columns)} columns: give one for each")
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
    size = f"width:100%;aspect-ratio:{width}/{height}"  # its place is kept before it has been read
    return f'<img src="{source}" alt="{escape(alt)}" style="{size}" decoding="sync">'


@lru_cache(maxsize=1024)
def _data_uri(pixels: bytes, shape: tuple[int, ...]) -> str:
    return data_uri(np.frombuffer(pixels, np.uint8).reshape(shape))
