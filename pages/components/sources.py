"""Where a page gets an image from: a model's samples, a dataset, or an upload."""

from __future__ import annotations

import numpy as np
import streamlit as st
from PIL import Image

from pages.components import BOUND
from pages.components.runs import models_by_name, newest_samples
from pipelines.config import DataConfig
from pipelines.data import PRESETS, fit_image, image_column, open_dataset, open_image, resolve, split_names, to_8_bit
from pipelines.images import Pixels, as_pil

GENERATED, DATASET, UPLOAD = "A generated image", "A dataset", "An upload"
UPLOAD_SIDE = 128  # larger uploads are shrunk: the noise of a pixel should be visible


def choose_image(label: str = "Image", suffix: str = "") -> Pixels:
    """Widgets that choose one image; (H, W, C) uint8. Stops the page with a sentence where there is none yet.

    Args:
        label: what the choice is called.
        suffix: what the widgets' keys end in.
    """
    kinds = {GENERATED: _generated, DATASET: _from_dataset, UPLOAD: _uploaded}
    kind = st.segmented_control(label, list(kinds), default=GENERATED, required=True, key=f"source{suffix}", **BOUND)
    try:
        image = kinds[kind](suffix)
    except (ValueError, OSError) as error:
        st.error(f"No image from here: {error}")
        st.stop()
    if image is None:
        st.stop()
    pixels = np.array(image)  # a copy: torch wants to own what it reads
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _generated(suffix: str) -> Image.Image | None:
    """One image of a run's newest sample grid, which is on disk: no network is run for it."""
    runs = {name: run for name, run in models_by_name().items() if run.samples()}
    if not runs:
        st.info("No run with sample grids yet: choose a dataset or upload an image.")
        return None
    run_column, number_column = st.columns([3, 1])
    samples = newest_samples(runs[run_column.selectbox("Run", list(runs), key=f"source_run{suffix}", **BOUND)])
    assert samples is not None
    last = len(samples) - 1
    first = min(int(suffix or 1) - 1, last)  # a second picture is another one
    number = number_column.number_input("Image", 0, last, first, key=f"source_number{suffix}", **BOUND)
    return as_pil(samples[int(number)])


def _from_dataset(suffix: str) -> Image.Image | None:
    name_column, number_column = st.columns([3, 1])
    name = name_column.selectbox(
        "Dataset: a short name, a hub id or a local folder",
        list(PRESETS),
        accept_new_options=True,
        key=f"dataset{suffix}",
        **BOUND,
    )
    number = number_column.number_input("Image", 0, None, int(suffix or 1) - 1, key=f"dataset_image{suffix}", **BOUND)
    return _dataset_image(name, int(number))


@st.cache_data(max_entries=64, show_spinner="Opening the dataset…")
def _dataset_image(name: str, number: int) -> Image.Image:
    import datasets

    config = resolve(DataConfig(data=name))
    splits = open_dataset(name)
    split = splits[split_names(splits, config)[0]]
    column = image_column(split)
    cell = split.cast_column(column, datasets.Image(decode=False))[number % len(split)][column] or {}
    if not (cell.get("bytes") or cell.get("path")):
        raise ValueError(f"no image in row {number % len(split)} of this dataset: choose another one")
    return fit_image(to_8_bit(open_image(cell["bytes"] or cell["path"])), config.image_size or 64, config.fit or "crop")


def _uploaded(suffix: str) -> Image.Image | None:
    file = st.file_uploader(
        "PNG, JPEG, WebP, GIF, BMP or TIFF",
        type=["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"],
        key=f"upload{suffix}",
    )
    if file is None:
        return None
    image = to_8_bit(open_image(file))
    return fit_image(image, min(UPLOAD_SIDE, max(min(image.size), 8)), "crop")
