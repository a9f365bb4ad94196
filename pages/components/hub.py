"""Adding runs from the Hugging Face hub to the lists of models, and uploading one's own."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from pages.components import wants
from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.machine import in_words
from pipelines.common.text import capitalised, literal
from pipelines.storage.added import add, added, remove
from pipelines.storage.config import RunConfig
from pipelines.storage.hub import Offer, look_up
from pipelines.storage.hub_id import SPELLING, HubId
from pipelines.storage.hub_jobs import DownloadJob

FOUND, NOTE = "found on the hub", "what became of the download"  # keys in the session


def offer_hub() -> None:
    """Draw a button that opens a dialog in which runs from the hub are added to the lists, or removed."""
    able = wants("hub", help="By its id: USER/NAME.")
    if st.button("Add a model from the hub", icon=":material/cloud_download:", key="hub", **able):
        st.session_state.pop(FOUND, None)
        _ask()


def show_download() -> None:
    """Show the progress of a download, or once what became of it."""
    job = DownloadJob()
    if job.running:
        _watch(job)
    elif told := st.session_state.pop(NOTE, None):
        (st.error if job.error else st.success)(literal(told))


@st.fragment(run_every=0.5)
def _watch(job: DownloadJob) -> None:
    """Show the progress of a download, and redraw the page when it has ended."""
    if not job.running:
        outcome = "is in the lists of models now" if job.finished else "is not downloaded: that was cancelled"
        st.session_state[NOTE] = f"The download failed: {job.error}" if job.error else f"{_shown(job.asked)} {outcome}."
        st.rerun()
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.progress(job.progress.share, literal(f"Downloading {_shown(job.asked)} · {describe_work(job.progress)}"))
        st.button("Cancel", key="cancel-download", icon=":material/close:", on_click=job.stop)


@st.dialog("Add a model from the hub", width="medium")
def _ask() -> None:
    add_from_hub()


def add_from_hub() -> None:
    """Look a run up, tell how large it is, and download it when that is confirmed."""
    job = DownloadJob()
    if job.running:
        st.info(literal(f"{_shown(job.asked)} is being downloaded: wait for it, or cancel it first."))
        return
    st.markdown(
        "Runs of Noisescope that people have uploaded to the Hugging Face hub. Nothing is downloaded before you have seen how "
        "large it is, and weights are read from safetensors only. Add models of people whom you trust."
    )
    with st.form("hub-look-up", border=False):
        typed = st.text_input(
            "Id on the hub", placeholder=SPELLING, key="hub-id", max_chars=300,
            help="The revision is a branch, a tag or a commit; the folder is one of the repository that holds the run.",
        ).strip()  # fmt: skip
        if st.form_submit_button("Look it up", icon=":material/search:"):
            st.session_state[FOUND] = _looked_up(typed)
    found = st.session_state.get(FOUND)
    if isinstance(found, str):
        st.error(literal(found))
    elif found is not None:
        _offer(job, found)
    _offer_removal()


def _looked_up(typed: str) -> Offer | str:
    """Return what the hub has under an id, or one sentence on why nothing can be had."""
    hub = HubId.parse(typed)
    if hub is None:
        return f"{typed!r} is no id of a model on the hub: give {SPELLING}, such as somebody/flowers."
    try:
        with st.spinner("Asking the hub"):
            return look_up(hub)
    except (ValueError, OSError) as error:
        return f"{capitalised(describe(error))}."


def _offer(job: DownloadJob, offer: Offer) -> None:
    """Show what the hub has, and a button that downloads it."""
    with st.container(border=True):
        st.markdown(f"**{literal(offer.hub.title)}**")
        st.markdown(literal(_in_one_line(offer.config)))
        license = f"licence {offer.license}" if offer.license else "its card names no licence"
        st.caption(literal(f"{offer.about} {capitalised(license)}."))
        if offer.note:
            st.caption(literal(f"{capitalised(offer.note)}."))
        total = sum(offer.missing.values())
        if not total and offer.hub in _added():
            st.caption("It is in the lists of models already.")
            return
        label = f"Download {in_words(total)}" if total else "Add to the list"
        if st.button(label, type="primary", icon=":material/download:" if total else ":material/add:", key="hub-download"):
            try:
                if total:
                    job.start(replace(offer.hub, revision=offer.revision))
                else:
                    offer.download()  # what is here for when the hub cannot be asked
                    add(offer.hub)
            except (ValueError, OSError) as error:
                st.error(literal(describe(error)))
                return
            st.session_state.pop(FOUND)
            st.rerun()


def _in_one_line(config: RunConfig) -> str:
    """Return what kind of model a configuration describes."""
    size = "×".join(map(str, (config.image_shape or (0, 0, 0))[1:]))
    return f"{config.kind} · {config.data.data} at {size}"


def _offer_removal() -> None:
    """List the added runs, each with a button that takes it off the lists."""
    hubs = _added()
    if hubs:
        st.markdown("**Added before**")
    for hub in hubs:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(literal(hub.short), width="content")
            st.button(
                "Remove", key=f"forget-{hub.title}", type="tertiary", icon=":material/close:", on_click=remove, args=(hub,),
                help="Takes it off the lists; its files stay in the hub's cache.",
            )  # fmt: skip


def _added() -> list[HubId]:
    """Return the added runs; none if their list is damaged, which the page says above its models."""
    try:
        return added()
    except (ValueError, OSError):
        return []


def _shown(asked: str) -> str:
    """Return an id as it is shown: with the first digits of its commit."""
    hub = HubId.parse(asked)
    return asked if hub is None else hub.short
