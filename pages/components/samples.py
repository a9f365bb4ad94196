"""The sample grids that runs saved during training, on a slider that works in the browser."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from pages.components import BOUND, frontend
from pages.components.address import tell_unless
from pages.components.pictures import data_uri
from pages.components.runs import RECONSTRUCTED, grid_images, is_autoencoder, warn_of_samples
from pipelines.common.images import Pixels, montage
from pipelines.common.indices import evenly_spaced
from pipelines.storage.catalogue import Listed
from pipelines.storage.config import RunConfig
from pipelines.storage.files import is_file

STEP = "grid_step"  # in the address
NEWEST = "newest"  # in place of a step, also when newer samples come
SENT = 16  # images of a grid, unless all are asked for
MOST_PIXELS = 6_000_000  # that are sent; of longer trainings, fewer steps are shown
FEW = 3  # rows that have room for two lines of images

_component = frontend.component("samples", "controls.css")


def show_samples(chosen: Mapping[str, Listed]) -> None:
    """Show a slider over training steps and, for every run, its newest grids up to the chosen step."""
    files = _files(chosen)
    if not files:
        st.info("No samples yet.")
        return
    most = max(chosen[name].config.log.sample_images for _, name in files)
    every = most > SENT and st.toggle(f"All {most} images", key="all_samples", **BOUND)
    shapes = [chosen[name].config.image_shape or (1, 1, 1) for _, name in files]
    pixels = (most if every else SENT) * sum(math.prod(shape[1:]) for shape in shapes)
    steps = sorted({step for grids in files.values() for step in grids})
    steps = [steps[index] for index in evenly_spaced(len(steps), max(2, MOST_PIXELS // pixels))]
    rows = [row for (label, name), grids in files.items() if (row := _row(label, chosen[name].config, grids, steps, every))]
    if rows:
        tell_unless(STEP, str.isdecimal, NEWEST)
        wanted = st.query_params.get(STEP, "")
        lines = 0 if every else 2 if len(rows) <= FEW else 1
        data = {"steps": steps, "start": int(wanted) if wanted.isdecimal() else None, "rows": rows, "lines": lines}
        state = _component(key="samples", data=data, on_step_change=lambda: None)
        if state.step == NEWEST:
            st.query_params.pop(STEP, None)
        elif state.step is not None:
            st.query_params[STEP] = state.step
    about = "Samples start from the same noise in every run and at every step."
    if any(is_autoencoder(chosen[name].config) for _, name in files):
        about += f" Of an autoencoder: {RECONSTRUCTED}."
    st.caption(about)


def _files(chosen: Mapping[str, Listed]) -> dict[tuple[str, str], dict[int, Path]]:
    """Return the files of the grids by step, for each row: its label and its run, whose raw weights have a row of their own."""
    files = {}
    for name, listed in chosen.items():
        try:
            grids = listed.run.samples()
        except OSError as error:
            warn_of_samples(name, error)
            continue
        raw = {step: file.with_name(f"{file.stem}-raw.png") for step, file in grids.items()}
        files[name, name] = grids
        files[f"{name}, raw weights", name] = {step: file for step, file in raw.items() if is_file(file)}
    return {row: grids for row, grids in files.items() if grids}


def _row(label: str, config: RunConfig, files: Mapping[int, Path], steps: list[int], every: bool) -> dict[str, Any] | None:
    """Return a row of the component, or None after saying why no grid can be shown."""
    reached = {max(own) for step in steps if (own := [at for at in files if at <= step])}
    grids, shape = [], None
    for step in sorted(reached):
        try:
            source, shape = _sheet(config, files[step], every)
        except (ValueError, OSError) as error:
            warn_of_samples(f"{label}, step {step}", error)
            continue
        grids.append({"step": step, "source": source})
    if shape is None:
        return None
    images, height, width = shape
    return {"label": label, "width": width, "height": height, "images": images, "grids": grids}


def _sheet(config: RunConfig, file: Path, every: bool) -> tuple[str, tuple[int, int, int]]:
    """Return the images of a grid in a square as a data URI, their number, height and width.

    Raises:
        ValueError, OSError: the picture cannot be read.
    """
    images = grid_images(config, file)[: None if every else SENT]
    count, height, width, _ = images.shape
    return _encoded(os.fsencode(file), file.stat().st_mtime_ns, count, images), (count, height, width)


@st.cache_data(max_entries=1000, show_spinner=False)
def _encoded(file: bytes, modified: int, count: int, _images: Pixels) -> str:
    return data_uri(montage(_images, gap=0))
