"""Choosing and describing runs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from pages.components import end_page
from pages.components.pictures import show_grid
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels, split_montage
from pipelines.common.picture_files import open_picture
from pipelines.common.public import without_places
from pipelines.common.text import in_short, literal
from pipelines.evaluation.brief import EVALUATION, file_beside, held_out_loss
from pipelines.storage.catalogue import Catalogue, Listed, read_catalogue
from pipelines.storage.config import RunConfig
from pipelines.storage.layout import PROCESS
from pipelines.storage.processes import at_work
from pipelines.storage.run import Run
from pipelines.storage.runs import reference_to, usual_roots

RECONSTRUCTED = "held-out images, each followed by its reconstruction"  # the content of an autoencoder's grid
NO_MODELS = "No models yet: train one on the Train page."
# The order of the shipped models, here and in the README; others follow by name.
SHIPPED = (
    "flowers-attention-64",
    "flowers-baseline-64",
    "flowers-class-64",
    "flowers-attention-64-student",
    "flowers-baseline-64-student",
    "flowers-latent-text",
    "flowers-text",
    "fashion-class",
    "fashion-text",
    "fashion-attention",
    "fashion-baseline",
    "fashion-attention-student",
    "tiny-imagenet-text",
)

TOLD = 3  # unusable runs that are told at once


def known_runs() -> Catalogue:
    """Return all runs as they are now: the user's own first, those for lessons last."""
    catalogue = read_catalogue()
    own = [name for name, listed in catalogue.runs.items() if is_own(listed.run)]
    last = [name for name, listed in catalogue.runs.items() if is_for_lessons(listed.run)]
    order = [*dict.fromkeys(name for name in (*own, *SHIPPED, *catalogue.runs) if name not in last), *last]
    return replace(catalogue, runs={name: catalogue.runs[name] for name in order if name in catalogue.runs})


def is_own(run: Run) -> bool:
    """Return whether a run is none of those that the project ships."""
    published, lessons, *_ = usual_roots()
    return run.path.parent not in (published, lessons)


def is_for_lessons(run: Run) -> bool:
    """Return whether a run is one of those that only lessons need."""
    _, lessons, *_ = usual_roots()
    return run.path.parent == lessons


def is_diffusion(config: RunConfig) -> bool:
    """Return whether a run is a diffusion model."""
    return config.model == "diffusion"


def is_conditional(config: RunConfig) -> bool:
    """Return whether a run is a class- or text-conditional model."""
    return is_diffusion(config) and config.network.conditional


def is_autoencoder(config: RunConfig) -> bool:
    """Return whether a run is an autoencoder."""
    return config.model == "autoencoder"


def can_be_tuned(config: RunConfig) -> bool:
    """Return whether a run can be fine-tuned or distilled: a diffusion model that was neither imported nor distilled."""
    return is_diffusion(config) and not config.network.imported and not config.is_student


def is_fresh(listed: Listed) -> bool:
    """Return whether there is nothing to see of a run yet: no evaluation and no usual sample grid."""
    run, config = listed.run, listed.config
    try:
        return not os.path.lexists(file_beside(run, EVALUATION)) and max(run.samples(), default=0) < config.log.sample_every
    except OSError:  # said where they are shown
        return True


def settled_first(runs: Mapping[str, Listed]) -> list[str]:
    """Return the names of runs in their order, but first those with something to see."""
    return sorted(runs, key=lambda name: is_fresh(runs[name]))


def in_training(runs: Mapping[str, Listed]) -> list[str]:
    """Return the names of the runs that are being trained now."""
    return [name for name, listed in runs.items() if at_work(listed.run.path / PROCESS)]


def models_to_choose(
    wanted: Callable[[RunConfig], bool] = is_diffusion, hint: str = NO_MODELS, averages: bool = True
) -> dict[str, Listed]:
    """Return the wanted models by name, after naming the damaged runs; stop the page with a hint if there are none.

    Args:
        averages: whether the other weight averages that a run has kept are models too.
    """
    catalogue = known_runs()
    models = (catalogue.models_and_averages if averages else catalogue.models)(wanted)
    show_unusable(catalogue.unusable)
    if not models:
        st.info(hint)
        end_page()
    return models


def show_unusable(problems: Mapping[str, str]) -> None:
    """Say of each run that cannot be used what is wrong with it; of many, the first few and the others on demand."""
    told = [literal(without_places(f"{name} cannot be read: {problem}")) for name, problem in problems.items()]
    if told:
        st.warning("  \n".join(told[:TOLD]))
    if len(told) > TOLD:
        names = literal(", ".join(list(problems)[TOLD:]), 100)
        with st.expander(f"{len(told) - TOLD} more cannot be read: {names}", icon=":material/warning:"):
            st.markdown("\n".join(f"- {sentence}" for sentence in told[TOLD:]))


def given_as(run: Run) -> str:
    """Return a configuration's reference to a run; empty for a path that is not text, which no configuration can contain."""
    with suppress(UnicodeEncodeError):
        return reference_to(run).encode().decode()
    return ""


