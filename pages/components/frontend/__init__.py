"""The browser side of the components: scripts, styles and markup in this folder, and their registration."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit import runtime
from streamlit.components.v1.custom_component import CustomComponent
from streamlit.components.v2.types import ComponentRenderer

FOLDER = Path(__file__).parent


@cache
def text(name: str) -> str:
    """Return the text of a file in this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest() -> str:
    scripts = sorted(FOLDER.glob("*.js"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in scripts)).hexdigest()[:16]


def served(name: str, folder: Path) -> CustomComponent:
    """Let Streamlit serve a folder: :func:`url` says where.

    It serves those of components of the older kind. ``declare_component``, which makes them, would look for its caller among
    all modules that are loaded, a sixth of the time that Home's imports take.
    """
    files = CustomComponent(name=name, path=str(folder))
    if runtime.exists():
        runtime.get_instance().component_registry.register_component(files)
    return files


def url(folder: CustomComponent, name: str) -> str:
    """Return the path under which the browser finds a file of a folder that is :func:`served`."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"{'/' if base else ''}{base}/component/{folder.name}/{name}"


# The name depends on the scripts, so that a browser never mixes them with cached ones of another version.
_FILES = served(f"noisescope_{_digest()}", FOLDER)


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


def load_ahead(name: str) -> None:
    """Let the browser load the script of a component, and all that it imports, before the component is shown."""
    st.html(f'<script type="module" src="{url(_FILES, f"{name}.js")}"></script>', unsafe_allow_javascript=True)
