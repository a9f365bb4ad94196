"""Evaluate: the results of runs with their intervals, and the scores of real images."""

import os

import streamlit as st

from pages.components import BOUND
from pages.components.heading import heading
from pages.components.live_figure import live_figure
from pages.components.measuring import show_measuring
from pages.components.pictures import show_file
from pages.components.runs import models_to_choose
from pages.components.verdicts import show_verdict
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.evaluation.judging import paired_losses
from pipelines.evaluation.results import (
    FIGURES,
    MAIN_FIGURES,
    NEIGHBOURS_PICTURE,
    Evaluation,
    csv_text,
    file_beside,
    readable_table,
    samples_table,
)
from pipelines.figures.evaluation import COSTS, INTERVALS, bound_terms, comparison, loss_bands, newest, quality_against_cost
from pipelines.figures.report import report

heading("evaluate")


models = models_to_choose()
data = {name: model.config.data.data for name, model in models.items()}
same_data = [name for name in data if data[name] == next(iter(data.values()))]
names = st.multiselect("Runs", list(models), same_data, wrap=True, key="runs", **BOUND)
evaluations, averages = {}, []
for name in names:
    try:
        run, config = models[name].run, models[name].config
        evaluations[name] = Evaluation(run, name=name, config=config)
        kept = run.half_lives[1:]
        averages += [Evaluation(run.average(other), name=f"{name}, EMA {other:,}", config=config) for other in kept]
    except (ValueError, OSError) as error:
        st.warning(literal(f"{name}: {describe(error)}"))
missing = [name for name, evaluation in evaluations.items() if not evaluation.results]
show_measuring({name: models[name].run for name in evaluations}, missing)
measured = [evaluation for evaluation in (*evaluations.values(), *averages) if evaluation.results]
if not measured:
    st.stop()

show_verdict(measured)
table = samples_table(measured)
if len(table):
    st.subheader("Quality against cost", anchor=False)
    with st.container(horizontal=True):
        shown, datasets = table, list(dict.fromkeys(table["data"]))
        if len(datasets) > 1:  # distances to different images are not comparable
            chosen = st.segmented_control(
                "Dataset", datasets, default=datasets[0], required=True, format_func=literal, key="measured_data", **BOUND
            )
            shown = table[table["data"] == chosen]
        judges = list(dict.fromkeys(shown["judge"]))
        if len(judges) > 1:  # nor are distances in different features
            judge = st.segmented_control(
                "Features", judges, default=judges[0], required=True, format_func=literal, key="judge", **BOUND
            )
            shown = shown[shown["judge"] == judge]
        known = [name for name in FIGURES if shown[name].notna().any()]
        costs = [name for name in COSTS if shown[name].notna().any()]
        figure = st.selectbox("Metric", known, format_func=FIGURES.__getitem__, key="figure", width=380, **BOUND)
        cost = st.segmented_control(
            "Cost", costs, default="network_calls", required=True, format_func=COSTS.__getitem__, key="cost", **BOUND
        )
    live_figure(quality_against_cost(shown, figure, cost), "quality", f"{FIGURES[figure]} over {COSTS[cost]} per image")
    told = f"{literal(comparison(shown))} {INTERVALS}"
    if shown[f"{figure}_decoded"].notna().any():
        told += " Dashed: real images after the autoencoder; the detail that it loses is out of reach for a latent model."
    if cost == "seconds" and shown["machine"].nunique() > 1:
        told += " The times were measured on different machines (see the table) and are not comparable."
    st.caption(told)
    st.dataframe(readable_table(shown, MAIN_FIGURES), hide_index=True, width="stretch")
    others = [name for name in FIGURES if name not in MAIN_FIGURES]
    if shown[others].notna().any(axis=None):
        with st.expander("More figures: diversity, and the Fréchet distance without its bias"):
            st.dataframe(readable_table(shown, others), hide_index=True, width="stretch")
            st.caption(
                "Density: how many real images a sample is near; best is 1. Coverage: the share of real images with a sample "
                "near them; larger is better. Vendi score: the effective number of different images; best is that of real "
                "images. The last two depend on the number of samples, and with fewer than 30 the Vendi score has no interval "
                "that holds, so it is left out. The Fréchet distance is extrapolated to infinitely many samples where there "
                "are three or more per feature, since with fewer its bias cannot be removed; smaller is better."
            )

losses, bounds = newest(measured, "loss"), newest(measured, "bound")
left, right = st.columns(2, gap="large")
if losses:
    with left:
        st.subheader("Loss by noise level", anchor=False)
        live_figure(loss_bands(losses), "loss", "Loss in v over noise level, with 95 % bands")
        st.caption(
            "Loss on held-out images: |x0 − x̂0|²·(1 + SNR) at the noise levels of a cosine schedule, with 95 % bands. "
            "Comparable across prediction types and noise schedules, but not between pixels and latents or between the "
            "latents of different autoencoders."
        )
        paired = paired_losses(measured)
        if len(paired):
            st.dataframe(paired, hide_index=True, width="stretch")
            st.caption(
                "Both runs are measured on the same images with the same noise, so the difference is known more precisely "
                "than either loss."
            )
if bounds:
    with right:
        st.subheader("Likelihood", anchor=False)
        live_figure(bound_terms(bounds), "bound", "Bits per dimension, split into the terms of the bound")
        without = ", ".join(evaluation.name for evaluation in measured if evaluation.name not in bounds)
        st.caption(
            "An upper bound on the negative log-likelihood of held-out images, with 95 % intervals; lower is better. Every "
            "model is measured at the same log-SNRs, so models with different noise schedules can be compared, but not images "
            "of different sizes." + (f" Not measured, or of latents: {literal(without)}." if without else "")
        )

for evaluation in measured:
    picture = file_beside(evaluation.run, NEIGHBOURS_PICTURE)
    if os.path.lexists(picture):  # whatever it is: whoever opens it says what is wrong
        st.subheader(literal(f"Are samples copies? Nearest training images of {evaluation.name}"), anchor=False)
        show_file(picture, f"Samples of {evaluation.name} above their nearest training images")
        st.caption("Upper row: the samples nearest to a training image in feature space. Lower row: that training image.")

downloads = st.container(horizontal=True)
downloads.download_button(
    "Table (CSV)",
    lambda: csv_text(table),
    "noisescope-evaluation.csv",
    "text/csv",
    on_click="ignore",
    icon=":material/table:",
)
downloads.download_button(
    "Report (HTML)",
    lambda: report(measured),
    "noisescope-evaluation.html",
    "text/html",
    on_click="ignore",
    icon=":material/description:",
)
