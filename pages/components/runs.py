"""Choosing and describing runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st

from pages.components.pictures import show_grid
from pipelines.common.images import Pixels, split_montage
from pipelines.common.picture_files import open_picture
from pipelines.common.text import literal
from pipelines.storage.config import RunConfig
from pipelines.storage.runs import Run, find_run, find_runs

RECONSTRUCTED = "held-out images, each followed by its reconstruction"  # the content of an autoencoder's grid
# The runs listed first.
HEADLINE = (
    "flowers-attention-64",
    "flowers-baseline-64",
    "flowers-class-64",
    "flowers-latent-text",
    "flowers-class",
    "flowers-text",
    "pokemon-text",
    "tiny-imagenet-text",
)


def runs_by_name() -> dict[str, Run]:
    """Return all runs by name; a user's run that shares its name with a published one is listed as runs/<name>."""
    runs: dict[str, Run] = {}
    for run in find_runs():
        runs[run.name if run.name not in runs else f"{run.path.parent.name}/{run.name}"] = run
    return {name: runs[name] for name in (*HEADLINE, *runs) if name in runs}


def models_by_name() -> dict[str, Run]:
    """Return the diffusion models with weights by name, including runs whose configuration cannot be read."""
    # An unreadable run is listed so that the page that shows it can say what is wrong.
    return _runs_with_weights(lambda config: config.model == "diffusion", unreadable=True)


def conditional_models() -> dict[str, Run]:
    """Return the class- and text-conditional models by name."""
    return _runs_with_weights(lambda config: config.model == "diffusion" and config.network.conditional)


def autoencoders() -> dict[str, Run]:
    """Return the autoencoders by name."""
    return _runs_with_weights(lambda config: config.model == "autoencoder")


def models_to_start_from() -> dict[str, Run]:
    """Return the models that can be fine-tuned, by name: those whose network was not imported."""
    return _runs_with_weights(lambda config: config.model == "diffusion" and not config.network.imported)


def given_as(run: Run) -> str:
    """Return a configuration's reference to a run: its name, or its folder if the name finds another run."""
    return run.name if find_run(run.name).path == run.path else str(run.path)


def _runs_with_weights(wanted: Callable[[RunConfig], bool], unreadable: bool = False) -> dict[str, Run]:
    def is_wanted(run: Run) -> bool:
        try:
            return wanted(run.config)
        except (ValueError, OSError):
            return unreadable

    return {name: run for name, run in runs_by_name().items() if run.has_weights and is_wanted(run)}


def stop_without_runs(runs: dict[str, Run]) -> None:
    """Stop the page with a hint if there are no runs."""
    if not runs:
        st.info("No runs yet. Train one: `python -m pipelines.train --data fashion_mnist --unet attention`")
        st.stop()


def newest_samples(run: Run) -> Pixels | None:
    """Return the images of the newest sample grid, (N, H, W, C); None before the first."""
    grids = list(run.samples().values())
    return grid_images(run, grids[-1]) if grids else None


def grid_images(run: Run, grid: Path) -> Pixels:
    """Return the images of one of a run's sample grids, (N, H, W, C).

    Raises:
        ValueError, OSError: the configuration or the picture cannot be read.
    """
    config = run.config
    if config.image_shape is None:
        raise ValueError(f"run {run.name!r} has not started training: its images have no size yet")
    return _images_in(grid, grid.stat().st_mtime_ns, config.image_shape[1], config.image_shape[2], config.log.sample_images)


@st.cache_data(max_entries=256, show_spinner=False)
def _images_in(file: Path, modified: int, height: int, width: int, count: int) -> Pixels:
    return split_montage(np.atleast_3d(np.asarray(open_picture(file))), height, width, count)


def about_samples(config: RunConfig) -> str:
    """Return what the sample grids of a run show, for a caption."""
    if config.model == "autoencoder":
        return RECONSTRUCTED
    return "EMA weights, the same noise at every step"


def show_sample_grid(images: Pixels, alt: str) -> None:
    """Show the images of a sample grid as a square montage."""
    show_grid(images, alt, columns=math.ceil(math.sqrt(len(images))))


def show_samples_in(run: Run, grid: Path, title: str) -> None:
    """Show one of a run's sample grids, or say why it cannot be shown; the run's model may be intact."""
    try:
        show_sample_grid(grid_images(run, grid), f"Samples of {title}")
    except (ValueError, OSError) as error:
        st.warning(literal(f"The samples of {title} cannot be read: {error}"))


def describe_run(run: Run) -> str:
    """Return a one-line description of a run: its network, data, images seen and validation loss.

    Raises:
        ValueError, OSError: its configuration or weights cannot be read.
    """
    config = run.config
    size = "×".join(map(str, (config.image_shape or (0, 0, 0))[1:]))
    parts = [
        config.kind,
        f"{run.num_parameters / 1e6:.1f} M parameters",
        f"{Path(config.data.data).name} at {size}",
    ]
    newest = run.newest_metrics()
    if "images_seen" in newest:
        parts.append(f"{newest['images_seen'] / 1e3:,.0f}\u00a0k\u00a0images seen")
    if "val_loss" in newest:
        parts.append(f"validation loss {newest['val_loss']:.4f}")
    return " · ".join(parts)