def newest_samples(run: Run) -> Pixels | None:
    """Return the images of the newest sample grid, (N, H, W, C); None before the first.

    Raises:
        ValueError, OSError: the configuration or the picture cannot be read.
    """
    grids = list(run.samples().values())
    return grid_images(run.config, grids[-1]) if grids else None


def grid_images(config: RunConfig, grid: Path, teachers: bool = False) -> Pixels:
    """Return the images of one of a run's sample grids, (N, H, W, C): image k is from the same noise in every run.

    Args:
        teachers: whether each image of a student is followed by its teacher's, as in the file.

    Raises:
        ValueError, OSError: the picture cannot be read.
    """
    if config.image_shape is None:
        raise ValueError("the run has not started training: its images have no size yet")
    _, height, width = config.image_shape
    # Path's bytes, since a name need not be text.
    images = _images_in(os.fsencode(grid), grid.stat().st_mtime_ns, height, width, config.log.sample_images)
    return images[::2] if config.is_student and not teachers else images


def images_of_grid(config: RunConfig) -> int:
    """Return how many images of a run a sample grid has, without those of its teacher."""
    count = config.log.sample_images
    return (count + 1) // 2 if config.is_student else count


@st.cache_data(max_entries=256, show_spinner=False)
def _images_in(file: bytes, modified: int, height: int, width: int, count: int) -> Pixels:
    return split_montage(np.atleast_3d(np.asarray(open_picture(os.fsdecode(file)))), height, width, count)


def condition_of_sample(config: RunConfig, number: int) -> str:
    """Return the class or caption that an image of a run's sample grids was made for; empty for an unconditional model."""
    shown = config.condition.classes or config.condition.examples
    return shown[number % len(shown)] if shown and is_diffusion(config) else ""


def about_samples(config: RunConfig) -> str:
    """Return what the sample grids of a run show, a student's with its teacher's images, for a caption."""
    if config.model == "autoencoder":
        return RECONSTRUCTED
    if (own := config.distillation) is not None:
        return f"each image of the student's EMA weights{own.in_grids} is followed by its teacher's, from the same noise"
    return "EMA weights, the same noise at every step"


def show_sample_grid(images: Pixels, alt: str) -> None:
    """Show the images of a sample grid as a square montage."""
    show_grid(images, alt, columns=math.ceil(math.sqrt(len(images))))


def show_samples_in(config: RunConfig, grid: Path, title: str, most: int | None = None, teachers: bool = False) -> None:
    """Show one of a run's sample grids, or say why it cannot be shown; the run's model may be intact.

    Args:
        most: number of images to show, the first of the grid; all by default.
        teachers: whether each image of a student is followed by its teacher's.
    """
    try:
        show_sample_grid(grid_images(config, grid, teachers)[:most], f"Samples of {title}")
    except (ValueError, OSError) as error:
        warn_of_samples(title, error)


def warn_of_samples(title: str, error: Exception) -> None:
    """Say that the samples of a run cannot be shown."""
    st.warning(literal(f"The samples of {title} cannot be read: {describe(error)}; the model can be used."))


def describe_run(listed: Listed) -> str:
    """Return a one-line description of a run: its network, data, images seen, and its held-out loss or else validation loss."""
    config = listed.config
    size = "×".join(map(str, (config.image_shape or (0, 0, 0))[1:]))
    student = config.distillation
    parts = [
        config.kind,
        *([f"student of {student.teacher} in {student.in_words}"] if student is not None else []),
        *([f"{in_short(listed.num_parameters)} parameters"] if listed.num_parameters is not None else []),
        f"{Path(config.data.data).name} at {size}",
    ]
    newest = listed.run.newest_metrics()
    if "images_seen" in newest:
        seen = "seen" if config.sees_images else "sampled"
        parts.append(f"{in_short(newest['images_seen'])} images {seen}".replace(" ", "\u00a0", 2))
    measured = _held_out_loss(listed.run)
    if measured is not None and measured < 1:  # the variance of v; in pure noise, predictions of epsilon explode beyond it
        parts.append(f"held-out loss {measured:.4f}")
    elif "val_loss" in newest:
        parts.append(f"{'validation loss' if student is None else 'distance from its teacher'} {newest['val_loss']:.4f}")
    return " · ".join(parts)


def _held_out_loss(run: Run) -> float | None:
    """Return the loss that an evaluation measured, in v, or None: the one that can be compared between models."""
    try:
        modified = file_beside(run, EVALUATION).stat().st_mtime_ns
        return _measured_loss(os.fsencode(run.path), run.fingerprint, modified)
    except (ValueError, OSError):  # not measured, or damaged, which the page Evaluate says
        return None


@st.cache_data(max_entries=256, show_spinner=False)
def _measured_loss(folder: bytes, fingerprint: str, modified: int) -> float | None:
    return held_out_loss(Run(os.fsdecode(folder)))
