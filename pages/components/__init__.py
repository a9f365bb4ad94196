"""What pages share."""

from collections.abc import Mapping
from typing import Literal, TypedDict

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pipelines.common.settings import Described

# Until st.navigation has run once, a server takes a folder called "pages" for the older kind of multipage app and runs the
# page of a link by itself, without main_interface.py. Importing this package, which every page does, puts that right.
if PagesManager.uses_pages_directory:
    PagesManager.uses_pages_directory = False
    st.rerun()


class Bound(TypedDict):
    """Keyword arguments of a widget whose value lives in the URL."""

    bind: Literal["query-params"]


BOUND: Bound = {"bind": "query-params"}  # for every input of a page: a link reproduces it, and leaving it loses nothing


def about_choices(registry: Mapping[str, Described]) -> str:
    """What a registry says about its choices, as the help of the widget that offers them."""
    return "\n".join(f"- **{name}**: {choice.title}. {choice.about}" for name, choice in registry.items())
