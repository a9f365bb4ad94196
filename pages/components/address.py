"""The values in a page's address."""

from __future__ import annotations

import math

import streamlit as st


def forget_infinite_numbers() -> None:
    """Remove infinite numbers from the address: Streamlit's inputs of whole numbers fail on them, and the page with them."""
    infinite = [name for name in st.query_params if any(map(_is_infinite, st.query_params.get_all(name)))]
    for name in infinite:
        del st.query_params[name]
    if infinite:
        st.rerun()  # inputs take their values from the address with which a script starts


def _is_infinite(text: str) -> bool:
    try:
        return math.isinf(float(text))
    except ValueError:
        return False
