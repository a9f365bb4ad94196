"""The top of every page: its title, what it shows, and the lesson that a link has opened."""

from __future__ import annotations

import base64
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.about import ABOUT, About
from pages.components.glossary import linked
from pages.components.lesson_box import opened_lesson, show_lesson
from pipelines.storage.files import ROOT

MINIATURES = ROOT / "docs" / "miniatures"


def heading(page: str) -> DeltaGenerator:
    """Draw the title of a page and what it shows; return a container beside the title for what one does with the page.

    Call it before the page's inputs are drawn, because a lesson sets them.

    Args:
        page: name of the page's file.
    """
    about, lesson = ABOUT[page], opened_lesson(page)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="heading"):
        st.title(about.title, anchor=False, width="content")
        with st.popover("What am I looking at?", type="tertiary", icon=":material/help:"):
            _explain(about)
        actions = st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center")
    st.markdown(about.line)
    if lesson is not None:
        show_lesson(lesson)
    return actions


def _explain(about: About) -> None:
    """Draw the explanation of a page."""
    if about.miniature:
        st.html(annotated(about))
    st.markdown(f"{linked(about.more)}\n\n:material/menu_book: [All words: the glossary](glossary)")


def annotated(about: About) -> str:
    """Return HTML of a miniature with numbered points, and what is seen there beside it."""
    points = "".join(
        f'<b class="mark" style="left:{mark.left}%;top:{mark.top}%">{number}</b>'
        for number, mark in enumerate(about.marks, start=1)
    )
    said = "".join(f"<li>{escape(mark.text)}</li>" for mark in about.marks)
    return f'<figure class="annotated"><div>{_picture(about.miniature)}{points}</div><ol>{said}</ol></figure>'


def _picture(name: str) -> str:
    content = (MINIATURES / name).read_bytes()
    kind = "svg+xml" if name.endswith(".svg") else "webp"
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
