"""The values in a page's address."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from urllib.parse import unquote, urlsplit

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from pipelines.common.text import literal

UNUSED = "unused values"  # sentences to be shown when the page has run


@contextmanager
def unused_values_told() -> Iterator[None]:
    """Say of each value in the address that a page's input did not take what the page takes instead.

    This also holds for a page that stops early.
    """
    asked = {name: st.query_params.get_all(name) for name in st.query_params if name not in st.session_state}
    try:
        yield
    finally:
        told: list[str] = []
        for name, texts in asked.items():
            used = st.session_state.get(name)
            if isinstance(used, str | int | float | list | tuple) and not isinstance(used, bool):
                values = list(used) if isinstance(used, list | tuple) else [used]
                takes = ", ".join(map(_in_words, values)) or "nothing"
                told += [_unused_told(name, text, takes) for text in _unused(texts, values, st.query_params.get_all(name))]
        if told := [*st.session_state.pop(UNUSED, []), *told]:
            _say(told)


def _unused(texts: Sequence[str], values: Sequence[object], kept: Collection[str]) -> list[str]:
    """Return the texts of an address that are not among an input's values.

    Args:
        kept: texts that are still in the address: Streamlit removes those that an input does not take.
    """
    if values and all(isinstance(value, int | float) for value in values):
        return [text for text in texts if _number(text) not in values]
    return [text for text in texts if text not in kept and text not in map(str, values)]


def tell_unless(name: str, takes: Callable[[str], bool], used: str) -> None:
    """Note once if the address has a value that the page does not take, where no input but the browser reads it.

    Args:
        used: what the page takes instead.
    """
    text, told = st.query_params.get(name), f"unused {name}"
    if text is not None and not takes(text) and st.session_state.get(told) != text:
        st.session_state.setdefault(UNUSED, []).append(_unused_told(name, text, used))
        st.session_state[told] = text


def page_for_unknown(pages: Sequence[StreamlitPage]) -> list[StreamlitPage]:
    """Return a page that says so, and offers the one with the nearest name, if the address names none of these pages."""
    base = st.get_option("server.baseUrlPath").strip("/")
    name = unquote(urlsplit(st.context.url or "").path).strip("/").removeprefix(base).strip("/ ")
    by_name = {page.url_path: page for page in pages}
    if name in by_name or name == "home" or "/" in name:
        return []

    def say() -> None:
        """Say that there is no such page."""
        st.title("No such page", anchor=False)
        st.markdown(f"There is no page **{literal(name, 40)}**. All pages are in the menu at the top.")
        given = {key: st.query_params.get_all(key) for key in st.query_params}
        for nearest in get_close_matches(name.lower(), filter(None, by_name), 1):
            st.page_link(by_name[nearest], label=f"Did you mean **{by_name[nearest].title}**?", query_params=given)

    return [st.Page(say, title="No such page", url_path=name, visibility="hidden")]


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    return math.isfinite(number) if (number := _number(text)) is not None else False


def _unused_told(name: str, text: str, used: str) -> str:
    asked = f"{literal(name)}={literal(text, 40)}"
    return f"{asked} in the address cannot be used here: this page uses {literal(used, 80)} instead."


def _say(sentences: Sequence[str]) -> None:
    """Show sentences in one notice, since a browser shows only a few.

    A person closes it: the page shows something else than the link meant, and four seconds are too short to see that.
    """
    st.toast("\n\n".join(sentences), icon=":material/warning:", duration="infinite")


def _in_words(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def forget_infinite_numbers() -> None:
    """Remove infinite numbers from the address: Streamlit's inputs of whole numbers fail on them, and the page with them."""
    infinite = [name for name in st.query_params if any(map(_is_infinite, st.query_params.get_all(name)))]
    for name in infinite:
        del st.query_params[name]
    if infinite:
        _say([_unused_told(name, "infinity", "its usual value") for name in infinite])
        st.rerun()  # inputs take their values from the address with which a script starts


def _is_infinite(text: str) -> bool:
    return math.isinf(_number(text) or 0)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
