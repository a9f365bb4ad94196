"""The values in a page's address."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from pipelines.common.text import literal


@contextmanager
def unused_numbers_told() -> Iterator[None]:
    """Say of each number in the address that a page did not take, because it is out of range, what the page takes instead.

    This also holds for a page that stops early.
    """
    asked = {name: st.query_params[name] for name in st.query_params if name not in st.session_state}
    try:
        yield
    finally:
        for name, text in asked.items():
            used = st.session_state.get(name)
            if isinstance(used, int | float) and not isinstance(used, bool) and _number(text) != used:
                _say_unused(name, text, f"{used:g}" if isinstance(used, float) else f"{used}")


def _say_unused(name: str, text: str, used: str) -> None:
    st.toast(
        f"{literal(name)}={literal(text, 40)} in the address cannot be used here: this page takes {used}.",
        icon=":material/warning:",
    )


def forget_infinite_numbers() -> None:
    """Remove infinite numbers from the address: Streamlit's inputs of whole numbers fail on them, and the page with them."""
    infinite = [name for name in st.query_params if any(map(_is_infinite, st.query_params.get_all(name)))]
    for name in infinite:
        del st.query_params[name]
        _say_unused(name, "infinity", "its usual value")
    if infinite:
        st.rerun()  # inputs take their values from the address with which a script starts


def _is_infinite(text: str) -> bool:
    return math.isinf(_number(text) or 0)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
