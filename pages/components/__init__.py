"""Components shared by the pages."""

import gc
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, TypedDict

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import StopException

from pipelines.common.extras import missing_extra
from pipelines.common.settings import Described
from pipelines.common.text import capitalised, literal
from pipelines.storage.config import RunConfig

# What a server has loaded lives as long as the server. The collector would look through all of it again and again while the
# pages' modules and torch are imported, a sixth of the time.
gc.freeze()

# Until st.navigation has run once, a server treats a folder called "pages" as the older kind of multipage app and runs the
# page of a link alone, without main_interface.py. Importing this package, which every page does, corrects this.
if PagesManager.uses_pages_directory:
    PagesManager.uses_pages_directory = False
    st.rerun()


class Bound(TypedDict):
    """Keyword arguments of a widget whose value is stored in the URL."""

    bind: Literal["query-params"]


BOUND: Bound = {"bind": "query-params"}  # for every input: links reproduce a page, and leaving it loses nothing


def about_choices(registry: Mapping[str, Described]) -> str:
    """Return the help text of a widget that offers the choices of a registry."""
    return "\n".join(f"- **{choice.title}** (`{name}`): {choice.about}" for name, choice in registry.items())


def wants(*extras: str, help: str | None = None) -> dict[str, Any]:
    """Return keyword arguments of a button that needs extras: without one, the button is disabled and its help says why."""
    sentence = next(filter(None, map(missing_extra, extras)), "")
    return {"disabled": True, "help": f"{literal(capitalised(sentence))}."} if sentence else {"help": help}


def to_evaluate(*configs: RunConfig) -> list[str]:
    """Return the extras that are needed to evaluate runs."""
    return ["train", *["text"] * any(config.network.takes == "text" for config in configs)]


def to_train(config: RunConfig) -> list[str]:
    """Return the extras that are needed to train a run or its student."""
    return [*to_evaluate(config), *["lora"] * bool(config.init.lora_rank)]


def end_page() -> NoReturn:
    """End a page early. Unlike after ``st.stop``, main_interface.py can still tell what the page did not take."""
    raise StopException
