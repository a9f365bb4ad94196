"""Select boxes that keep their values in the address themselves: of a registry's choices, and of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components import about_choices
from pipelines.common.settings import Described


def choose_named(
    label: str, registry: Mapping[str, Described], usual: str, key: str, place: DeltaGenerator | None = None, **more: Any
) -> str:
    """Draw a select box of a registry's choices and return the chosen name.

    Streamlit would write what the box shows into the address, so this function keeps the address itself.

    Args:
        usual: the initial choice, which the address does not mention.
        place: where to draw it; where the script is by default.
        more: further keyword arguments of the select box; its help lists the choices by default.
    """
    _follow_address(key, registry, usual)
    chosen: str = (place or st).selectbox(
        label,
        list(registry),
        format_func=lambda name: registry[name].title,
        key=key,
        persist_state="session",
        **{"help": about_choices(registry), **more},
    )
    _write_address(key, chosen, usual)
    return chosen


def choose_model(names: Collection[str], usual: str, key: str = "model", place: DeltaGenerator | None = None) -> str:
    """Draw a select box of models and return the chosen name.

    The address always has it, unlike other inputs: which model is the usual one changes with the runs that there are.
    """
    _follow_address(key, names, usual)
    chosen: str = (place or st).selectbox("Model", list(names), key=key, persist_state="session")
    _write_address(key, chosen)
    return chosen


def _follow_address(key: str, registry: Collection[str], usual: str) -> None:
    """Set the value to the one in the address, if a link or the browser's history has changed it."""
    asked, written = st.query_params.get(key), st.session_state.get(_written(key))
    context = get_script_run_ctx()
    if asked != written and asked in registry:
        st.session_state[key] = asked
    elif asked is None and context is not None and context.is_history_navigation:
        st.session_state[key] = usual
    if st.session_state.get(key) not in registry:
        st.session_state[key] = usual


def _write_address(key: str, chosen: str, usual: str | None = None) -> None:
    """Write the value into the address, unless it is the usual one."""
    if chosen != usual and st.query_params.get(key) != chosen:
        st.query_params[key] = chosen
    elif chosen == usual and key in st.query_params:
        del st.query_params[key]
    st.session_state[_written(key)] = st.query_params.get(key)


def forget_choice(key: str) -> None:
    """Forget the value of an input, of whatever kind, so that it takes the one in the address, or the usual one."""
    st.session_state.pop(key, None)
    st.session_state.pop(_written(key), None)


def _written(key: str) -> str:
    return f"{key} in the address"
