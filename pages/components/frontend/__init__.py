"""The browser side of the components: scripts, styles and markup in this folder, and their registration."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.types.base_custom_component import BaseCustomComponent
from streamlit.components.v1 import declare_component
from streamlit.components.v2.types import ComponentRenderer

FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """Return the text of a file in this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest() -> str:
    scripts = sorted(FOLDER.glob("*.js"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in scripts)).hexdigest()[:16]


# Registered only for its side effect: Streamlit then serves this folder. The name depends on the scripts, so that a browser
# never mixes them with cached ones of another version.
_FILES = declare_component(f"frontend_{_digest()}", path=str(FOLDER))


def url(folder: BaseCustomComponent, name: str) -> str:
    """Return the path under which the browser finds a file of a folder that ``declare_component`` serves."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if base else ''}{base}/component/{folder.name}/{name}"


def component(name: str, *styles: str, isolate_styles: bool = True) -> ComponentRenderer:
    """Register the component of ``name``.html, .js and .css.

    Streamlit sends the script of a component with every rerun, so here it only loads the module, which the browser keeps.

    Args:
        name: name of its three files.
        styles: further style sheets, placed before its own.
        isolate_styles: whether to isolate its styles and those of the page from each other.
    """
    css = "".join(map(text, [*styles, f"{name}.css"]))
    address = json.dumps(url(_FILES, f"{name}.js"))
    js = f"export default (await import(\nnew URL({address}, location.origin))).default"  # on one line it would name a file
    return st.components.v2.component(
        f"noisescope_{name}", html=text(f"{name}.html"), css=css, js=js, isolate_styles=isolate_styles
    )
