"""A painter: a picture on which the user paints a mask."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components import frontend
from pages.components.carried import carried, carry
from pages.components.pictures import data_uri, digest_of
from pipelines.common.images import Pixels

_component = frontend.component("painter", "controls.css")


def painter(
    picture: Pixels, key: str, *, alt: str, begin: NDArray[np.bool_] | None = None, max_width: int = 384
) -> NDArray[np.bool_]:
    """Show a picture to paint on and return the painted mask, (H, W).

    Every pair of picture and initial mask keeps what was painted on it. The page reruns after every stroke. The address carries
    the mask, so that a link begins with it.

    Args:
        picture: (H, W, C) uint8.
        key: key of the component, and name of the mask in the address.
        alt: description of the picture for screen readers.
        begin: initial mask, (H, W); empty by default.
        max_width: maximum width in CSS pixels.
    """
    height, width, _ = picture.shape
    if begin is None:
        begin = np.zeros((height, width), bool)
    digest = digest_of(np.dstack([picture, begin]))
    painted_before = f"{key} painted"  # a component's own state is lost when the page is left
    if painted_before not in st.session_state:
        begin = _carried(key, begin)
    masks = st.session_state.setdefault(painted_before, {})
    mask = masks.get(digest, "".join(map(str, begin.ravel().astype(int))))
    state = _component(
        key=key,
        data={
            "picture": digest,
            "source": data_uri(picture),
            "mask": mask,
            "width": width,
            "height": height,
            "alt": alt,
            "maxWidth": max_width,
        },
        on_painted_change=lambda: None,
    )
    painted = state.painted or {}  # the last report of the browser, perhaps about another picture
    if painted.get("picture") == digest:
        mask = painted["mask"]
    masks[digest] = mask
    pixels = np.array([pixel == "1" for pixel in mask])
    carry(key, np.packbits(pixels).tobytes() if pixels.any() else None)
    return pixels.reshape(height, width)


def _carried(key: str, begin: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask in the address if there is one of the picture's size, and the initial one otherwise."""
    content = carried(key)
    if content is None or len(content) != -(-begin.size // 8):
        return begin
    return np.unpackbits(np.frombuffer(content, np.uint8), count=begin.size).astype(bool).reshape(begin.shape)
