"""Choosing one of several pictures by its thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import streamlit as st

from pages.components import frontend
from pages.components.pictures import data_uri
from pipelines.common.images import Pixels, as_pil

SIDE = 64  # maximum width and height of a thumbnail in pixels

_component = frontend.component("thumbnails")


def thumbnails(images: Pixels, number_key: str, *, alt: str, labels: Sequence[str] = ()) -> None:
    """Show pictures to choose from; the number of the chosen one is that of a number input, which a click sets.

    Args:
        images: (N, H, W, C) uint8.
        number_key: key of the number input, which has been drawn.
        alt: description of the pictures for screen readers.
        labels: what each picture shows, if it is known.
    """
    key = f"{number_key} thumbnails"

    def take() -> None:
        st.session_state[number_key] = int(st.session_state[key]["chosen"])

    _component(
        key=key,
        data={
            "pictures": _sources(images.tobytes(), images.shape),
            "labels": list(labels),
            "chosen": int(st.session_state[number_key]),
            "alt": alt,
        },
        on_chosen_change=take,
    )


@lru_cache(maxsize=64)
def _sources(pixels: bytes, shape: tuple[int, ...]) -> list[str]:
    factor, images = -(-max(shape[1:3]) // SIDE), np.frombuffer(pixels, np.uint8).reshape(shape)
    return [data_uri(np.atleast_3d(np.asarray(as_pil(image).reduce(factor)))) for image in images]
