"""Evaluate: what has been measured of runs, with intervals, and what real images give."""

from contextlib import suppress

import streamlit as st

from pages.components import BOUND
from pages.components.live_figure import live_figure
from pages.components.measuring import show_measuring
from pages.components.pictures import show_file
from pages.components.runs import models_by_name, stop_without_runs
from pipelines.evaluation.results import (
    FIGURES,
    NEIGHBOURS_PICTURE,
    Evaluation,
    file_beside,
    paired_losses,
    readable_table,
    samples_table,
)
from pipelines.figures.evaluation import COSTS, INTERVALS, bound_terms, loss_bands, newest, quality_against_cost
from pipelines.figures.report import report
from pipelines.storage.runs import Run

st.title("Evaluate", anchor=False)
st.markdown(
    "How good, at what cost: every figure with its **95 % interval**, and with what **real images** score against real ones."
)


def of_the_same_data(runs: dict[str, Run]) -> list[str]:
    """The names of the first run and of those that were trained on the same data; what cannot be read is left out."""
    data = {}
    for name, run in runs.items():
        with suppress(ValueError, OSError):
            data[name] = run.config.data.data
    return [name for name in data if data[name] == next(iter(data.values()))]


runs = models_by_name()
stop_without_runs(runs)
names = st.multiselect("Runs", list(runs), of_the_same_data(runs), wrap=True, key="runs", **BOUND)
evaluations = {}
for name in names:
    try:
        _ = runs[name].config  # a run is measured, and its results are shown, by what it says of its data
        evaluations[name] = Evaluation(runs[name], name=name)
    except (ValueError, OSError) as error:
        st.warning(f"{name}: {error}")
missing = [name for name, evaluation in evaluations.items() if not evaluation.results]
show_measuring({name: runs[name] for name in evaluations}, missing)
measured = [evaluation for evaluation in evaluations.values() if evaluation.results]
if not measured:
    st.stop()

table = samples_table(measured)
if len(table):
    st.subheader("Quality against cost", anchor=False)
    with st.container(horizontal=True):
        shown, data = table, list(dict.fromkeys(table["data"]))
        if len(data) > 1:  # distances from different images say nothing beside each other
            chosen = st.segmented_control("Data", data, default=data[0], required=True, key="measured_data", **BOUND)
            shown = table[table["data"] == chosen]
        judges = list(dict.fromkeys(shown["judge"]))
        if len(judges) > 1:  # and so do distances in different features
            judge = st.segmented_control("Features of", judges, default=judges[0], required=True, key="judge", **BOUND)
            shown = shown[shown["judge"] == judge]
        known = [name for name in FIGURES if shown[name].notna().any()]
        costs = [name for name in COSTS if shown[name].notna().any()]
        figure = st.selectbox("Figure", known, format_func=FIGURES.__getitem__, key="figure", width=380, **BOUND)
        cost = st.segmented_control(
            "Cost", costs, default="network_calls", required=True, format_func=COSTS.__getitem__, key="cost", **BOUND
        )
    live_figure(quality_against_cost(shown, figure, cost), "quality", f"{FIGURES[figure]} over {COSTS[cost]} an image")
    features = ", ".join(dict.fromkeys(shown["features"]))
    counts = ", ".join(f"{count:,}" for count in dict.fromkeys(shown["images"]))
    told = f"{counts} samples, compared with training images in the features of the {features}. {INTERVALS}"
    if shown[f"{figure}_decoded"].notna().any():
        told += " Dashed: these after the autoencoder; what it loses, a model of its latents cannot bring back."
    if cost == "seconds" and shown["machine"].nunique() > 1:
        told += " These seconds were measured on different machines (see the table), and cannot be compared."
    st.caption(told)
    st.dataframe(readable_table(shown), hide_index=True, width="stretch")

losses, bounds = newest(measured, "loss"), newest(measured, "likelihood")
left, right = st.columns(2, gap="large")
if losses:
    with left:
        st.subheader("Loss by noise level", anchor=False)
        live_figure(loss_bands(losses), "loss", "Error in v over the level of noise, with 95 % bands")
        st.caption(
            "Held-out images; |x0 − x̂0|²·(1 + SNR), at the noise levels of a cosine schedule: comparable whatever a network "
            "predicts and under whatever schedule, but not between pixels and latents, nor latents of two "
            "autoencoders. Bands: 95 %."
        )
        paired = paired_losses(measured)
        if len(paired):
            st.dataframe(paired, hide_index=True, width="stretch")
            st.caption(
                "As much of the same noise on the same images for both: the difference is known far better than either loss."
            )
if bounds:
    with right:
        st.subheader("Likelihood", anchor=False)
        live_figure(bound_terms(bounds), "bound", "Bits per dimension, by the terms of the bound")
        st.caption("An upper bound on the negative log-likelihood of held-out images; smaller is better.")

for evaluation in measured:
    picture = file_beside(evaluation.run, NEIGHBOURS_PICTURE)
    if picture.is_file():
        st.subheader(f"{evaluation.name}: copies?", anchor=False)
        show_file(picture, f"Samples of {evaluation.name} above their nearest training images")
        st.caption("Upper row: the samples nearest to a training image in the features. Lower row: that training image.")

downloads = st.container(horizontal=True)
downloads.download_button(
    "Table (CSV)",
    lambda: table.to_csv(index=False),
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
