"""What a text-conditional model has learnt of the words of its prompts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import lru_cache
from html import escape

import streamlit as st

from pages.components import frontend
from pages.components.asking import is_here
from pages.components.generation import generation_queue
from pipelines.common.text import counted, one_line
from pipelines.datasets.learnt_words import Nearest, nearest_caption, recorded_captions, unlearnt_words
from pipelines.storage.config import ConditionConfig, RunConfig

MOST = 8  # prompts
SOON = 0.1  # seconds in which prompts are compared with captions that are encoded, so that the page need not change again
LOOKS = 0.5  # seconds between looks at what takes longer
WAITING = 32  # searches of all sessions, each in a thread
_ROOM = threading.BoundedSemaphore(WAITING)


def show_learnt(config: RunConfig, prompts: Sequence[str]) -> None:
    """Show under each prompt's words whether they are in the recorded captions, and the caption nearest to the prompt.

    The nearest caption follows as soon as it is found. The page reruns when all are.
    """
    captions = recorded_captions(config.condition, config.data.data)
    asked = [prompt for prompt in prompts if prompt.strip()][:MOST]
    if not captions or not asked:
        return
    strange = [unlearnt_words(prompt, captions) for prompt in asked]
    searches = _searches(asked, config) if _can_search(config) else []
    searching = bool(wait(searches, SOON).not_done)

    @st.fragment(run_every=LOOKS if searching else None)
    def show() -> None:
        if searching and all(search.done() for search in searches):
            st.rerun()  # the whole page, which then polls no longer
        told = [_told(search) for search in searches] or [""] * len(asked)
        rows = "".join(
            f"<dt>{_marked(prompt, words)}</dt><dd>{nearest}</dd>"
            for prompt, words, nearest in zip(asked, strange, told, strict=True)
        )
        st.html(
            f'<style>{frontend.text("prompt_words.css")}</style><dl class="prompt-words" style="margin:0;padding:0">{rows}</dl>'
        )

    show()
    if any(strange):
        st.caption(
            f"Underlined: in none of the {counted(len(captions), 'caption')} known of this model's training. The text encoder "
            "understands such a word, but the model may never have seen a picture of it."
        )


def _marked(prompt: str, words: Sequence[str]) -> str:
    """Return a prompt as HTML, with some of its words underlined."""
    parts = re.split(r"([^\W_]+(?:[-'’][^\W_]+)*)", one_line(prompt, 200))
    return "".join(f"<mark>{escape(part)}</mark>" if part.casefold() in words else escape(part) for part in parts)


def _can_search(config: RunConfig) -> bool:
    """Return whether the model's text encoder is on this machine; it is downloaded only when somebody asks."""
    try:
        return is_here(config.condition.encoder)
    except ValueError:
        return False  # generating says why


def _searches(prompts: Sequence[str], config: RunConfig) -> list[Future[Nearest]]:
    """Look for the captions nearest to prompts; return nothing while too many are looked for."""
    try:
        return [_search(prompt, config.condition, config.data.data) for prompt in prompts]
    except BlockingIOError:
        return []


@lru_cache(maxsize=256)
def _search(prompt: str, condition: ConditionConfig, data: str) -> Future[Nearest]:
    """Look for the caption nearest to a prompt, in a thread.

    Raises:
        BlockingIOError: too many are looked for already.
    """
    if not _ROOM.acquire(blocking=False):
        raise BlockingIOError
    found: Future[Nearest] = Future()

    def search() -> None:
        try:
            found.set_result(nearest_caption(prompt, condition, data, _wait_for_idleness))
        except Exception as error:
            found.set_exception(error)
        finally:
            _ROOM.release()

    threading.Thread(target=search, name="captions", daemon=False).start()  # must not outlive the interpreter
    return found


def _wait_for_idleness() -> None:
    """Wait until nothing is generated, which encoding captions would slow; give up when the server stops."""
    server = threading.main_thread()
    while server.is_alive() and len(generation_queue()):
        time.sleep(LOOKS)
    if not server.is_alive():
        raise InterruptedError("the server stops")


def _told(search: Future[Nearest]) -> str:
    """Return what is known of the caption nearest to a prompt, as HTML."""
    if not search.done():
        return "looking for the nearest caption…"
    if search.exception() is not None:
        return ""  # generating says why
    found = search.result()
    return f"nearest caption: “{escape(one_line(found.caption, 200))}” (similarity {found.similarity:.2f})"
