"""What runs in the browser: the scripts, styles and markup beside this file, and how pages use them."""

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
    """Return what a file of this folder says."""
    return (FOLDER / name).read_text(encoding="utf-8")


def script(name: str) -> str:
    """Return a JavaScript module that carries the modules it imports.

    Streamlit hands a component's script to the browser as text, from where ``"./mount.js"`` would lead nowhere. The text of
    the imported module, as a data URI, takes the place of its name.
    """
    return re.sub(r'(?<=from )"\./(.+)"', lambda found: f'"{_module_uri(found[1])}"', text(name))


def _module_uri(name: str) -> str:
    return f"data:text/javascript;charset=utf-8;base64,{base64.b64encode(script(name).encode()).decode()}"


def component(name: str, *styles: str, isolate_styles: bool = True) -> ComponentRenderer:
    """Register the component of ``name``.html, .js and .css.

    Args:
        name: of its three files.
        styles: further files that come before its own style.
        isolate_styles: whether its style applies to itself alone, and the page's not to it.
    """
    css = "".join(map(text, [*styles, f"{name}.css"]))
    return st.components.v2.component(
        f"noisescope_{name}", html=text(f"{name}.html"), css=css, js=script(f"{name}.js"), isolate_styles=isolate_styles
    )
