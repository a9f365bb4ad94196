"""Asking before something is read or downloaded: an address names what it likes, so a link alone must not make a server act.

Known runs, and the datasets with short names in $NOISESCOPE_DATA, are read without asking.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from pages.components import wants
from pipelines.common import paths
from pipelines.common.command_line import describe
from pipelines.common.extras import missing_extra
from pipelines.common.public import is_public
from pipelines.common.text import literal, some
from pipelines.datasets.pretrained import find_encoder, local_encoder
from pipelines.datasets.sources import PRESETS, locate
from pipelines.storage.run import Run

ALLOWED = "allowed"  # where a session keeps the datasets that its user has asked for
HUB = "from the Hugging Face Hub"


def expanded(typed: str) -> str:
    """Return the name of a dataset as typed, without spaces around it and with ~ replaced."""
    return paths.expanded(typed.strip())


def allow_typed(key: str) -> None:
    """Allow reading what was just typed into the widget ``key``; to be called when the user, not an address, changes it."""
    typed = st.session_state[key] or ""
    names = map(expanded, [typed] if isinstance(typed, str) else typed)
    if not is_public():
        _allow(*filter(os.path.exists, names))


def offered_datasets() -> list[str]:
    """Return the datasets with short names; on a public dashboard, those in $NOISESCOPE_DATA, and no others can be read."""
    return [name for name in PRESETS if not is_public() or Path(locate(name)).exists()]


def may_read(name: str, suffix: str = "") -> bool:
    """Return whether the user has asked for a dataset; if not, draw a button that says what reading it would do.

    Args:
        name: a short name, a hub id, a folder or a file.
        suffix: suffix of the button's key.

    Raises:
        ValueError: it is none of these.
    """
    if is_public() and name not in offered_datasets():
        raise ValueError("a public dashboard reads no data but its own: choose one of the list")
    source = locate(name)
    local = Path(source).exists()
    if (local and name in PRESETS) or source in st.session_state.get(ALLOWED, ()):
        return True
    kind = "folder" if Path(source).is_dir() else "file"
    what = f"Read the {kind} {literal(source)}" if local else f"Download {literal(source)} {HUB}"
    icon = ":material/folder_open:" if local else ":material/download:"
    st.button(what, icon=icon, key=f"read{suffix}", on_click=_allow, args=(source,), **wants("train"))
    return False


def allowed_files(paths: Sequence[str]) -> list[str]:
    """Return the paths whose files the user has asked for; for the others, draw a button that says what would be read.

    Those that do not exist are returned, too: whoever reads them says so.
    """
    waiting = [path for path in paths if os.path.exists(path) and path not in st.session_state.get(ALLOWED, ())]  # noqa: PTH110
    if waiting:
        label = f"Read {literal(some(waiting))}"
        st.button(label, icon=":material/folder_open:", key="read files", on_click=_allow, args=waiting)
    return [path for path in paths if path not in waiting]


def cannot_encode(runs: Sequence[Run]) -> str:
    """Return why the prompts of the runs cannot be encoded, whatever the user allows; empty if they can.

    Raises:
        ValueError, OSError: a run cannot be read or names no encoder.
    """
    if not (encoders := encoders_of(runs)):
        return ""
    if is_public() and not all(map(is_here, encoders)):
        return "the text encoder of this model is not on this server: choose another model"
    return missing_extra("text")


def may_encode(runs: Sequence[Run]) -> bool:
    """Return whether the text encoders of the runs are on this machine; if one is not, draw a button that downloads it.

    Raises:
        ValueError, OSError: a run cannot be read or names no encoder, or its prompts cannot be encoded.
    """
    if reason := cannot_encode(runs):
        raise ValueError(reason)
    for name in encoders_of(runs):
        if not is_here(name):
            st.warning("The text encoder of this model is not on this machine. Download it, then generate again.")
            label = f"Download {literal(name)} {HUB}"
            st.button(label, icon=":material/download:", key="encoder", on_click=_download, args=(name,))
            return False
    return True


def encoders_of(runs: Sequence[Run]) -> list[str]:
    """Return the names of the text encoders of the runs that take prompts."""
    configs = [run.config for run in runs]
    return list(dict.fromkeys(config.condition.encoder for config in configs if config.network.takes == "text"))


@st.cache_data(max_entries=32, show_spinner=False)
def is_here(encoder: str) -> bool:
    """Return whether a text encoder is on this machine.

    Raises:
        ValueError: the name is none of an encoder.
    """
    return local_encoder(encoder) is not None


def _download(encoder: str) -> None:
    try:
        find_encoder(encoder)
        st.success("The text encoder is on this machine now: generate again.")
    except (ValueError, OSError) as error:
        st.error(literal(describe(error)))
    is_here.clear()


def _allow(*sources: str) -> None:
    st.session_state[ALLOWED] = {*st.session_state.get(ALLOWED, ()), *sources}
