"""What a training will take: estimated from its settings at once, and from a few real steps when somebody asks."""

from __future__ import annotations

import streamlit as st

from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.text import capitalised, literal
from pipelines.storage.config import RunConfig
from pipelines.training.estimate import EstimateJob


def offer_estimate(job: EstimateJob, config: RunConfig | None) -> None:
    """Draw a button that takes a few real steps to learn how long a run will take; disabled while they are taken."""
    st.button(
        "Estimate the time", icon=":material/timer:", disabled=config is None or job.running, on_click=_begin,
        args=(job, config), help="Takes a few real steps, evaluates and draws samples once, and leaves nothing behind.",
    )  # fmt: skip


def _begin(job: EstimateJob, config: RunConfig) -> None:
    try:
        job.start(config)
    except (ValueError, OSError) as error:
        st.session_state["estimate problem"] = describe(error)


def show_estimate(job: EstimateJob, config: RunConfig) -> None:
    """Show the progress of the estimate with a Cancel button, or what it found of a run like this."""
    if problem := st.session_state.pop("estimate problem", "") or job.error(config):
        st.error(literal(f"The time cannot be estimated: {problem}"))
    running = job.running

    @st.fragment(run_every=0.5 if running else None)
    def show() -> None:
        if running and not job.running:
            st.rerun()  # the whole page, which then polls no longer
        if running:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.progress(job.progress.share, literal(f"Estimating: {describe_work(job.progress)}"))
                st.button("Cancel", icon=":material/close:", key="cancel-estimate", on_click=job.stop)
        elif found := job.found(config):
            st.markdown(f":material/timer: {literal(capitalised(found.about(config)))}.")

    show()
