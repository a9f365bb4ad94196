"""A player: a sequence of pictures to play, loop and scrub, which runs entirely in the browser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from pages.components import frontend
from pages.components.pictures import data_uri, digest_of
from pipelines.common.images import Pixels, montage

GAP = 1  # pixels between the frames on their sheet

_component = frontend.component("player", "controls.css")


def player(
    frames: Sequence[Pixels] | Pixels,
    labels: Sequence[str],
    key: str,
    *,
    alt: str,
    captions: Sequence[str] = (),
    start: int = -1,
    frames_per_second: float = 8.0,
    max_width: int = 720,
) -> int:
    """Show a sequence of pictures and return the index of the current one.

    All frames are sent once, so playing and scrubbing never wait for the server. The page or fragment that calls this function
    reruns with the new frame when the player stops or is scrubbed, and at most four times a second in between.

    Args:
        frames: pictures of equal size, (H, W, C) uint8 each; the browser enlarges them with nearest neighbour.
        labels: one label per frame.
        key: key of the component; new frames under the same key begin at ``start`` again.
        alt: description of the pictures for screen readers.
        captions: captions below the equally wide parts of every frame.
        start: index of the first frame shown, counted from the end if negative.
        frames_per_second: speed of playing (at most 2 for people who prefer reduced motion).
        max_width: maximum width in CSS pixels.

    Raises:
        ValueError: there are no frames, or the number of labels differs.
    """
    if len(frames) == 0 or len(frames) != len(labels):
        raise ValueError(f"{len(frames)} frames and {len(labels)} labels: give one label for each of at least one frame")
    start %= len(frames)
    pixels = np.asarray(frames)
    sequence = digest_of(pixels)
    columns = math.ceil(math.sqrt(len(frames) * pixels.shape[1] / pixels.shape[2]))
    state = _component(
        key=key,
        data={
            "sequence": sequence,
            "sheet": _sheet(sequence, columns, pixels),
            "gap": GAP,
            "columns": columns,
            "width": pixels.shape[2],
            "height": pixels.shape[1],
            "labels": list(labels),
            "captions": list(captions),
            "alt": alt,
            "start": start,
            "framesPerSecond": frames_per_second,
            "maxWidth": max_width,
        },
        on_shown_change=lambda: None,
    )
    shown = state.shown or {}  # the last report of the browser, perhaps about frames replaced since
    return min(int(shown["frame"]), len(frames) - 1) if shown.get("sequence") == sequence else start


@st.cache_data(max_entries=32, show_spinner=False)
def _sheet(sequence: str, columns: int, _frames: Pixels) -> str:
    """Return a sprite sheet of all frames as a data URI; cached by the digest of the pixels."""
    return data_uri(montage(_frames, columns, gap=GAP))
