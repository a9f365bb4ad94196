"""The stage: where a comparison is looked at, growing or finished, entirely in the browser.

The server sends small tables about the columns, their frames and the noise levels; the browser fetches the pictures (see
:mod:`pages.components.sheets`), arranges, plays and compares them without asking the server again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages.components import frontend
from pages.components.address import is_number, tell_unless
from pages.components.generation import VIEWS, activity, comparable, cost, frame_label, level_label, level_name
from pages.components.sheets import sheet_urls
from pages.components.title_mark import title_mark
from pipelines.common.command_line import describe
from pipelines.common.indices import evenly_spaced
from pipelines.common.text import literal
from pipelines.sampling.alignment import aligned_rows, frame_at, shared_log_snrs
from pipelines.sampling.generation import Comparison, Generation

STRIP_ROWS = 11
DIFFERENCES = ("0", "1", "4", "16", "true")  # gains in the address; links of version 0.1 say "true"
ORDERS = ("number", "difference")  # of images, in the address

_component = frontend.component("stage", "controls.css")


def show_stage(titles: Sequence[str], comparison: Comparison, key: str = "stage") -> None:
    """Show a comparison: its images at every noise level, their differences from the first column, and each image by itself.

    The view, the noise level, the order and the open image are in the page's address.

    Args:
        titles: name of each column.
        comparison: a comparison, which may still grow.
        key: key of the component.
    """
    try:
        data = stage_data(titles, comparison)
    except OSError as error:  # the disk of the temporary folder is full, say
        st.error(literal(f"The images cannot be shown: {describe(error)}."))
        return
    _component(
        key=key,
        data=data,
        on_view_change=lambda: None,
        on_cancelled_change=comparison.cancel,
    )
    if comparison.active:
        title_mark(comparison.share_done)


def tell_unused_look(num_images: int) -> None:
    """Note values of the address that only the browser reads and that it does not take; see frontend/stage_look.js."""
    tell_unless("view", VIEWS.__contains__, next(iter(VIEWS)))
    tell_unless("level", lambda level: level in ("noise", "sample") or is_number(level), "sample")
    tell_unless("difference", DIFFERENCES.__contains__, "0")
    tell_unless("order", ORDERS.__contains__, ORDERS[0])
    tell_unless("image", lambda image: image.isdecimal() and int(image[:9]) < num_images, "no open image")


def shown_view(key: str = "stage") -> str:
    """Return the view that the stage shows, one of VIEWS."""
    told = (st.session_state.get(key) or {}).get("view") or st.query_params.get("view")
    return told if told in VIEWS else next(iter(VIEWS))


def stage_data(titles: Sequence[str], comparison: Comparison) -> dict[str, Any]:
    """Return what the browser needs to know of a comparison."""
    columns = comparison.columns
    grown = [list(column.frames) for column in columns]  # other threads append to them
    levels = _common_levels(columns) if all(grown) else []
    strips = _strips(columns)
    return {
        "comparison": _identity(comparison),
        "activity": activity(comparison) if comparison.active else "",
        "done": comparison.share_done,
        "columns": [
            _column(title, column, columns[0]) | {"strip": list(strip)}
            for title, column, strip in zip(titles, columns, strips, strict=True)
        ],
        "levels": [
            {
                "name": level_name(level),
                "label": level_label(level) if math.isinf(level) else f"log-SNR {level_label(level)}",
                "frames": [frames.index(frame_at(frames, level)) for frames in grown],
            }
            for level in levels
        ],
    }


def _identity(comparison: Comparison) -> str:
    wishes = [(str(column.run.path), column.request) for column in comparison.columns]
    return hashlib.sha256(repr(wishes).encode()).hexdigest()[:16]


def _common_levels(columns: Sequence[Generation]) -> list[float]:
    """Return the noise levels that every column has reached: beyond them, images of unequal noise would be compared."""
    reached = min(column.frames[-1].log_snr for column in columns)
    return [level for level in shared_log_snrs(columns) if level <= reached]


def _strips(columns: Sequence[Generation]) -> Sequence[Sequence[int]]:
    """Return the indices of the frames in each column's film strip, whose rows are noise levels; −1 for gaps."""
    if not all(column.log_snrs for column in columns):  # computing has not started
        return [evenly_spaced(len(column.kept_steps), STRIP_ROWS).tolist() for column in columns]
    levels = (tuple((*column.log_snrs, math.inf)[step] for step in column.kept_steps) for column in columns)
    return aligned_rows(tuple(levels), STRIP_ROWS)


def _column(title: str, column: Generation, first: Generation) -> dict[str, Any]:
    frames, others = list(column.frames), list(first.frames)
    _, height, width = column.image_shape
    return {
        "title": title,
        "cost": cost(column),
        "count": column.request.num_images,
        "width": width,
        "height": height,
        "latents": column.of_latents,
        "incomparable": {view: _why_incomparable(column, first, view) for view in VIEWS},
        "frames": [
            {
                "label": frame_label(frame, column),
                "level": level_name(frame.log_snr),
                "first": others.index(frame_at(others, frame.log_snr)) if others else -1,
                **sheet_urls(frame),
            }
            for frame in frames
        ],
    }


def _why_incomparable(column: Generation, first: Generation, view: str) -> str:
    """Return why a column has no difference from the first in a view, in a sentence; empty if it has one."""
    if comparable(first, column, view):
        return ""
    if column.image_shape != first.image_shape:
        sizes = [f"{height}×{width}×{channels}" for channels, height, width in (column.image_shape, first.image_shape)]
        return f"No difference: images of {sizes[0]} are not comparable with the first column's of {sizes[1]}."
    if column.request.num_images != first.request.num_images:
        return "No difference: this column has another number of images than the first."
    return "No difference: these states are not in the first column's space, pixels or the latents of one autoencoder."
