"""Starting an evaluation from a page, and watching it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

import streamlit as st

from diffusion_core.choices import SAMPLERS
from pages.components.training import describe_work
from pipelines.common.command_line import describe
from pipelines.evaluate import MOST
from pipelines.evaluation.job import EvaluationJob
from pipelines.storage.runs import Run

STEPS = (5, 10, 20, 50, 100)  # to choose from
USUAL_STEPS = 20


def show_measuring(runs: Mapping[str, Run], missing: Collection[str]) -> None:
    """What is being measured, or a button that starts it.

    Args:
        runs: those on the page, by name.
        missing: which of them have not been measured yet.
    """
    job = EvaluationJob()
    if job.running:
        _watch(job)
        return
    if error := job.error:
        st.error(f"The last evaluation failed: {error}")
    if missing:
        st.info(f"Not measured yet: {', '.join(missing)}.")
    if st.button("Measure…", type="primary" if missing else "secondary", icon=":material/straighten:", disabled=not runs):
        _ask(job, runs, missing)


@st.fragment(run_every=1.0)
def _watch(job: EvaluationJob) -> None:
    if not job.running:
        st.rerun()  # the results are there: the whole page shows them
    progress = job.progress
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.progress(progress.share, f"Measuring · {describe_work(progress)}")
        st.button("Stop", key="stop", icon=":material/stop:", on_click=job.stop, help="What is measured already is kept.")


@st.dialog("Measure", width="medium")
def _ask(job: EvaluationJob, runs: Mapping[str, Run], missing: Collection[str]) -> None:
    from pipelines.sampling.request import SamplingRequest

    chosen = st.multiselect("Models", list(runs), list(missing or runs), key="measured", wrap=True)
    samplers = st.multiselect("Samplers", list(SAMPLERS), [SamplingRequest.sampler], key="measured_samplers", wrap=True)
    steps = st.multiselect("Steps", STEPS, [USUAL_STEPS], key="measured_steps", help="Each with every sampler.", wrap=True)
    images = st.number_input(
        "Samples of each", 10, 50_000, None, step=100, key="measured_images",
        placeholder=f"as many as are held out, up to {MOST}",
        help="More samples, narrower intervals. Compare only what was measured with equally many.",
    )  # fmt: skip
    options = ["--samplers", *samplers, "--steps", *map(str, sorted(steps)), *(["--num-images", str(images)] if images else [])]
    st.caption(
        "Loss by noise level, a bound on the likelihood, and the quality of the samples beside the images that the model was "
        "trained on, which must be at hand. What is known already is not measured again. In a terminal:"
    )
    st.code(shlex.join(["python", "-m", "pipelines.evaluate", *chosen, *options]), language="bash", wrap_lines=True)
    if st.button("Start", type="primary", key="measure", disabled=not (chosen and samplers and steps)):
        try:
            job.start([runs[name] for name in chosen], options)
        except (ValueError, OSError) as error:
            st.error(describe(error))
            return
        st.rerun()
