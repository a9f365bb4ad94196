"""A mark in the window's title: how much of the work is done, and that it is done until somebody looks."""

from __future__ import annotations

import streamlit as st

from pages.components import frontend

_component = frontend.component("title_mark")


def title_mark(share: float) -> None:
    """Mark the window's title for as long as this is drawn.

    Args:
        share: of the work that is done, from 0 to 1.
    """
    with st.container(key="title-mark"):  # not displayed: see page.css
        _component(key="mark", data={"share": share})
