"""What training on the Train page would use: the images as the network sees them, and the memory that it takes."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.asking import may_read
from pages.components.data_report import show_report
from pages.components.pictures import show_grid
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels
from pipelines.common.text import literal
from pipelines.datasets.image_sets import preview_images
from pipelines.datasets.sources import resolve
from pipelines.storage.config import ConditionConfig, DataConfig, RunConfig, config_from_json, config_to_json

PREVIEWED = 16


@st.cache_data(ttl=60, max_entries=32, show_spinner="Opening the dataset…")
def _preview(config: DataConfig) -> Pixels:
    return preview_images(config, PREVIEWED)


def show_preview(config: DataConfig, condition: ConditionConfig, place: DeltaGenerator) -> None:
    """Show sixteen training images as the network will see them, and in ``place`` what is in the data, once the user asks."""
    prepared, told = resolve(config), ""
    try:
        if not may_read(config.data):
            st.caption("Shows 16 training images here. Training reads them too; what is on the Hub is downloaded once.")
            return
        images = _preview(prepared)
    except (ValueError, OSError) as error:
        told = describe(error)
        st.error(literal(f"These images cannot be loaded: {told}"))
    else:
        show_grid(images, f"{len(images)} training images of {config.data}", columns=8)
        fitted = "cropped" if prepared.fit == "crop" else "padded"
        mirrored = "every second one flipped" if prepared.flip else "not flipped"
        size = f"{prepared.image_size}×{prepared.image_size} pixels"
        st.caption(f"{len(images)} images of the training split, {size}, {fitted}, {mirrored}.")
    with place:
        show_report(prepared, condition, told)


def show_footprint(config: RunConfig) -> None:
    """Show the number of parameters and the memory that training takes, or why it cannot be trained on this machine."""
    try:
        st.caption(_footprint(config_to_json(config)))
    except (ValueError, OSError) as error:
        st.warning(literal(describe(error)))


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _footprint(config: str) -> str:
    from pipelines.common.devices import best_device
    from pipelines.models.finetune import adopt
    from pipelines.models.footprint import training_footprint

    chosen = adopt(config_from_json(config))
    found = training_footprint(replace(chosen, data=resolve(chosen.data)), best_device())
    found.refuse_beyond_memory()
    return found.about
