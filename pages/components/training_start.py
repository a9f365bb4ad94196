"""What the settings of a training start from: a recipe, the weights of a run, an autoencoder; and what follows a new choice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import streamlit as st

from pages.components.asking import allow_typed, expanded
from pages.components.setting import USUAL, fill
from pages.components.training_few import FOR_FEW
from pages.components.training_table import SETTINGS, SIZE
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.storage.config import InitConfig, LatentConfig, RunConfig
from pipelines.storage.recipes import read_recipe
from pipelines.storage.runs import find_run

NEW_DATA = "newly chosen data"  # where a session keeps the dataset whose settings have not been chosen yet
AUTOENCODER = "autoencoder"
RANDOM_WEIGHTS = "random weights"  # no starting run
PIXELS = "none (pixels)"  # no autoencoder


def follow_data() -> None:
    """Clear the chosen classes, which belong to the previous dataset, and allow reading the folder just typed."""
    st.session_state["only_classes"] = ""
    st.session_state[NEW_DATA] = expanded(st.session_state["data"])
    allow_typed("data")


def named_network(config: RunConfig) -> str:
    """Return the name of the network that a configuration trains."""
    return AUTOENCODER if config.model == "autoencoder" else config.network.unet


def initial(recipe: str | None, start: str | None) -> RunConfig:
    """Return the initial values of the widgets: a recipe's settings, overridden by those taken from the starting run."""
    config = replace(settings_of(recipe), init=InitConfig(start))
    if start is None:
        return config
    try:
        source = find_run(start).config
    except (ValueError, OSError):
        return config  # a recipe's starting run is not available: training reports it
    return replace(
        config,
        model="diffusion",
        network=replace(source.network, dropout=config.network.dropout),
        diffusion=source.diffusion,
        data=replace(config.data, image_size=source.image_shape[1] if source.image_shape else None),
        latent=LatentConfig(),
    )


def settings_of(recipe: str | None) -> RunConfig:
    """Return a recipe's settings; the usual ones without a recipe or if the page has to tell that it cannot be read."""
    try:
        return read_recipe(recipe) if recipe else USUAL
    except (ValueError, OSError) as error:
        st.error(literal(describe(error)))
        return USUAL


def _chosen() -> RunConfig:
    """Return the configuration for the chosen recipe and starting run."""
    start = st.session_state["init_from"]
    return initial(st.session_state["recipe"], None if start == RANDOM_WEIGHTS else start)


def follow_start() -> None:
    """Set the model's widgets to the settings of the starting run, or back to those of the recipe."""
    config = _chosen()
    fill([SIZE, *(setting for setting in SETTINGS if setting.taken)], config)
    st.session_state.update(unet=named_network(config), latent=config.latent.latent or PIXELS)


def follow_latent() -> None:
    """Set the image size to that of the chosen autoencoder."""
    base = _chosen()
    chosen = st.session_state["latent"]
    shape = None
    if chosen not in (PIXELS, base.latent.latent):
        with suppress(ValueError, OSError):  # it has just been removed, which the page says
            shape = find_run(chosen).config.image_shape
    st.session_state["size"] = shape[1] if shape else base.data.image_size


def suit(start: str) -> None:
    """Set the widgets to what suits few pictures, which begins with the weights of the run ``start``; to the usual if empty."""
    st.session_state.update(recipe=None, init_from=start or RANDOM_WEIGHTS)
    if start:
        follow_start()
        st.session_state.update(FOR_FEW)
    else:
        _fill_all()


def follow_recipe() -> None:
    """Set all widgets to the chosen recipe, with defaults for what it leaves open."""
    st.session_state["init_from"] = settings_of(st.session_state["recipe"]).init.init_from or RANDOM_WEIGHTS
    _fill_all()
    st.session_state["data"] = _chosen().data.data


def _fill_all() -> None:
    """Set all widgets but that of the dataset to the settings of the chosen recipe and starting run."""
    follow_start()
    fill(SETTINGS, _chosen())
