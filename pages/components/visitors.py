"""The requests of a public dashboard's visitors, which are computed within its bounds."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

import streamlit as st
from streamlit import config

from pipelines.common.public import bounds, is_public
from pipelines.common.reading import MEGABYTE
from pipelines.common.text import in_short, literal
from pipelines.sampling.queue import Job

_looked_at: WeakSet[Job] = WeakSet()  # those of all sessions, while one of them keeps them


def restrict_server() -> None:
    """Limit what a public dashboard's visitors may ask of Streamlit; stop the page if the variables of that mode are wrong."""
    try:
        if is_public():
            # Where there is a screen, a browser on this machine may have Streamlit write instructions for coding assistants
            # beside main_interface.py; and behind a server in front, all visitors seem to be on this machine.
            config.set_option("server.headless", True)
            config.set_option("server.maxUploadSize", bounds().upload)
    except ValueError as error:  # nobody gets any further until it is mended
        st.error(literal(f"This dashboard cannot start: {error}."))
        st.stop()


def keep_in_mind(job: Job) -> None:
    """Count the results of a job as long as a session keeps it."""
    _looked_at.add(job)


def too_large(make: Callable[[], Job]) -> str:
    """Return why the job to be made is more than one request on a public dashboard may take; empty if it is not."""
    return _too_large(make()) if is_public() else ""


def refuse_beyond_bounds(job: Job, queued: int) -> None:
    """Keep a job in mind, unless a public dashboard cannot take it.

    Args:
        queued: number of jobs of all visitors that wait or are computed.

    Raises:
        ValueError: it is too large, or too much is being computed or kept already.
    """
    if is_public():
        allowed = bounds()
        if reason := _too_large(job):
            raise ValueError(reason)
        if len(_own()) >= allowed.waiting:
            raise ValueError(f"{len(_own())} of your requests are being computed: wait for one of them, or cancel it")
        if queued >= allowed.queue:
            raise ValueError(f"{queued} requests of other visitors are waiting, as many as this page takes: try again soon")
        if sum(other.nbytes for other in _looked_at) > allowed.memory * MEGABYTE:
            raise ValueError("visitors look at as many results as this public page can keep: try again in a few minutes")
    keep_in_mind(job)


def _too_large(job: Job) -> str:
    effort, calls = job.effort, bounds().calls
    if effort <= calls:
        return ""
    return (
        f"this is {in_short(effort / calls)} times as much as one request on this public page may take, which is "
        f"{calls:,} network calls for images of 32×32 pixels: choose fewer images, steps or columns"
    )


def _own() -> list[Job]:
    """Return the jobs of this session that wait or are computed."""
    kept = [value[1] for value in st.session_state.values() if isinstance(value, tuple) and len(value) == 2]
    return [job for job in kept if isinstance(job, Job) and job.active]
