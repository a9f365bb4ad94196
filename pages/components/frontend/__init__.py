"""The browser side of the components: scripts, styles and markup in this folder, and their registration."""

from __future__ import annotations

import base64
import re
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """Return the text of a file in this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """Return a JavaScript module with the modules it imports embedded.

    Streamlit passes a component's script to the browser as text, where a relative import such as ``"./mount.js"`` cannot be
    resolved. The name is therefore replaced by a data URI with the text of the imported module.
    """
    return re.sub(r'(?<=from )"\./(.+)"', lambda found: f'"{_module_uri(found[1])}"', text(name))


def _module_uri(name: str) -> str:
    return f"data:text/javascript;charset=utf-8;base64,{base64.b64encode(script(name).encode()).decode()}"


def component(name: str, *styles: str, isolate_styles: bool = True) -> ComponentRenderer:
    """Register the component of ``name``.html, .js and .css.

    Args:
        name: name of its three files.
        styles: further style sheets, placed before its own.
        isolate_styles: whether to isolate its styles and those of the page from each other.
    """
    css = "".join(map(text, [*styles, f"{name}.css"]))
    return st.components.v2.component(
        f"noisescope_{name}", html=text(f"{name}.html"), css=css, js=script(f"{name}.js"), isolate_styles=isolate_styles
    )
