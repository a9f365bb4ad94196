"""Train: choose a dataset, a network and a budget; start, watch, stop and resume runs."""

import streamlit as st

from pages.components import BOUND, end_page, to_train, wants
from pages.components.heading import heading
from pages.components.runs import show_unusable
from pages.components.training import show_job, show_training
from pages.components.training_distill import offer_students
from pages.components.training_estimate import offer_estimate, show_cost, show_estimate
from pages.components.training_preview import show_footprint
from pages.components.training_settings import choose_training
from pages.components.training_use import follow_choice
from pipelines.common.command_line import describe
from pipelines.common.extras import missing_extra
from pipelines.common.public import is_public
from pipelines.common.text import capitalised, literal
from pipelines.storage.catalogue import named, read_catalogue
from pipelines.storage.config import RunConfig
from pipelines.storage.runs import find_runs
from pipelines.train import default_name
from pipelines.training.estimate import EstimateJob
from pipelines.training.jobs import TrainingQueue

SHOWN_JOBS = 5  # older runs are in an expander

heading("train")
if is_public():
    st.info("This public dashboard trains nothing: run your own to train, as Home says.")
    end_page()
if lacking := missing_extra("train"):
    st.warning(literal(f"{capitalised(lacking)}."))
follow_choice(whole=True)
queue = TrainingQueue()
estimates = EstimateJob(queue.root)

with st.container(border=True):
    training = choose_training()
    footprint_place = st.empty()  # filled last, because the estimate loads torch
    if training.config is not None:
        show_cost(training)
        show_estimate(estimates, training.config)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        usual_name = default_name(training.config or RunConfig(), queue.root, training.recipe)
        name = st.text_input("Name", placeholder=usual_name, key="name", width=320, **BOUND) or usual_name
        pressed = st.button(
            "Start training",
            type="primary",
            icon=":material/model_training:",
            **({"disabled": True} if training.config is None else wants(*to_train(training.config))),
        )
        offer_estimate(estimates, training.config)
    if pressed and training.config is not None:
        try:
            queue.create(name, training.config, training.time_limit)
            st.session_state["run"] = name
            st.toast(f"{literal(name)} is in the queue.", icon=":material/schedule:")
            st.rerun()  # the name is taken now: suggest the next one
        except (ValueError, OSError) as error:
            st.error(literal(describe(error)))

with st.container(horizontal=True, vertical_alignment="center"):
    st.subheader("Your runs", anchor=False, width="content")
    offer_students(queue)
listed = named(find_runs(queue.root))  # with a row below, which says what is wrong
show_unusable({name: problem for name, problem in read_catalogue(queue.root).problems.items() if name not in listed})


@st.fragment(run_every=2.0)
def show_runs() -> None:
    """Show the runs on disk, including those started elsewhere."""
    follow_choice(whole=False)
    if error := st.session_state.pop("job_error", None):
        st.error(literal(error))
    if error := queue.error:
        st.error(literal(f"The training queue stopped unexpectedly and restarts: {error}"))
    try:
        queue.wake()
    except OSError as reason:  # a full disk, say
        st.error(literal(f"The training queue cannot be started: {describe(reason)}"))
    found = queue.jobs()
    jobs = dict(zip(named(job.run for job in found), found, strict=True))
    if not jobs:
        st.info("No runs yet: those that you start above appear here, with their loss and samples.")
        return
    shown = max(SHOWN_JOBS, sum(job.active for job in jobs.values()))
    for name, job in list(jobs.items())[:shown]:
        show_job(queue, name, job)
    if len(jobs) > shown:
        with st.expander(f"{len(jobs) - shown} more", key="more_runs", on_change="rerun") as more:
            for name, job in list(jobs.items())[shown:] if more.open else ():  # many rows would be sent every two seconds
                show_job(queue, name, job)
    if st.session_state.get("run") not in jobs:
        st.session_state.pop("run", None)
    watched = st.selectbox("Run to watch", list(jobs), key="run", width=320, **BOUND)
    try:
        show_training(watched, jobs[watched])
    except (ValueError, OSError) as error:
        st.warning(literal(f"{watched} cannot be shown: {describe(error)}"))


show_runs()
if training.config is not None:
    with footprint_place:
        show_footprint(training.config)
