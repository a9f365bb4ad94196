"""Generate: from classes or words to images, a row each, with and without guidance, or by several models."""

from dataclasses import replace

import streamlit as st

from pages.components import BOUND
from pages.components.condition_table import (
    ConditionTable,
    choose_columns,
    choose_rows,
    draw_table,
    same_conditions,
    table_cost,
    table_gif,
)
from pages.components.generation import VIEWS, comparison_zip, follow, start
from pages.components.requests import choose_negative, choose_noise, choose_sampler, choose_seed, choose_when_to_guide
from pages.components.runs import conditional_runs
from pipelines.differences import noise_levels
from pipelines.sample import SamplingRequest

POLL = 0.15  # seconds between looks at a growing table
MOST_IMAGES = 400

st.title("Generate", anchor=False)
st.markdown("Say **what to show**, and see what guidance makes of it: every cell starts from the same noise.")

runs = conditional_runs()
if not runs:
    st.info("No model at hand takes classes or words yet: train one on the Train page, with the network **class** or **text**.")
    st.stop()

with st.container(border=True):
    what_column, how_column = st.columns(2, gap="medium")
    with what_column:
        name = st.selectbox("Model", list(runs), key="model", **BOUND)
        config = runs[name].config
        rows = choose_rows(config.condition)
        negative = choose_negative() if config.network.unet == "text" else {}
    with how_column:
        columns = choose_columns(name, same_conditions(name, runs))
        num_images = int(st.number_input("Images a cell", 1, 64, 4, key="images", **BOUND))
    with st.expander("Sampler, seed, when to guide"):
        sampler_column, noise_column, guidance_column = st.columns(3, gap="medium")
        with sampler_column:
            sampler = choose_sampler(config)
        with noise_column:
            seed = choose_seed()
            noise = choose_noise(sampler["sampler"])
        with guidance_column:
            when = choose_when_to_guide()

total = len(rows) * len(columns) * num_images
problem = ""
if not total:
    problem = "Choose at least one " + ("column." if rows else "class.")
if total > MOST_IMAGES:
    problem = f"That would be {total} images: choose fewer rows, columns or images a cell, at most {MOST_IMAGES} in all."
if st.button("Generate", type="primary", icon=":material/play_arrow:", disabled=bool(problem)):
    common = SamplingRequest(num_images, seed, **sampler, **noise, **when, **negative)
    cells = [(runs[model], replace(common, **row, **column)) for _, row in rows for _, model, column in columns]
    start("table", cells, ConditionTable([row for row, _ in rows], [column for column, *_ in columns]))
if problem:
    st.warning(problem)

if "table" not in st.session_state:
    st.info("Press **Generate** to start.", icon=":material/arrow_upward:")
    st.stop()

table, comparison = st.session_state["table"]
growing = comparison.active


@st.fragment(run_every=POLL if growing else None)
def show() -> None:
    """The table as it stands; runs by itself while it grows, and computes nothing."""
    if growing and not comparison.active:
        st.rerun()  # it has ended: the whole page once more, which then stops looking
    levels = noise_levels(comparison.columns)
    view = st.segmented_control(
        "Show", list(VIEWS), default="x", required=True, format_func=VIEWS.__getitem__, key="view", **BOUND
    )
    level = follow(comparison, levels)
    draw_table(table, comparison, view, level)
    st.caption(table_cost(comparison))
    if comparison.status == "done":
        downloads = st.container(horizontal=True)
        downloads.download_button(
            "All images (ZIP)",
            lambda: comparison_zip(table.names, comparison),
            "noisescope-images.zip",
            "application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
        )
        downloads.download_button(
            "Denoising (GIF)",
            lambda: table_gif(table, comparison, view, levels),
            "noisescope-images.gif",
            "image/gif",
            on_click="ignore",
            icon=":material/gif_box:",
        )


show()
