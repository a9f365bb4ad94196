"""Dropping pictures into the Train page: they become a dataset of the user's own, which the page then shows."""

from __future__ import annotations

import streamlit as st

from pages.components.training_start import follow_data
from pipelines.common.command_line import describe
from pipelines.common.machine import in_words
from pipelines.common.text import counted, literal
from pipelines.datasets.uploads import MOST_BYTES, MOST_FILES, keep_upload, uploads_folder

LARGEST = 200  # MB of one file
DATA = "data"  # key of the dataset's widget


def offer_upload() -> list[str]:
    """Draw a place to drop pictures or an archive; once they are stored, they are the chosen dataset.

    Returns:
        The datasets that this session has stored.
    """
    number = st.session_state.setdefault("uploads", 0)  # a new key empties the widget, and the server's memory
    st.file_uploader(
        "Your pictures: drop them here, or a ZIP of them", accept_multiple_files=True, key=f"upload-{number}",
        max_upload_size=LARGEST, on_change=_take, args=(f"upload-{number}",),
        help=f"At most {MOST_FILES:,} files and {in_words(MOST_BYTES)}, kept in {literal(uploads_folder())}. Folders in a ZIP "
        "are classes; a text file with a picture's name is its caption.",
    )  # fmt: skip
    if problem := st.session_state.pop("upload problem", ""):
        st.error(literal(problem))
    stored: dict[str, int] = st.session_state.get("stored uploads", {})
    for folder, count in list(stored.items())[-1:]:
        st.caption(f":material/check_circle: {counted(count, 'file')} stored in {literal(folder)}")
    return list(stored)


def _take(key: str) -> None:
    """Store what has been dropped, and choose it."""
    files = st.session_state[key]
    if not files or st.session_state.get("uploaded") == key:  # told twice
        return
    st.session_state["uploaded"] = key
    st.session_state["uploads"] += 1
    try:
        folder = keep_upload([(file.name, file.getbuffer()) for file in files])
    except (ValueError, OSError) as error:
        st.session_state["upload problem"] = describe(error)
        return
    st.session_state["stored uploads"] = st.session_state.get("stored uploads", {}) | {str(folder): len(files)}
    st.session_state[DATA] = str(folder)
    follow_data()
