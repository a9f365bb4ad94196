"""Starting an evaluation from a page, and showing its progress."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

import streamlit as st

from diffusion_core.choices import SAMPLERS
from pages.components import to_evaluate, wants
from pages.components.glossary import term
from pages.components.work import describe_work
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.evaluate import MOST
from pipelines.evaluation.job import EvaluationJob
from pipelines.storage.run import Run

STEPS = (5, 10, 20, 50, 100)  # the choices


def show_measuring(runs: Mapping[str, Run], missing: Collection[str]) -> None:
    """Show the progress of the running evaluation, or a button that starts one.

    Args:
        runs: the chosen runs, by name.
        missing: names of those without results.
    """
    job = EvaluationJob()
    if job.running:
        watch(job)
        return
    if error := job.error:
        st.error(literal(f"The last evaluation failed: {error}"))
    if missing:
        st.info(literal(f"Not evaluated yet: {', '.join(missing)}."))
    able = {"disabled": not runs} | wants("train")
    if st.button("Evaluate…", type="primary" if missing else "secondary", icon=":material/straighten:", **able):
        _ask(job, runs, missing)


@st.fragment(run_every=1.0)
def watch(job: EvaluationJob) -> None:
    """Show the progress of an evaluation, and redraw the page when it has ended."""
    if not job.running:
        st.rerun()  # the results are complete: redraw the whole page
    progress = job.progress
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.progress(progress.share, literal(f"Evaluating · {describe_work(progress)}"))
        st.button("Stop", key="stop", icon=":material/stop:", on_click=job.stop, help="Results so far are kept.")


@st.dialog("Evaluate", width="medium")
def _ask(job: EvaluationJob, runs: Mapping[str, Run], missing: Collection[str]) -> None:
    from pipelines.sampling.request import SamplingRequest

    chosen = st.multiselect("Models", list(runs), list(missing or runs), key="measured", wrap=True)
    samplers = st.multiselect("Samplers", list(SAMPLERS), [SamplingRequest.sampler], key="measured_samplers", wrap=True)
    steps = st.multiselect(
        "Steps",
        STEPS,
        [SamplingRequest.steps],
        key="measured_steps",
        wrap=True,
        help="Every sampler is run with every number of steps.",
    )
    images = st.number_input(
        "Samples per measurement", 10, 50_000, None, step=100, key="measured_images",
        placeholder=f"as many as held-out images, up to {MOST}",
        help="More samples give narrower intervals. Compare only results from equally many samples.",
    )  # fmt: skip
    kept = [runs[name].half_lives for name in chosen]
    shared = [half_life for half_life in kept[0] if all(half_life in own for own in kept)] if kept else []
    averages = []
    if any(len(own) > 1 for own in kept):
        averages = st.multiselect(
            "EMA half-lives", shared, placeholder="the usual one", key="measured_averages", format_func="{:,} images".format,
            help=f"{term('EMA')} Offered are those that all chosen models have kept (see `--ema-also` of training).",
        )  # fmt: skip
    options = ["--samplers", *samplers, "--steps", *map(str, sorted(steps)), *(["--num-images", str(images)] if images else [])]
    options += ["--ema", *map(str, averages)] if averages else []
    st.caption(
        "Measures the loss by noise level, a bound on the likelihood, and sample quality against the training images. "
        "They are read from disk or, like a missing text encoder, downloaded from the Hugging Face Hub. Existing "
        "results are reused. The same command in a terminal:"
    )
    st.code(shlex.join(["python", "-m", "pipelines.evaluate", *chosen, *options]), language="bash", wrap_lines=True)
    able = {"disabled": not (chosen and samplers and steps)} | wants(*to_evaluate(*(runs[name].config for name in chosen)))
    if st.button("Start", type="primary", key="measure", **able):
        try:
            job.start([runs[name] for name in chosen], options)
        except (ValueError, OSError) as error:
            st.error(literal(describe(error)))
            return
        st.rerun()
