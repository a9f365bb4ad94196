"""Dropping pictures into the Train page: they become datasets of the user's own, which can be chosen again and deleted."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.components.runs import known_runs
from pages.components.setting import USUAL
from pages.components.training_start import follow_data
from pipelines.common.command_line import describe
from pipelines.common.machine import in_words
from pipelines.common.text import counted, literal, some
from pipelines.datasets.uploads import (
    MOST_BYTES,
    MOST_FILES,
    about_dropped,
    delete_dropped,
    dropped_folders,
    keep_upload,
    uploads_folder,
)

LARGEST = 200  # MB of one file
DATA = "data"  # key of the dataset's widget
DOOMED = "dropped dataset to delete"  # where a session keeps the one whose deletion awaits confirmation
PROBLEM, TOLD = "upload problem", "upload told"  # where a session keeps what is to be said


def offer_upload() -> list[str]:
    """Draw a place to drop pictures or an archive; once they are stored, they are the chosen dataset.

    Returns:
        The datasets that have been dropped here, the newest first.
    """
    number = st.session_state.setdefault("uploads", 0)  # a new key empties the widget, and the server's memory
    st.file_uploader(
        "Your pictures: drop them here, or a ZIP of them", accept_multiple_files=True, key=f"upload-{number}",
        max_upload_size=LARGEST, on_change=_take, args=(f"upload-{number}",),
        help=f"At most {MOST_FILES:,} files and {in_words(MOST_BYTES)}, kept in {literal(uploads_folder())}. Folders in a ZIP "
        "are classes; a text file with a picture's name is its caption.",
    )  # fmt: skip
    if problem := st.session_state.pop(PROBLEM, ""):
        st.error(literal(problem))
    try:
        folders = dropped_folders()
    except OSError as error:
        st.warning(literal(f"What was dropped here before cannot be listed: {describe(error)}"))
        return []
    with st.container(horizontal=True, vertical_alignment="center"):
        if told := st.session_state.get(TOLD):
            st.caption(f":material/check_circle: {literal(told)}")
        if folders:
            label = f"Dropped here ({len(folders)})"
            with st.popover(label, icon=":material/folder:", key="dropped", on_change="rerun", type="tertiary") as menu:
                if menu.open:
                    _list(folders)
    return [str(folder) for folder in folders]


def _take(key: str) -> None:
    """Store what has been dropped, and choose it."""
    files = st.session_state[key]
    if not files or st.session_state.get("uploaded") == key:  # told twice
        return
    st.session_state["uploaded"] = key
    st.session_state["uploads"] += 1
    try:
        folder, new = keep_upload([(file.name, file.getbuffer()) for file in files])
    except (ValueError, OSError) as error:
        st.session_state[PROBLEM] = describe(error)
        return
    stored = f"stored in {folder}" if new else f"are the same as those in {folder}, which is used"
    st.session_state[TOLD] = f"{counted(len(files), 'file')} {stored}"
    _choose(str(folder))


def _choose(folder: str) -> None:
    st.session_state[DATA] = folder
    follow_data()


def _list(folders: list[Path]) -> None:
    """List the dropped datasets, each with its size, to be used again or deleted."""
    for folder in folders:
        try:
            found = about_dropped(folder)
        except OSError as error:
            st.warning(literal(f"{folder} cannot be read: {describe(error)}"))
            continue
        about = f"**{literal(folder.name)}**  \n{counted(found.files, 'file')}, {in_words(found.size)}"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(about, width="stretch")
            st.button("Use", key=f"use-{folder.name}", on_click=_choose, args=(str(folder),))
            st.button("Delete", key=f"doom-{folder.name}", icon=":material/delete:", on_click=_ask, args=(folder.name,))
        if st.session_state.get(DOOMED) == folder.name:
            _confirm(folder)
    st.caption(f"In {literal(uploads_folder())}, until you delete them.")


def _ask(name: str) -> None:
    st.session_state[DOOMED] = name


def _confirm(folder: Path) -> None:
    """Draw the buttons that delete a dropped dataset or keep it, with what will be lost."""
    users = [name for name, listed in known_runs().runs.items() if listed.config.data.data == str(folder)]
    lost = f" {some(users)} can then be neither resumed nor evaluated." if users else ""
    with st.container(border=True):
        st.markdown(literal(f"Delete {folder.name} with its pictures? This cannot be undone.{lost}"))
        with st.container(horizontal=True):
            st.button("Delete permanently", key="doom", on_click=_delete, args=(folder,))
            st.button("Keep", key="spare", on_click=_ask, args=("",))


def _delete(folder: Path) -> None:
    """Delete a dropped dataset; if it was the chosen one, the usual dataset is chosen."""
    _ask("")
    try:
        delete_dropped(folder)
    except (ValueError, OSError) as error:
        st.session_state[PROBLEM] = describe(error)
        return
    st.session_state[TOLD] = f"{folder.name} has been deleted"
    if st.session_state.get(DATA) == str(folder):
        _choose(USUAL.data.data)
