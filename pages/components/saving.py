"""Saving figures and sheets of pictures for papers and slides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from pages.components import wants
from pipelines.figures.formats import KINDS, WIDTHS, Kind, Width

if TYPE_CHECKING:
    from pipelines.figures.chart import Chart
    from pipelines.figures.sheet import Sheet

MIME: dict[Kind, str] = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}
COLUMNS: dict[Width, str] = {width: f"{width.title()} column ({inches} in)" for width, inches in WIDTHS.items()}


def save_figure(make: Callable[[], Chart | Sheet], key: str, label: str = "Save figure", quiet: bool = True) -> None:
    """Show a menu from which a figure is saved; it is drawn only then.

    Args:
        make: returns what the figure shows, with its caption.
        key: of the figure, which also names the file.
        label: of the menu.
        quiet: show the menu without a border, as below a figure rather than in a row of buttons.
    """
    with st.popover(
        label, **wants("paper"), icon=":material/picture_as_pdf:", type="tertiary" if quiet else "secondary", key=f"save-{key}"
    ):
        width = st.segmented_control(
            "Width", list(WIDTHS), default="double", required=True, format_func=COLUMNS.__getitem__, key=f"save-width-{key}"
        )
        caption = st.checkbox(
            "Say below it where it comes from", value=True, key=f"save-caption-{key}",
            help="Weights, seeds and samplers. The file's metadata say so in any case.",
        )  # fmt: skip
        with st.container(horizontal=True):
            for kind in KINDS:
                st.download_button(
                    kind.upper(),
                    partial(_content, make, kind, width, caption),
                    f"noisescope-{key.replace('_', '-')}.{kind}",
                    MIME[kind],
                    on_click="ignore",
                    key=f"save-{kind}-{key}",
                )


def _content(make: Callable[[], Chart | Sheet], kind: Kind, width: Width, caption: bool) -> bytes:
    """Return the file; Streamlit calls this in another thread when a button is pressed."""
    from pipelines.figures.paper import file_content

    return file_content(make(), kind, width, caption)
