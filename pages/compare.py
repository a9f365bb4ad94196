"""Compare: two to four columns of samples from the same noise, side by side, step by step."""

from functools import partial

import streamlit as st

from pages.components import BOUND, end_page
from pages.components.downloads import offer_comparison
from pages.components.findings import show_findings
from pages.components.folded import settings_in_words, show_folded
from pages.components.frontend import load_ahead
from pages.components.generation import (
    VIEWS,
    distances,
    draw_notes,
    recall,
    show_growing,
    start,
    what_differs,
)
from pages.components.heading import heading
from pages.components.hub import offer_hub, show_download
from pages.components.live_figure import live_figure
from pages.components.requests import MOST_IMAGES, choose_request
from pages.components.runs import models_to_choose
from pages.components.sharing import Result, address_of, made_of, show_sharing, thumbnail
from pages.components.stage import show_stage, shown_view, tell_unused_look
from pages.components.starting import draw_start
from pages.components.taken_request import offer_png
from pages.components.xray import offer_xrays
from pipelines.common.public import is_public
from pipelines.evaluation.columns import told_apart
from pipelines.figures.pictures import about_generations
from pipelines.figures.sampling import column_distances
from pipelines.sampling.generation import Comparison

CHANGING = "changing"  # whether the settings are shown although there is a comparison


def share() -> None:
    """Draw the buttons for sharing what is shown, and this browser's history."""
    columns = [(name, column.request) for name, column in zip(names, comparison.columns, strict=True)]
    params = {"columns": [str(len(columns))], "images": [str(comparison.columns[0].request.num_images)]}
    for number, (name, request) in enumerate(columns, start=1):
        params |= address_of(name, request, str(number))
    result = None
    if comparison.status == "done":
        told = [" · ".join(filter(None, settings_in_words("", request).values())) for _, request in columns]
        pictures = thumbnail([column.frames[-1].x for column in comparison.columns])
        titles = " | ".join(dict.fromkeys(names))
        result = Result(titles, " | ".join(dict.fromkeys(told)), pictures, [address_of(*column) for column in columns])
    show_sharing("compare", params, made_of(comparison.columns), result)


def fold(*, changing: bool) -> None:
    """Show the settings, or fold them into a line per column."""
    st.session_state[CHANGING] = changing


actions = heading("compare")
models = models_to_choose()
start_place = st.container()  # beside a lesson, which has chosen the settings
lines = st.container()
shown = "comparison" in st.session_state
changing = shown and st.session_state.get(CHANGING, False)
settings = st.container(key="settings-changing" if changing else "settings")  # hidden while there are folded lines (page.css)
with settings:
    if changing:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="sheet-head"):
            st.markdown("**Settings**", width="content")
            st.button("Close", type="tertiary", icon=":material/close:", on_click=fold, kwargs={"changing": False})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = st.segmented_control("Columns", [2, 3, 4], default=2, required=True, key="columns", **BOUND)
        num_images = st.number_input("Images per column", 1, MOST_IMAGES, 60, key="images", width=160, **BOUND)
        offer_png(models, count)
        if not is_public():
            offer_hub()
    if not is_public():
        show_download()
    tell_unused_look(int(num_images))
    chosen = []
    for number, place in enumerate(st.columns(count, border=True), start=1):
        with place:
            st.markdown(f"**Column {number}**")
            chosen.append(choose_request(number, models, int(num_images)))

names, wishes = [name for name, _ in chosen], [(models[name].run, request) for name, request in chosen]
make = partial(Comparison.of, wishes)
outdated = shown and not st.session_state["comparison"][1].is_of(wishes)
shown = shown or recall("comparison", make, names)
pressed = st.session_state.pop("start_comparison", False)
failed = shown and st.session_state["comparison"][1].status in ("cancelled", "failed")
by_lesson = not shown and "lesson" in st.query_params
if not shown or outdated or failed or changing:
    label = "Update" if shown and not failed else "Generate"
    place = start_place if by_lesson else settings if changing or not shown else st.container()
    with place, st.container(key="sheet-foot"):
        timed = [] if shown and not (outdated or failed) else wishes
        pressed |= draw_start("comparison", label, timed, make, outdated=outdated)
if pressed and start("comparison", wishes, names):
    fold(changing=False)
    if shown or by_lesson or st.session_state["comparison"][1].status != "done":
        st.rerun()
    # Otherwise this run goes on, since a page drawn once is there sooner: page.css hides the settings, with the button.
if "comparison" not in st.session_state:
    with actions:
        show_sharing("compare", {})
    show_findings([(name, run, request) for name, (run, request) in zip(names, wishes, strict=True)])
    load_ahead("stage")
    end_page()

names, comparison = st.session_state["comparison"]
apart = told_apart(names, [column.request for column in comparison.columns])
titles = [f"{number}: {name}" for number, name in enumerate(apart, start=1)]
if not changing:  # the form stands in their place, and may say something else
    with lines:
        show_folded([(name, column.request) for name, column in zip(names, comparison.columns, strict=True)])
with actions:
    if changing:
        st.button("Fold settings", icon=":material/unfold_less:", on_click=fold, kwargs={"changing": False})
    else:
        st.button("Change", icon=":material/tune:", on_click=fold, kwargs={"changing": True})
    share()


def draw() -> None:
    """Draw the current state of the comparison."""
    draw_notes(comparison, "The frames computed so far are shown; press Generate to start again.")
    show_stage(titles, comparison)
    if comparison.status == "done":
        view = shown_view()
        offer_comparison(names, titles, comparison, view)
        offer_xrays(names, comparison.columns)
        numbers = st.expander("Settings that differ, and distances from the first column", key="numbers", **BOUND)
        if numbers.open:
            with numbers:
                show_numbers(view)


def show_numbers(view: str) -> None:
    """Show the settings that differ, and the distances between the columns at every noise level."""
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
            about = partial(about_generations, dict(zip(titles, comparison.columns, strict=True)))
            live_figure(column_distances(labels), "distances", "MSE and SSIM at every noise level", about)
            st.caption(f"{VIEWS[view]}: MSE (0: identical) and SSIM (1: identical) of all images at equal noise levels.")
        else:
            st.caption("Not available: the columns' images differ in number, size or latent space.")


compared = [(name, column.run, column.request) for name, column in zip(names, comparison.columns, strict=True)]
show_findings(compared, comparison if comparison.status == "done" else None)
with st.container(key="outdated" if outdated else "current"):
    show_growing(comparison, draw)
