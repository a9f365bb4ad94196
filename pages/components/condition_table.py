"""Tables of samples: one condition per row, and one guidance scale, model or origin per column."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from pages.components import BOUND
from pages.components.downloads import GIF_FRAMES, GIF_PIXELS, GIF_SIDE, comparison_zip, gif_levels, offer_downloads
from pages.components.folded import settings_in_words
from pages.components.generation import (
    VIEWS,
    blank,
    draw_notes,
    draw_progress,
    frame_label,
    frame_of,
    level_name,
    pixels,
    recall,
    show_growing,
    start,
)
from pages.components.picture_table import picture_table
from pages.components.pictures import background
from pages.components.starting import draw_start
from pipelines.common.images import Pixels, enlarge, film_strip, gif_bytes, montage
from pipelines.common.text import literal, shorten
from pipelines.figures.captions import about_samples, sentences
from pipelines.figures.sheet import Row, Sheet
from pipelines.sampling.alignment import frame_at, shared_log_snrs
from pipelines.sampling.generation import Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.sampling.generation import Generation, Wish
    from pipelines.sampling.origins import Origin

ROOM = (1300, 560)  # CSS pixels in which a table shall fit
SMALLEST, LARGEST = 7.0, 20.0  # width of an image in rem, where there is room
LEVEL = "level"  # key of the noise level


@dataclass(frozen=True)
class ConditionTable:
    """Meaning of the cells of a table; cell (i, j) is column i · len(columns) + j of its comparison.

    Attributes:
        rows: the condition of each row, a class or a prompt.
        columns: the varied setting of each column; a single empty name if nothing is varied.
        about: what all cells have in common, for the caption.
        original: the picture that all cells were made from, shown beside them, (H, W, C); None if there is none.
    """

    rows: list[str]
    columns: list[str]
    about: str
    original: Pixels | None = None

    @property
    def names(self) -> list[str]:
        """Names of the cells, row by row."""
        return [", ".join(filter(None, (row, column))) for row in self.rows for column in self.columns]


def settings_of(key: str) -> AbstractContextManager[Any]:
    """Return the place of a table's settings, which folds when there is a result, so that the result is in sight."""
    if st.session_state.pop(f"{key} found", False):
        st.session_state[f"{key} settings"] = False
    return st.expander("Settings", expanded=True, key=f"{key} settings", on_change="rerun")


def start_table(key: str, table: ConditionTable, wishes: Sequence[Wish], problem: str) -> bool:
    """Draw the button that starts a table; show the table at once if it has been generated before.

    Args:
        wishes: its cells, row by row.
        problem: why it cannot be generated, in a sentence; empty if it can.

    Returns:
        Whether the table that is shown, if any, is of other settings.
    """

    def fold() -> None:
        st.session_state[f"{key} settings"] = False
        st.session_state.pop(LEVEL, None)  # other images are seen from their samples

    make = partial(Comparison.of, wishes)
    shown = key in st.session_state
    known = shown and st.session_state[key][1].is_of(wishes)
    if not (known or problem) and recall(key, make, table):
        known = True
        if not shown:  # as when a link is opened: nobody is at the settings
            st.session_state[f"{key} found"] = True
            st.rerun()
    outdated = shown and not known
    unfinished = known and st.session_state[key][1].status in ("cancelled", "failed")
    timed = [] if problem or (known and not unfinished) else wishes
    pressed = draw_start(key, "Generate", timed, make, outdated=outdated, disabled=bool(problem), on_click=fold)
    if pressed and start(key, wishes, table):
        st.rerun()
    return outdated


def show_table(key: str, outdated: bool) -> None:
    """Show the growing table that was started under a key, if one was.

    Args:
        outdated: whether it is of other settings than those that are chosen now.
    """
    if key not in st.session_state:
        return
    table, comparison = st.session_state[key]

    def draw() -> None:
        """Draw the current state of the table."""
        view = st.segmented_control(
            "Show", list(VIEWS), default="x", required=True, format_func=VIEWS.__getitem__, key="view", **BOUND
        )
        level = choose_level(comparison)
        draw_table(table, comparison, view, level)
        st.caption(table_cost(comparison))
        if comparison.status == "done":
            offer_downloads(
                "noisescope-images",
                archive=lambda: comparison_zip(table.names, comparison),
                animation=lambda: table_gif(table, comparison, view),
                sheets={"Table": lambda: table_sheet(table, comparison)},
            )

    with st.container(key="outdated" if outdated else "current"):
        show_growing(comparison, draw)


def choose_level(comparison: Comparison) -> float | None:
    """Show progress and a Cancel button while a comparison grows, then a slider over noise levels, and its notes below.

    Returns:
        The chosen log-SNR, or None (the newest frames) while the comparison grows.
    """
    level, levels = None, shared_log_snrs(comparison.columns)
    if comparison.active:
        draw_progress(comparison)
    elif len(levels) > 1:
        named = {level_name(level): level for level in levels}
        about = "Noise level (log-SNR), from noise to sample"
        level = named[st.select_slider(about, list(named), list(named)[-1], key=LEVEL, **BOUND)]
    draw_notes(comparison, "The frames computed so far are shown; press Generate to start again.")
    return level


