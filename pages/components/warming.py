"""Loading in the background what a visitor is about to need, while a page is being read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module

import streamlit as st

NEEDED = "encoders needed soon"  # where a session keeps the names of text encoders until they are being loaded


def expect_encoders(names: Sequence[str]) -> None:
    """Note that prompts will soon be encoded by these text encoders."""
    st.session_state[NEEDED] = names


def load_meanwhile() -> None:
    """Load in a thread torch, which nearly every visitor will need, and the text encoders that this session needs soon.

    Each is loaded once for the server, and takes seconds. A server that stops meanwhile waits for it.
    """
    _loader()
    for encoder in st.session_state.pop(NEEDED, ()):
        _load_encoder(encoder)


@cache
def _loader() -> ThreadPoolExecutor:
    loader = ThreadPoolExecutor(1, "warming")
    loader.submit(import_module, "pipelines.sampling.prompts")  # and torch with it
    return loader


@cache
def _load_encoder(name: str) -> Future[None]:
    """Load a text encoder unless it would have to be downloaded."""

    def load() -> None:
        from pipelines.common.extras import missing_extra
        from pipelines.datasets.pretrained import local_encoder

        if not missing_extra("text") and local_encoder(name) is not None:
            from pipelines.datasets.conditions import encoder_called

            encoder_called(name)

    return _loader().submit(load)
