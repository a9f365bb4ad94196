"""A player: a sequence of pictures to play, loop and scrub, which runs entirely in the browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st

from pages.components import frontend
from pages.components.address import tell_unless
from pages.components.pictures import data_uri, digest_of
from pipelines.common.images import Pixels, montage

TIMESTEP = "t"  # in the address
GAP = 1  # pixels between the pictures on their sheet

_component = frontend.component("player", "controls.css")


def player(
    frames: Pixels,
    labels: Sequence[str],
    key: str,
    *,
    alt: str,
    captions: Sequence[str] = ("",),
    facts: Sequence[Mapping[str, str]] = (),
    start: int = -1,
    play: bool = False,
    frames_per_second: float = 8.0,
    max_side: int = 320,
    times: Sequence[float] = (),
) -> int:
    """Show a sequence of pictures and return the index of the current frame.

    All frames are sent once, so playing and scrubbing never wait for the server; charts can follow them in the browser (see
    :func:`pages.components.live_figure.live_figure`). The page or fragment that calls this function reruns when a frame stays.

    Args:
        frames: (F, P, H, W, C) uint8, the P pictures of each frame; the browser enlarges them with nearest neighbour.
        labels: one label per frame.
        key: key of the component; new frames under the same key begin at ``start`` again.
        alt: description of the pictures for screen readers.
        captions: one caption for each of the P pictures.
        facts: values shown below the pictures, by name, for each frame; the same names for all.
        start: index of the first frame shown, counted from the end if negative.
        play: whether to play new frames at once, except for people who prefer reduced motion.
        frames_per_second: speed of playing (at most 2 for people who prefer reduced motion).
        max_side: maximum width of a picture in CSS pixels.
        times: timestep of each frame, by which the address tells which one is shown: new frames begin at the one there, if any.

    Raises:
        ValueError: there are no frames, or the number of labels, captions or facts differs.
    """
    count, parts = frames.shape[:2]
    if count == 0 or count != len(labels) or parts != len(captions) or len(facts) not in (0, count):
        raise ValueError(
            f"{count} frames of {parts} pictures, {len(labels)} labels, {len(captions)} captions, {len(facts)} facts: give a "
            "label for each of at least one frame, facts for each or none, and a caption for each picture"
        )
    sequence = digest_of(frames)
    asked = frame_in_address(times)
    index, known = _last_shown(key, sequence, start % count if asked is None else asked)
    columns = math.ceil(math.sqrt(count * parts * frames.shape[2] / frames.shape[3]))
    _component(
        key=key,
        data={
            "key": key,
            "sequence": sequence,
            "sheet": _sheet(sequence, columns, frames),
            "gap": GAP,
            "columns": columns,
            "width": frames.shape[3],
            "height": frames.shape[2],
            "labels": list(labels),
            "captions": list(captions),
            "facts": [dict(values) for values in facts],
            "alt": alt,
            "start": index,  # where a player that is built anew continues
            "play": play and not known and asked is None,
            "framesPerSecond": frames_per_second,
            "maxSide": max_side,
        },
        on_shown_change=lambda: None,
    )
    frame_shown(key)[0] = index
    if known or asked is not None:
        st.session_state[_remembered(key)] = {"sequence": sequence, "frame": index}
        if times:
            st.query_params[TIMESTEP] = f"{times[index]:.0f}"  # so that a link shows the same frame
    return index


def frame_in_address(times: Sequence[float]) -> int | None:
    """Return the frame whose timestep is nearest to the one in the address, or None if there is none."""
    if times:
        tell_unless(TIMESTEP, str.isdecimal, "a timestep, in digits")
    asked = st.query_params.get(TIMESTEP, "")[:9]
    return int(np.abs(np.array(times) - int(asked)).argmin()) if times and asked.isdecimal() else None


def begin_anew() -> None:
    """Forget the timestep in the address: what comes next is shown from its beginning."""
    st.query_params.pop(TIMESTEP, None)


def frame_shown(key: str) -> list[int]:
    """Return a list of one number, the frame that the player with this key shows, which other threads can read too."""
    frame: list[int] = st.session_state.setdefault(f"frame-of-{key}", [0])
    return frame


def _last_shown(key: str, sequence: str, start: int) -> tuple[int, bool]:
    """Return the frame that was last shown of these frames, or ``start``, and whether one is known."""
    for shown in (st.session_state.get(key, {}).get("shown"), st.session_state.get(_remembered(key))):
        if shown and shown["sequence"] == sequence:
            return int(shown["frame"]), True
    return start, False


def _remembered(key: str) -> str:
    """Return where the session keeps which frame is shown: a component's own state is lost when the page is left."""
    return f"{key} shown"


@st.cache_data(max_entries=32, show_spinner=False)
def _sheet(sequence: str, columns: int, _frames: Pixels) -> str:
    """Return a sprite sheet of all pictures as a data URI; cached by the digest of the pixels."""
    return data_uri(montage(_frames.reshape(-1, *_frames.shape[2:]), columns, gap=GAP))