def draw_table(table: ConditionTable, comparison: Comparison, view: str, level: float | None) -> None:
    """Draw the samples of all cells at a noise level, or the newest ones for None."""
    count, width = comparison.columns[0].request.num_images, len(table.columns)
    across, rem = fitted(count, width + (table.original is not None), len(table.rows))
    beside = [] if table.original is None else [montage(table.original[None], across, background=background())]
    pictures = [_cell(column, view, level, across) for column in comparison.columns]
    rows = [(name, beside + pictures[start * width : (start + 1) * width]) for start, name in enumerate(table.rows)]
    picture_table(["original"] * len(beside) + table.columns, rows, "Generated images", widest=rem * across)
    shown = [(frame_of(column, level), column) for column in comparison.columns]  # columns may start at different levels
    labels = dict.fromkeys(frame_label(frame, column) for frame, column in shown if frame)
    when = "" if list(labels) == ["sample"] else f"; {', '.join(labels) or 'waiting for the first step'}"
    parts = ["Rows: conditions. "] * any(table.rows) + ["Columns: settings. "] * any(table.columns)
    st.caption(f"{literal(shared_settings(comparison))}. {''.join(parts)}{table.about}{when}.")


def shared_settings(comparison: Comparison) -> str:
    """Return the settings that all cells of a table have in common, in one line."""
    told = [settings_in_words(column.run.name, column.request) for column in comparison.columns]
    return " · ".join(text for name, text in told[0].items() if text and all(one[name] == text for one in told))


def fitted(count: int, columns: int, rows: int) -> tuple[int, float]:
    """Return how many of a cell's images stand side by side so that they are as large as the room allows, and how large.

    Args:
        count: images in a cell.
        columns, rows: of the table.

    Returns:
        The number of images in a row of a cell, and the maximum width of an image in rem.
    """

    def side(across: int) -> float:
        return min(ROOM[0] / (columns * across), ROOM[1] / (rows * math.ceil(count / across)))

    across = max(range(1, count + 1), key=lambda number: (side(number), number))
    return across, min(max(side(across) / 16, SMALLEST), LARGEST)


def table_cost(comparison: Comparison) -> str:
    """Return the cost of all cells so far, in one line."""
    images = sum(column.request.num_images for column in comparison.columns)
    seconds = sum(column.seconds for column in comparison.columns)
    calls = sum(column.nfe * column.request.num_images for column in comparison.columns)
    fewest, most = (end(column.nfe for column in comparison.columns) for end in (min, max))
    once: dict[Origin, int] = {}  # cells that share an origin compute it once
    for column in comparison.columns:
        once[column.origin] = max(column.origin_nfe, once.get(column.origin, 0))
    calls += sum(once.values())
    made = f"{images} image{'' if images == 1 else 's'}"
    spread = f" ({fewest} to {most})" if fewest != most and not any(once.values()) else ""
    return f"{made} · {calls / images:.0f}{spread} network calls per image · {seconds:.1f} s of computation"


def table_gif(table: ConditionTable, comparison: Comparison, view: str) -> bytes:
    """Return a GIF of the whole table during denoising, with labelled rows and a pause on the last frame.

    Large tables have fewer frames, at least the first, a middle one and the last.
    """
    width = len(table.columns)
    images, side = sum(column.request.num_images for column in comparison.columns), comparison.columns[0].image_shape[1]
    pictures = []
    for level in gif_levels(comparison, max(3, min(GIF_FRAMES, GIF_PIXELS // (images * max(GIF_SIDE, side) ** 2)))):
        frames = [frame_at(column.frames, level) for column in comparison.columns]
        cells = [pixels(frame, view) for frame in frames]
        sheets = [enlarge(montage(images, gap=1), max(1, GIF_SIDE // images.shape[1])) for images in cells]
        rows = [np.stack(sheets[start : start + width]) for start in range(0, len(sheets), width)]
        pictures.append(film_strip(rows, [shorten(row, 28) for row in table.rows], gap=6))
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])


def table_sheet(table: ConditionTable, comparison: Comparison) -> Sheet:
    """Describe the whole table of samples for paper."""
    width = len(table.columns)
    cells = [montage(column.frames[-1].x, gap=1) for column in comparison.columns]
    rows = tuple(Row(name, cells[start * width : (start + 1) * width]) for start, name in enumerate(table.rows))
    titles = tuple(table.columns) if any(table.columns) else ()
    scales = {column.request.guidance for column in comparison.columns}
    scale = scales.pop() if len(scales) == 1 else 1.0  # otherwise the columns tell it, as the rows tell the conditions
    told: dict[str, Any] = {"label": None, "prompt": (), "guidance": scale}
    made = (about_samples(one.run.name, one.fingerprint, replace(one.request, **told)) for one in comparison.columns)
    return Sheet(rows, width, titles, sentences([table.about, *dict.fromkeys(made)]))


def _cell(column: Generation, view: str, level: float | None, across: int) -> Pixels:
    frame = frame_of(column, level)
    images = pixels(frame, view) if frame else blank(column.request.num_images, column.image_shape)
    return montage(images, across, background=background())
