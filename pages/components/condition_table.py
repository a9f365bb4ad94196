"""Tables of samples: one condition per row, and one guidance scale, model or origin per column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from pages.components import BOUND
from pages.components.downloads import GIF_FRAMES, GIF_PIXELS, GIF_SIDE, comparison_zip, gif_levels, offer_downloads
from pages.components.generation import (
    VIEWS,
    blank,
    follow,
    frame_label,
    frame_of,
    pixels,
    show_growing,
)
from pages.components.picture_table import picture_table
from pages.components.pictures import background
from pages.components.requests import choose_guidance, follow_model
from pipelines.common.images import Pixels, enlarge, film_strip, gif_bytes, montage
from pipelines.common.text import lines_of
from pipelines.sampling.alignment import frame_at, shared_log_snrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.sampling.generation import Comparison, Generation
    from pipelines.sampling.origins import Origin
    from pipelines.storage.catalogue import Listed
    from pipelines.storage.config import ConditionConfig

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
USUAL_SCALES = (1.0, 2.0, 4.0, 8.0)
STANDARD, SCALED, MODELS, GUIDED = "Without and with guidance", "Guidance scales", "Models", "Guided only"
MOST_IMAGES = 400
MOST_ACROSS = 16  # images in a row of the whole table
LONGEST_NAME = 120  # characters of a prompt shown beside its row


@dataclass(frozen=True)
class ConditionTable:
    """Meaning of the cells of a table; cell (i, j) is column i · len(columns) + j of its comparison.

    Attributes:
        rows: the condition of each row, a class or a prompt.
        columns: the varied setting of each column; a single empty name if nothing is varied.
        about: what all cells have in common, for the caption.
    """

    rows: list[str]
    columns: list[str]
    about: str

    @property
    def names(self) -> list[str]:
        """Names of the cells, row by row."""
        return [", ".join(filter(None, (row, column))) for row in self.rows for column in self.columns]


def choose_rows(condition: ConditionConfig) -> list[tuple[str, dict[str, Any]]]:
    """Draw widgets for the conditions; return the name of each row and its fields of a request."""
    if condition.classes:
        classes = list(condition.classes)
        follow_model("classes", classes[:10], classes)
        chosen = st.multiselect("Classes", classes, classes[:10], wrap=True, key="classes", **BOUND)
        return [(name, {"label": name}) for name in chosen]
    examples = condition.examples
    some = [examples[i] for i in np.linspace(0, len(examples) - 1, min(4, len(examples))).round().astype(int)]
    follow_model("prompts", "\n".join(some))
    text = st.text_area("Prompts, one per line", "\n".join(some), key="prompts", height=122, **BOUND)
    prompts = lines_of(text) or [""]
    return [(_short(prompt) or "empty prompt", {"prompt": (prompt,)}) for prompt in dict.fromkeys(prompts)]


def choose_columns(name: str, models: Mapping[str, Listed]) -> list[tuple[str, str, dict[str, Any]]]:
    """Draw widgets for what to vary; return the name, the model and the request fields of each column.

    Args:
        name: name of the model.
        models: models with the same conditions and image size, itself included.
    """
    config = models[name].config
    if config.network.always_conditional:
        st.caption("This model has no class that stands for none, so it cannot be guided.")
        chosen = [name]
        if len(models) > 1:
            chosen = st.multiselect("Models", list(models), [name], wrap=True, key="unguided", **BOUND)
        return [(model if len(chosen) > 1 else "", model, {"guidance": 1.0}) for model in chosen]
    kinds = [STANDARD, SCALED, MODELS, GUIDED] if len(models) > 1 else [STANDARD, SCALED, GUIDED]
    kind = st.pills("Compare", kinds, default=STANDARD, required=True, wrap=True, key="vary", **BOUND)
    if kind == SCALED:
        scales = st.multiselect(
            "Guidance scales", SCALES, USUAL_SCALES, format_func="{:g}".format, wrap=True, key="scales", **BOUND
        )
        return [(f"guidance {scale:g}", name, {"guidance": scale}) for scale in sorted(scales)]
    chosen = [name]
    if kind == MODELS:
        chosen = st.multiselect("Models", list(models), list(models)[:4], wrap=True, key="models", **BOUND)
    guidance = choose_guidance(config)
    if kind == STANDARD:
        return [
            ("no guidance (scale 1)", name, {"guidance": 1.0}),
            (f"guidance {guidance:g}", name, {"guidance": guidance}),
        ]
    return [(model if kind == MODELS else "", model, {"guidance": guidance}) for model in chosen]


def same_conditions(name: str, models: Mapping[str, Listed]) -> dict[str, Listed]:
    """Return the models with the same conditions and image size as the named one, itself first."""

    def kind(model: Listed) -> object:
        config = model.config
        network = config.network
        return network.takes, network.always_conditional, config.condition.classes, config.image_shape

    own = kind(models[name])
    return {name: models[name]} | {other: model for other, model in models.items() if kind(model) == own}


def too_many(rows: int, columns: int, num_images: int) -> str:
    """Return why a table of this size cannot be generated, in a sentence; empty if it can."""
    total = rows * columns * num_images
    if not total:
        return f"Nothing is chosen for the {'columns' if rows else 'rows'} of the table: choose at least one value."
    if total > MOST_IMAGES:
        return (
            f"This would generate {total} images: choose fewer rows, columns or images per cell, at most {MOST_IMAGES} in all."
        )
    return ""


def show_table(key: str) -> None:
    """Show the growing table that was started under a key (see :func:`pages.components.generation.start`), or how to start."""
    if key not in st.session_state:
        st.info("Press **Generate** to start.", icon=":material/arrow_upward:")
        return
    table, comparison = st.session_state[key]

    def draw() -> None:
        """Draw the current state of the table."""
        levels = shared_log_snrs(comparison.columns)
        view = st.segmented_control(
            "Show", list(VIEWS), default="x", required=True, format_func=VIEWS.__getitem__, key="view", **BOUND
        )
        level = follow(comparison, levels)
        draw_table(table, comparison, view, level)
        st.caption(table_cost(comparison))
        if comparison.status == "done":
            offer_downloads(
                "noisescope-images",
                archive=lambda: comparison_zip(table.names, comparison),
                animation=lambda: table_gif(table, comparison, view),
            )

    show_growing(comparison, draw)


def draw_table(table: ConditionTable, comparison: Comparison, view: str, level: float | None) -> None:
    """Draw the samples of all cells at a noise level, or the newest ones for None."""
    count = comparison.columns[0].request.num_images
    lines = math.ceil(count * len(table.columns) / MOST_ACROSS)  # rows of images in a cell
    across = math.ceil(count / lines)
    pictures = [_cell(column, view, level, across) for column in comparison.columns]
    width = len(table.columns)
    rows = [(name, pictures[start * width : (start + 1) * width]) for start, name in enumerate(table.rows)]
    picture_table(table.columns, rows, "Generated images", widest=7 * across)
    shown = [(frame_of(column, level), column) for column in comparison.columns]  # columns may start at different levels
    labels = dict.fromkeys(frame_label(frame, column) for frame, column in shown if frame)
    when = ", ".join(labels) or "waiting for the first step"
    parts = ["Rows: conditions. "] * any(table.rows) + ["Columns: settings. "] * any(table.columns)
    st.caption(f"{''.join(parts)}{table.about}; {when}.")


def table_cost(comparison: Comparison) -> str:
    """Return the cost of all cells so far, in one line."""
    images = sum(column.request.num_images for column in comparison.columns)
    seconds = sum(column.seconds for column in comparison.columns)
    calls = sum(column.nfe * column.request.num_images for column in comparison.columns)
    once: dict[Origin, int] = {}  # cells that share an origin compute it once
    for column in comparison.columns:
        once[column.origin] = max(column.origin_nfe, once.get(column.origin, 0))
    calls += sum(once.values())
    made = f"{images} image{'' if images == 1 else 's'}"
    return f"{made} · {calls / images:.0f} network calls per image · {seconds:.1f} s of computation"


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
        pictures.append(film_strip(rows, [_short(row, 28) for row in table.rows], gap=6))
    return gif_bytes(pictures, [120] * (len(pictures) - 1) + [1500])


def _cell(column: Generation, view: str, level: float | None, across: int) -> Pixels:
    frame = frame_of(column, level)
    images = pixels(frame, view) if frame else blank(column.request.num_images, column.image_shape)
    return montage(images, across, background=background())


def _short(text: str, letters: int = LONGEST_NAME) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
