"""Submitting comparisons and drawing them while they grow."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pandas as pd
import streamlit as st

from pages.components.pictures import grid_columns, show_film_strip, show_grid
from pipelines.generation import Comparison, Frame, Generation, GenerationQueue
from pipelines.images import enlarge, gif_bytes, montage, png_bytes
from pipelines.sample import metadata_of, shown_rows

STRIP_ROWS = 11
VIEWS = {"x": "Noisy state x_t", "x0": "Estimate of x0"}


@st.cache_resource
def generation_queue() -> GenerationQueue:
    """The server's one queue: sessions take turns on the device."""
    return GenerationQueue()


def pixels(frame: Frame, view: str) -> np.ndarray:
    """The frame's images in the chosen view, (N, H, W, C)."""
    return frame.x if view == "x" else frame.x0


def draw_progress(comparison: Comparison) -> None:
    """A bar that says what is being done, or waited for."""
    done = sum(column.steps_done for column in comparison.columns)
    total = sum(column.request.steps for column in comparison.columns)
    if comparison.status == "queued":
        position = generation_queue().position(comparison)
        st.progress(0.0, f"Waiting: {position} before you" if position else "Starting: loading the models")
    else:
        st.progress(done / total, f"Denoising: {done} of {total} steps")


def frame_label(frame: Frame, column: Generation) -> str:
    """What a row of the film strip, or a grid, is called."""
    return "sample" if frame.index == column.request.steps else f"t = {frame.timestep:.0f}"


def draw_column(name: str, column: Generation, view: str, index: int) -> None:
    """One model: its cost, all its images at one step, and its film strip.

    Args:
        index: the frame to show; the newest there is if that has not been computed yet.
    """
    st.subheader(name, anchor=False)
    frames = list(column.frames)
    count = column.request.num_images
    channels, height, width = column.image_shape
    blank = np.full((count, height, width, channels), 128, np.uint8)  # holds the place of what is still to come
    shown = frames[min(index, len(frames) - 1)] if frames else None
    images = pixels(shown, view) if shown else blank
    when = frame_label(shown, column) if shown else "waiting for the first step"
    show_grid(images, alt=f"{count} images of {name}: {VIEWS[view]}, {when}")
    st.caption(f"{count} images of seed {column.request.seed}, {grid_columns(count)} a row: {VIEWS[view].lower()}, {when}")
    rows = [frames[row] if row < len(frames) else None for row in shown_rows(len(column.kept_steps), STRIP_ROWS)]
    show_film_strip(
        [pixels(row, view) if row else blank for row in rows],
        [frame_label(row, column) if row else "" for row in rows],
        f"Film strip of {name}",
    )
    st.caption("Film strip. Rows: timesteps, from noise to sample. Columns: images, the same noise for every model.")


def cost_table(names: list[str], comparison: Comparison) -> pd.DataFrame:
    """What each model cost, one row a model."""
    rows = [
        {
            "Model": name,
            "Parameters": f"{column.num_parameters / 1e6:.2f} M",
            "Network calls": column.frames[-1].nfe if column.frames else 0,
            "Seconds": round(column.frames[-1].seconds, 2) if column.frames else 0.0,
            "Images/s": round(column.images_per_second, 1),
        }
        for name, column in zip(names, comparison.columns, strict=True)
    ]
    return pd.DataFrame(rows).set_index("Model")


def comparison_zip(names: list[str], comparison: Comparison) -> bytes:
    """All samples as PNGs with their request inside, a grid for each model, and request.json."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        requests = {}
        for name, column in zip(names, comparison.columns, strict=True):
            metadata = metadata_of(column.run.name, column.fingerprint, column.request)
            requests[name] = metadata
            folder = name.replace("/", "-")
            images = column.frames[-1].x
            for number, image in enumerate(images):
                archive.writestr(f"{folder}/{number:05d}.png", png_bytes(image, metadata | {"image": number}))
            archive.writestr(f"{folder}/grid.png", png_bytes(montage(images, grid_columns(len(images))), metadata))
        archive.writestr("request.json", json.dumps(requests, indent=2))
    return buffer.getvalue()


def comparison_gif(comparison: Comparison, view: str) -> bytes:
    """The denoising of all models side by side, the end held for a moment."""
    length = max(len(column.frames) for column in comparison.columns)
    pictures = []
    for index in range(length):
        sheets = []
        for column in comparison.columns:
            images = pixels(column.frames[min(index, len(column.frames) - 1)], view)
            sheet = enlarge(montage(images, grid_columns(len(images))), max(1, 64 // images.shape[1]))
            sheets.append(np.broadcast_to(sheet, (*sheet.shape[:2], 3)))
        height = max(sheet.shape[0] for sheet in sheets)
        padded = [np.pad(s, ((0, height - s.shape[0]), (0, 12), (0, 0)), constant_values=255) for s in sheets]
        pictures.append(np.concatenate(padded, axis=1))
    return gif_bytes(pictures, [120] * (length - 1) + [1500])
