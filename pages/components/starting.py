"""The button that starts a generation, with the time that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import streamlit as st

from pages.components.asking import cannot_encode, encoders_of
from pages.components.timing import about_time
from pages.components.visitors import too_large
from pages.components.warming import expect_encoders
from pipelines.common.text import capitalised, literal
from pipelines.sampling.generation import Wish
from pipelines.sampling.queue import Job
from pipelines.storage.run import Run


def refusal(runs: Sequence[Run], make: Callable[[], Job]) -> str:
    """Return why a button would start nothing, as far as that is known before it is pressed; empty if it would.

    Args:
        runs: what the job generates with.
        make: returns the job.
    """
    try:
        return cannot_encode(runs) or too_large(make)
    except (ValueError, OSError):  # whoever presses the button learns what is wrong
        return ""


def tell_refusal(reason: str) -> None:
    """Show beside a disabled button why it is disabled, if there is a reason."""
    if reason:
        st.markdown(f":orange[:material/block: {literal(capitalised(reason))}.]")


def draw_start(
    key: str,
    label: str,
    wishes: Sequence[Wish],
    make: Callable[[], Job],
    *,
    outdated: bool = False,
    disabled: bool = False,
    on_click: Callable[[], None] | None = None,
) -> bool:
    """Draw the button that starts generations, and return whether it has just been pressed.

    Args:
        key: of the job.
        wishes: what is to be generated; empty if it is shown already, so that pressing the button takes no time.
        make: returns the job that generates them.
        outdated: whether what is shown below is of other settings, which is said beside the button.
    """
    time, why = about_time(wishes)
    runs = [run for run, *_ in wishes]
    reason = refusal(runs, make) if wishes else ""
    if not reason:
        with suppress(ValueError, OSError):  # whoever presses the button learns what is wrong
            expect_encoders(encoders_of(runs))
    with st.container(horizontal=True, vertical_alignment="center"):
        # With a key, it stays the same button when its label changes: one that is replaced loses the click that changes it.
        pressed = st.button(
            f"{label}{time}", type="primary", icon=":material/play_arrow:", help=why, key=f"start {key}",
            disabled=disabled or bool(reason), on_click=on_click,
        )  # fmt: skip
        tell_refusal(reason)
        if outdated:
            st.markdown(":orange[:material/history: **The results below are of other settings** than those chosen now.]")
    return pressed
