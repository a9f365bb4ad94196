"""What a training will take: what is known of its recipe, and an estimate from a few real steps when somebody asks."""

from __future__ import annotations

import streamlit as st

from pages.components import to_train, wants
from pages.components.training_settings import Training
from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.text import capitalised, literal
from pipelines.storage.config import RunConfig
from pipelines.storage.recipes import cost_of
from pipelines.training.estimate import EstimateJob

ASKED, PROBLEM = "estimate asked", "estimate problem"  # where a session keeps the run to estimate, and why it cannot be


def offer_estimate(job: EstimateJob, config: RunConfig | None) -> None:
    """Draw a button that takes a few real steps to learn how long a run will take; disabled while they are taken."""
    about = "Takes a few real steps, evaluates and draws samples once, and leaves nothing behind."
    if job.running and not _is_ours(job):
        about = "Another window is having a training estimated: wait a little, then ask again."
    able = {"disabled": config is None or job.running} | wants(*to_train(config) if config else (), help=about)
    st.button("Estimate the time", icon=":material/timer:", on_click=_begin, args=(job, config), **able)


def _begin(job: EstimateJob, config: RunConfig) -> None:
    st.session_state[ASKED] = config
    try:
        job.start(config)
    except (ValueError, OSError) as error:
        st.session_state[PROBLEM] = describe(error)


def _is_ours(job: EstimateJob) -> bool:
    """Return whether this session has asked for the last estimate."""
    return ASKED in st.session_state and job.is_of(st.session_state[ASKED])


def show_cost(training: Training) -> None:
    """Say what training with a recipe takes, if one was chosen and its steps were not changed."""
    if training.recipe is not None and training.config is not None:
        cost = cost_of(training.recipe, training.config)
        if cost is not None:
            st.caption(f":material/schedule: {training.recipe}: {cost.about}.")


def show_estimate(job: EstimateJob, config: RunConfig) -> None:
    """Show the progress of this session's estimate with a Cancel button, or what it found of a run like this."""
    ours, running = _is_ours(job), job.running
    if problem := st.session_state.pop(PROBLEM, "") or (job.error(config) if ours else ""):
        st.error(literal(f"The time cannot be estimated: {problem}"))

    @st.fragment(run_every=0.5 if running else None)
    def show() -> None:
        if running and not job.running:
            st.rerun()  # the whole page, which then polls no longer
        if running and ours:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.progress(job.progress.share, literal(f"Estimating: {describe_work(job.progress)}"))
                st.button("Cancel", icon=":material/close:", key="cancel-estimate", on_click=job.stop)
        elif ours and (found := job.found(config)):
            st.markdown(f":material/timer: {literal(capitalised(found.about(config)))}.")

    show()
