"""Compare: two to four columns of samples from the same noise, side by side, step by step."""

import streamlit as st

from pages.components import BOUND
from pages.components.downloads import comparison_gif, comparison_zip, offer_downloads
from pages.components.generation import (
    VIEWS,
    distances,
    draw_notes,
    draw_progress,
    show_growing,
    start,
    what_differs,
)
from pages.components.heading import heading
from pages.components.live_figure import live_figure
from pages.components.requests import MOST_IMAGES, choose_request, offer_png
from pages.components.runs import models_to_choose
from pages.components.stage import show_stage, shown_view
from pipelines.figures.sampling import column_distances
from pipelines.sampling.alignment import shared_log_snrs

heading("compare")

models = models_to_choose()

with st.container(horizontal=True):
    count = st.segmented_control("Columns", [2, 3, 4], default=2, required=True, key="columns", **BOUND)
    num_images = st.number_input("Images per column", 1, MOST_IMAGES, 60, key="images", width=160, **BOUND)
chosen = []
for number, place in enumerate(st.columns(count, border=True), start=1):
    with place:
        chosen.append(choose_request(number, models, int(num_images)))

with st.container(horizontal=True):
    pressed = st.button("Generate", type="primary", icon=":material/play_arrow:")
    offer_png(models, count)
if pressed or st.session_state.pop("start_comparison", False):
    start("comparison", [(models[name].run, request) for name, request in chosen], [name for name, _ in chosen])

if "comparison" not in st.session_state:
    st.info("Press **Generate** to start.", icon=":material/arrow_upward:")
    st.stop()

names, comparison = st.session_state["comparison"]
titles = [f"{number}: {name}" for number, name in enumerate(names, start=1)]


def draw() -> None:
    """Draw the current state of the comparison."""
    if comparison.active:
        draw_progress(comparison)
    draw_notes(comparison, "The frames computed so far are shown; press Generate to start again.")
    show_stage(titles, comparison)
    if comparison.status == "done":
        show_numbers(shown_view(), shared_log_snrs(comparison.columns))


def show_numbers(view: str, levels: list[float]) -> None:
    """Show the settings that differ, the distances between the columns at every noise level, and the downloads."""
    left, right = st.columns(2)
    with left:
        st.subheader("Settings that differ", anchor=False)
        table = what_differs(names, comparison)
        if table.empty:
            st.caption("None: all columns are the same.")
        else:
            st.dataframe(table, width="stretch")
    with right:
        st.subheader("Distance from the first column", anchor=False)
        tables = distances(comparison, view)
        if tables:
            labels = {titles[number - 1]: table for number, table in tables.items()}
            live_figure(column_distances(labels), "distances", "MSE and SSIM at every noise level")
            st.caption(f"{VIEWS[view]}: MSE (0: identical) and SSIM (1: identical) of all images at equal noise levels.")
        else:
            st.caption("Not available: the columns' images differ in number, size or latent space.")
    offer_downloads(
        "noisescope-comparison",
        archive=lambda: comparison_zip(names, comparison),
        animation=lambda: comparison_gif(comparison, view, levels),
    )


show_growing(comparison, draw)
