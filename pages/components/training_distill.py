"""Distilling a trained run into one that samples in a few steps."""

from __future__ import annotations

import streamlit as st

from diffusion_core.choices import DISTILLATIONS, USUAL_GUIDANCE
from pages.components import to_train, wants
from pages.components.glossary import term
from pages.components.requests import MAX_GUIDANCE
from pages.components.runs import can_be_tuned, known_runs
from pages.components.timing import rough_time
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.storage.config import DistillationConfig
from pipelines.storage.distillation_config import MOST_TUNED
from pipelines.storage.run import Run
from pipelines.storage.student_defaults import LOG, OPTIMIZER, training_calls
from pipelines.training.jobs import TrainingQueue

MOST_CALLS = 16  # with more, a student saves little


def offer_students(queue: TrainingQueue) -> None:
    """Draw what starts the training of a student of any model, also of those that come with Noisescope."""
    able = wants("train", help=term("distillation"))
    with st.popover("Distil a model", icon=":material/school:", key="students", on_change="rerun", **able) as menu:
        if menu.open:
            teachers = known_runs().models(can_be_tuned)
            name = st.selectbox("Teacher", list(teachers), key="teacher")
            _ask(queue, f"a-{name}", teachers[name].run)


def offer_distillation(queue: TrainingQueue, name: str, run: Run) -> None:
    """Draw what starts the training of a run's student."""
    able = wants(*to_train(run.config), help=term("distillation"))
    with st.popover("Distil", icon=":material/school:", key=f"distil-{name}", on_change="rerun", **able) as menu:
        if menu.open:  # the runs are drawn again every two seconds
            _ask(queue, name, run)


def _ask(queue: TrainingQueue, name: str, run: Run) -> None:
    """Draw the inputs of a distillation, what it will take, and the button that starts it.

    Args:
        name: for the keys of the widgets.
        run: the teacher.
    """
    usual, conditional = DistillationConfig(), run.config.network.conditional
    st.markdown("Train a **student** that learns to make in a few steps what this model makes in many.")
    method = st.radio(
        "Method",
        list(DISTILLATIONS),
        format_func=lambda method: DISTILLATIONS[method].title,
        captions=[choice.about for choice in DISTILLATIONS.values()],
        key=f"method-{name}",
    )
    tuned = DistillationConfig((1,), method).sees_images
    key = f"calls-{method}-{name}"
    if tuned:
        calls = [int(st.number_input("Its steps", 1, MOST_TUNED, MOST_TUNED, key=key, help=term("student")))]
    else:
        about = f"{term('student')} With several numbers, one student serves them all: its network is told the number."
        calls = st.multiselect("Its steps", range(1, MOST_CALLS + 1), usual.calls, key=key, help=about)
    guidance = None
    if conditional and not tuned:
        about = f"{term('guidance')} The student learns this scale, which then cannot be changed."
        guidance = st.number_input("Guidance", 0.0, MAX_GUIDANCE, USUAL_GUIDANCE, 0.5, key=f"distilled-{name}", help=about)
    if not calls:
        st.caption("Choose one or more numbers of steps.")
        return
    asked = DistillationConfig(tuple(sorted(calls)), method, guidance=guidance)
    time = rough_time(run, training_calls(asked), OPTIMIZER.batch_size)
    takes = f"Training takes {OPTIMIZER.steps:,} steps of {OPTIMIZER.batch_size} images"
    st.caption(literal(f"{takes}: {time}." if time else f"{takes}."))
    able = wants(*to_train(run.config))
    st.button("Train a student", key=f"student-{name}", type="primary", on_click=_start, args=(queue, run, asked), **able)


def _start(queue: TrainingQueue, run: Run, asked: DistillationConfig) -> None:
    """Queue the training of a student, or note why it cannot be trained, for the page to show."""
    from pipelines.models.teachers import student_config

    try:
        tuned = f"-{asked.method}" if asked.sees_images else ""
        student = f"{run.path.name}-student-{'-'.join(map(str, asked.calls))}{tuned}"
        queue.create(student, student_config(run, asked, OPTIMIZER, LOG))
        st.session_state["run"] = student
    except (ValueError, OSError) as error:
        st.session_state["job_error"] = describe(error)
