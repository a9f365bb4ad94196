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


def thumbnails(
    images: Sequence[Pixels], number_key: str, chosen: int, *, alt: str, numbers: Sequence[int] = (), labels: Sequence[str] = ()
) -> None:
    """Show pictures to choose from; the number of the chosen one is that of a number input, which a click sets.

    Args:
        images: (H, W, C) uint8 each.
        number_key: key of the number input.
        chosen: number of the chosen picture.
        alt: description of the pictures for screen readers.
        numbers: number of each picture; counted from 0 by default.
        labels: what each picture shows, if it is known.
    """
    key = f"{number_key} thumbnails"
    small = [_small(image.tobytes(), image.shape) for image in images]

    def take() -> None:
        choose(number_key, st.session_state[key]["chosen"])

    _component(
        key=key,
        data={
            "pictures": [source for source, _ in small],
            "numbers": list(numbers or range(len(images))),
            "labels": list(labels),
            "chosen": chosen,
            "side": max((width for _, width in small), default=1),
            "alt": alt,
        },
        on_chosen_change=take,
    )


def choose(number_key: str, number: int) -> None:
    """Set the number input that says which picture is chosen."""
    st.session_state[number_key] = int(number)


@lru_cache(maxsize=2048)
def _small(pixels: bytes, shape: tuple[int, ...]) -> tuple[str, int]:
    """Return a thumbnail as a data URI, and its width in pixels."""
    image = as_pil(np.frombuffer(pixels, np.uint8).reshape(shape))
    small = image.reduce(-(-max(shape[:2]) // SIDE))
    return data_uri(np.atleast_3d(np.asarray(small))), small.width
