"""Settings for a small set of pictures."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pipelines.common.text import counted
from pipelines.datasets.report import DataReport

FEW = 1000  # training pictures
STARTS = {"colour": "flowers-attention", "grey": "fashion-attention"}
FOR_FEW = {"train_steps": 1000, "batch": 16, "warmup": 50, "dropout": 0.1, "augment": 0.2}  # by the keys of their widgets


def offer_few(report: DataReport, suit: Callable[[str], None]) -> None:
    """Draw a button for settings that suit few pictures, if there are few.

    Args:
        report: on the data.
        suit: sets the widgets, given the run to start from.
    """
    if not 0 < report.trained <= FEW:
        return
    grey = report.pictures is not None and all("grey" in kind.lower() for kind in report.pictures.colours)
    start = STARTS["grey" if grey else "colour"]
    st.button(
        "Use settings for few pictures", icon=":material/auto_fix_high:", on_click=suit, args=(start,),
        help=f"{counted(report.trained, 'picture')} teach a network from random weights little. These settings begin with the "
        f"weights of **{start}** and its image size, and change the pictures while training (augmentation, dropout).",
    )  # fmt: skip
