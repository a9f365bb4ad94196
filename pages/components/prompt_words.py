"""What a text-conditional model has learnt of the words of its prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import streamlit as st

from pages.components import frontend
from pipelines.common.text import counted, one_line
from pipelines.datasets.learnt_words import nearest_caption, recorded_captions, unlearnt_words
from pipelines.datasets.pretrained import local_encoder
from pipelines.storage.config import RunConfig

MOST = 8  # prompts


def show_learnt(config: RunConfig, prompts: Sequence[str]) -> None:
    """Show under each prompt's words whether they are in the recorded captions, and the caption nearest to the prompt."""
    captions = recorded_captions(config.condition, config.data.data)
    asked = [prompt for prompt in prompts if prompt.strip()][:MOST]
    if not captions or not asked:
        return
    strange = [unlearnt_words(prompt, captions) for prompt in asked]
    rows = "".join(
        f"<dt>{_marked(prompt, words)}</dt><dd>{_nearest(prompt, config)}</dd>"
        for prompt, words in zip(asked, strange, strict=True)
    )
    st.html(
        f'<style>{frontend.text("prompt_words.css")}</style><dl class="prompt-words" style="margin:0;padding:0">{rows}</dl>'
    )
    if any(strange):
        st.caption(
            f"Underlined: in none of the {counted(len(captions), 'caption')} known of this model's training. The text encoder "
            "understands such a word, but the model may never have seen a picture of it."
        )


def _marked(prompt: str, words: Sequence[str]) -> str:
    """Return a prompt as HTML, with some of its words underlined."""
    parts = re.split(r"([^\W_]+(?:[-'’][^\W_]+)*)", one_line(prompt, 200))
    return "".join(f"<mark>{escape(part)}</mark>" if part.casefold() in words else escape(part) for part in parts)


def _nearest(prompt: str, config: RunConfig) -> str:
    try:
        if local_encoder(config.condition.encoder) is None:
            return ""  # it is downloaded only when somebody asks
        found = nearest_caption(prompt, config.condition, config.data.data)
    except (ValueError, OSError):
        return ""  # generating says why
    return f"nearest caption: “{escape(one_line(found.caption, 200))}” (similarity {found.similarity:.2f})"
