"""What training on the Train page would use: the images as the network sees them, and the memory that it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from pages.components.asking import may_read
from pages.components.data_report import show_report, surveyor
from pages.components.pictures import show_grid
from pipelines.common.command_line import describe
from pipelines.common.extras import missing_extra
from pipelines.common.images import Pixels
from pipelines.common.text import literal
from pipelines.datasets.image_sets import preview_images
from pipelines.datasets.report import DataReport
from pipelines.datasets.sources import resolve
from pipelines.datasets.surveyor import Opened
from pipelines.storage.config import ConditionConfig, DataConfig, RunConfig, config_from_json, config_to_json

PREVIEWED = 16


@st.cache_data(max_entries=32, show_spinner="Opening the dataset…", hash_funcs={Opened: lambda opened: opened.number})
def _preview(config: DataConfig, opened: Opened) -> Pixels:
    return preview_images(config, PREVIEWED, opened.source)


@dataclass(frozen=True)
class Preview:
    """What is known of a dataset so far.

    Attributes:
        problem: why it cannot be trained on, which the page says; empty if nothing is wrong.
        report: None before the files have been listed.
    """

    problem: str = ""
    report: DataReport | None = None


def show_preview(config: DataConfig, condition: ConditionConfig) -> Preview:
    """Show sixteen training images as the network will see them, and what is in the data, once the user asks."""
    if problem := missing_extra("train"):
        return Preview(problem)  # the page has said so above
    prepared, told = resolve(config), ""
    try:
        if not may_read(config.data):
            st.caption("Shows 16 training images here. Training reads them too; what is on the Hub is downloaded once.")
            return Preview()
        images = _preview(prepared, surveyor().open(prepared))
    except (ValueError, OSError) as error:
        told = describe(error)
        st.error(literal(f"These images cannot be loaded: {told}"))
    else:
        show_grid(images, f"{len(images)} training images of {config.data}", columns=8)
        fitted = "cropped" if prepared.fit == "crop" else "padded"
        mirrored = "every second one flipped" if prepared.flip else "not flipped"
        size = f"{prepared.image_size}×{prepared.image_size} pixels"
        st.caption(f"{len(images)} images of the training split, {size}, {fitted}, {mirrored}.")
    found = show_report(prepared, condition, told)
    return Preview(told or found.problem, found.report)


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
