"""The browser's back button, which leads from page to page and not from value to value of an address."""

from __future__ import annotations

import streamlit as st

from pages.components import frontend

_component = frontend.component("back_button")


def keep_entries_few() -> None:
    """Let what a person does make at most one entry in the history of the browser, and only if it leads elsewhere."""
    with st.container(key="back-button"):
        _component(key="back_button")
