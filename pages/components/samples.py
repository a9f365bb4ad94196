"""The sample grids that runs saved during training, with what was logged by then, on a player that works in the browser."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from pages.components import BOUND, frontend
from pages.components.address import tell_unless
from pages.components.pictures import data_uri
from pages.components.runs import (
    RECONSTRUCTED,
    condition_of_sample,
    grid_images,
    images_of_grid,
    is_autoencoder,
    warn_of_samples,
)
from pipelines.common.images import Pixels, montage
from pipelines.common.indices import evenly_spaced
from pipelines.evaluation.logged import Log
from pipelines.evaluation.results import UNBIASED
from pipelines.storage.catalogue import Listed
from pipelines.storage.config import RunConfig
from pipelines.storage.files import is_file

PLAYER = "samples"  # which charts follow
STEP, IMAGE = "grid_step", "grid_image"  # in the address
NEWEST = "newest"  # in place of a step, also when newer samples come
SENT = 16  # images of a grid, unless all are asked for
MOST_PIXELS = 6_000_000  # that are sent; of longer trainings, fewer steps are shown
READ_OUT = {  # beside the samples, if logged: titles and formats
    "val_loss": ("Validation loss", "{:.4g}"),
    "psnr": ("PSNR in dB", "{:.4g}"),
    "closer_than_held_out": ("Near training images", "{:.0%}"),
    "kernel_distance": ("Kernel distance", "{:.3g}"),
}

_component = frontend.component("samples", "controls.css")


def show_samples(chosen: Mapping[str, Listed], logs: Sequence[Log]) -> dict[int, dict[str, int]]:
    """Show a player over training steps: for every run its newest grid up to the chosen step, and one image at all steps.

    Returns:
        For each step, which are the frames of the player, the steps of the grids that are shown, by run.
    """
    files = _files(chosen)
    if not files:
        st.info("No samples yet.")
        return {}
    most = max(images_of_grid(chosen[name].config) for _, name in files)
    every = most > SENT and st.toggle(f"All {most} images", key="all_samples", **BOUND)
    shapes = [chosen[name].config.image_shape or (1, 1, 1) for _, name in files]
    pixels = (most if every else SENT) * sum(math.prod(shape[1:]) for shape in shapes)
    steps = sorted({step for grids in files.values() for step in grids})
    steps = [steps[index] for index in evenly_spaced(len(steps), max(2, MOST_PIXELS // pixels))]
    by_name = {log.name: log for log in logs}
    rows = []
    for (label, name), grids in files.items():
        log = by_name.get(name) if label == name else None  # only the averaged weights are validated
        if row := _row(label, chosen[name].config, log, grids, steps, every):
            rows.append(row)
    if rows:
        _show(steps, rows, every)
    about = "Samples start from the same noise in every run and at every step"
    about += "; press one to follow it through training." if len(steps) > 1 else "."
    if any(is_autoencoder(chosen[name].config) for _, name in files):
        about += f" Of an autoencoder: {RECONSTRUCTED}."
    if any("kernel_distance" in log.table for log in logs):
        about += f" {UNBIASED}"
    st.caption(about)
    return {step: {name: own for name in chosen if (own := _shown_at(step, files.get((name, name), {})))} for step in steps}


def _show(steps: list[int], rows: list[dict[str, Any]], every: bool) -> None:
    """Draw the component, which begins with the step and the image in the address and keeps them there."""
    tell_unless(STEP, str.isdecimal, NEWEST)
    tell_unless(IMAGE, str.isdecimal, "the number of an image")
    step, image = (st.query_params.get(name, "")[:9] for name in (STEP, IMAGE))
    lines = 0 if every else 1 if len(rows) > 1 and len(steps) > 1 else 2  # so that the one image at all steps is in sight
    data = {
        "key": PLAYER,
        "steps": steps,
        "start": int(step) if step.isdecimal() else None,
        "image": max(0, int(image) - 1) if image.isdecimal() else 0,
        "rows": rows,
        "lines": lines,
    }
    state = _component(key=PLAYER, data=data, on_step_change=lambda: None, on_image_change=lambda: None)
    if state.step == NEWEST:
        st.query_params.pop(STEP, None)
    elif state.step is not None:
        st.query_params[STEP] = state.step
    if state.image is not None:
        st.query_params[IMAGE] = state.image + 1


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


def _row(
    label: str, config: RunConfig, log: Log | None, files: Mapping[int, Path], steps: list[int], every: bool
) -> dict[str, Any] | None:
    """Return a row of the component, or None after saying why no grid can be shown."""
    reached = {own for step in steps if (own := _shown_at(step, files)) is not None}
    grids, shape = [], None
    for step in sorted(reached):
        try:
            source, shape = _sheet(config, files[step], every)
        except (ValueError, OSError) as error:
            warn_of_samples(f"{label}, step {step}", error)
            continue
        grids.append({"step": step, "source": source, "facts": {} if log is None else _facts(log, step)})
    if shape is None:
        return None
    images, height, width = shape
    shows = [condition_of_sample(config, number) for number in range(images)]
    return {"label": label, "width": width, "height": height, "images": images, "shows": shows, "grids": grids}


def _shown_at(step: int, files: Iterable[int]) -> int | None:
    """Return the newest step up to this one at which there is a grid, or None."""
    return max((own for own in files if own <= step), default=None)


def _facts(log: Log, step: int) -> dict[str, str]:
    """Return what a run had logged by a step, by name, each with its own step if that is another."""
    samples = log.config.log.compared_samples if log.config is not None else None
    of = {"closer_than_held_out": f" of {samples} samples"} if samples else {}
    facts = {}
    for quantity, (title, form) in READ_OUT.items():
        if quantity in log.table:
            known = log.newest(quantity, step)
            facts[title] = "–" if known is None else _in_words(form + of.get(quantity, ""), *known, step)
    return facts


def _in_words(form: str, step: int, value: float, now: int) -> str:
    """Return a value, with the step at which it was logged unless that is ``now``."""
    written = form.format(value).replace("%", "\u00a0%").replace("-", "−")
    return written + f" (step {step:,})" * (step != now)


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
