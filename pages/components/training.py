"""Rows that show the progress of training runs, and the loss and samples of one run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st

from pages.components import to_train, wants
from pages.components.data_report import show_used
from pages.components.live_figure import live_figure
from pages.components.runs import about_samples, show_samples_in, warn_of_samples
from pages.components.training_use import offer_use
from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.text import duration, literal
from pipelines.figures.captions import about_runs
from pipelines.figures.training import training_curves
from pipelines.training.jobs import Job, TrainingQueue
from pipelines.training.status import Status, TrainingProgress

LOOKS: dict[Status, tuple[Literal["blue", "gray", "green", "orange", "red", "violet"], str]] = {
    "starting": ("blue", ":material/hourglass_top:"),
    "training": ("blue", ":material/play_arrow:"),
    "stopping": ("orange", ":material/hourglass_bottom:"),
    "queued": ("violet", ":material/schedule:"),
    "stopped": ("gray", ":material/pause:"),
    "finished": ("green", ":material/check:"),
    "failed": ("red", ":material/error:"),
    "interrupted": ("orange", ":material/power_off:"),
}


def describe_progress(job: Job) -> str:
    """Return a run's steps, speed and remaining time, in one line."""
    reached = job.progress
    if reached is None:
        return "unreadable"
    parts = [f"Step {reached.step:,} of {reached.steps:,}"]
    if job.status == "starting":
        parts.append(describe_work(job.doing) if job.doing else "loading")
    elif job.status == "training" and reached.images_per_second and reached.seconds_left is not None:
        parts += [f"{reached.images_per_second:,.0f} images/s", f"{duration(reached.seconds_left)} left"]
    elif reached.loss is not None:
        parts.append(f"loss {reached.loss:.4f}")
    if job.active and job.request.time_limit:
        parts.append(f"time limit {job.request.time_limit:g} min")
    return " · ".join(parts)


def _attempt(action: Callable[[str], None], name: str) -> None:
    try:
        action(name)
    except (ValueError, OSError) as error:
        st.session_state["job_error"] = describe(error)


def _extras(job: Job) -> list[str]:
    """Return the extras that are needed to resume a run; none for a damaged one, which says what is wrong with it."""
    try:
        return to_train(job.run.config)
    except (ValueError, OSError):
        return []


def show_job(queue: TrainingQueue, name: str, job: Job) -> None:
    """Show one run: its name, status and progress, and buttons for the possible actions."""
    folder = job.run.path.name  # which is unique, but need not be text
    colour, icon = LOOKS[job.status]
    with st.container(border=True, key=f"job-{name}"):
        title, state, buttons = st.columns([4, 5, 3], vertical_alignment="center")
        with title.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{literal(name)}**", width="content")
            st.badge(f"queued, number {job.position}" if job.status == "queued" else job.status, color=colour, icon=icon)
        reached = job.progress or TrainingProgress(1)
        share = job.doing.share if job.status == "starting" and job.doing else min(1.0, reached.step / reached.steps)
        state.progress(share, literal(describe_progress(job)))
        with buttons.container(horizontal=True, horizontal_alignment="right"):
            if job.active:
                label, icon = ("Cancel", ":material/close:") if job.status == "queued" else ("Stop", ":material/stop:")
                st.button(
                    label, key=f"stop-{name}", icon=icon, on_click=_attempt, args=(queue.stop, folder),
                    disabled=job.status == "stopping", help="Resume continues exactly from here at any time.",
                )  # fmt: skip
            elif job.resumable:
                st.button(
                    "Resume", key=f"resume-{name}", icon=":material/resume:", on_click=_attempt, args=(queue.resume, folder),
                    **wants(*_extras(job)),
                )  # fmt: skip
            if job.status in ("queued", "stopped", "finished", "failed", "interrupted"):
                with st.popover("Delete", icon=":material/delete:", key=f"ask-{name}"):
                    st.markdown(f"Delete **{literal(name)}** with its weights and samples? This cannot be undone.")
                    st.button("Delete permanently", key=f"delete-{name}", on_click=_attempt, args=(queue.delete, folder))
        if not job.active:
            offer_use(queue, name, job)
        if job.error:
            st.error(literal(job.error))
        elif job.status == "interrupted":
            st.warning("Its process ended unexpectedly, as in a crash or a reboot. Resume continues from the last checkpoint.")


def show_training(name: str, job: Job) -> None:
    """Show what of its data is used, the loss so far and the newest sample grid."""
    show_used(job.run)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        metrics = job.run.metrics()
        if problem := job.run.log_problem():
            st.warning(f"The log: {problem}.")
        curves = training_curves({name: metrics}, ("loss", "val_loss"), smoothing=0.005, log=("y",))
        live_figure(curves, "loss", f"Training and validation loss of {name}", partial(about_runs, {name: job.run}))
        st.caption("Faint: logged values. Strong: smoothed. The Training curves page shows more.")
        if told := job.run.config.about_copies:
            st.caption(f":material/content_copy: {told[0].upper()}{told[1:]}.")
    with right:
        config = job.run.config
        try:
            samples = job.run.samples()
        except OSError as error:
            warn_of_samples(name, error)
            return
        if not samples:
            st.info(f"The first samples appear at step {config.log.sample_every:,}.")
            return
        step, file = list(samples.items())[-1]
        show_samples_in(config, file, f"{name} at step {step}", teachers=True)
        st.caption(f"Samples at step {step:,}: {about_samples(config)}.")
