"""Settings for a small set of pictures, which a new dataset of few pictures gets unless others have been chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from pages.components.timing import rough_time
from pipelines.common.text import counted
from pipelines.datasets.report import DataReport
from pipelines.storage.runs import find_run
from pipelines.storage.student_defaults import LEARNING

FEW = 1000  # training pictures
GREY, COLOUR = "fashion-attention", "flowers-attention-64"  # what to start from
# By the keys of their widgets.
FOR_FEW: Mapping[str, Any] = {"train_steps": 1000, "batch": 16, "warmup": 50, "dropout": 0.1, "augment": 0.2}


def is_counted(report: DataReport) -> bool:
    """Return whether it is known if the pictures are few and, if so, what they are like."""
    return report.pictures is not None or report.trained > FEW


def start_for(report: DataReport) -> str:
    """Return the run whose weights a training on these pictures should start from; empty if they are many, or not known yet."""
    if report.pictures is None or not 0 < report.trained <= FEW:
        return ""
    return GREY if all("grey" in kind.lower() for kind in report.pictures.colours) else COLOUR


def are_for_few(start: str) -> bool:
    """Return whether the widgets show the settings for few pictures, with the weights of the run ``start``."""
    shown = st.session_state
    return bool(start) and shown.get("init_from") == start and all(shown.get(key) == value for key, value in FOR_FEW.items())


def _time(start: str) -> str:
    """Return how long a training with these settings takes, in a sentence; empty if nothing is known of that."""
    steps, batch = FOR_FEW["train_steps"], FOR_FEW["batch"]
    time = rough_time(find_run(start), steps * batch * LEARNING, batch)
    return f"That takes {time}; *Estimate the time* below measures it." if time else ""


def show_few(report: DataReport, suit: Callable[[str], None]) -> None:
    """Say that the settings are those for few pictures, or offer them; nothing if there are many.

    Args:
        report: on the data.
        suit: sets the widgets, given the run to start from, or none for the usual settings.
    """
    start = start_for(report)
    if not start:
        return
    why = f"{counted(report.trained, 'picture')} alone teach a network little"
    if are_for_few(start):
        st.markdown(
            f":material/auto_fix_high: {why}: these settings continue from the weights of **{start}**, at its image size, for "
            f"{FOR_FEW['train_steps']:,} steps, and change the pictures while training (augmentation, dropout). {_time(start)}"
        )
        st.button("Use the usual settings", icon=":material/undo:", type="tertiary", on_click=suit, args=("",))
        return
    st.button(
        "Use settings for few pictures", icon=":material/auto_fix_high:", on_click=suit, args=(start,),
        help=f"{why}. These settings continue from the weights of **{start}**, at its image size, and change the pictures "
        "while training (augmentation, dropout).",
    )  # fmt: skip
