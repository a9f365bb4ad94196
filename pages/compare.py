"""Compare: two to four models from the same noise, step by step, side by side."""

import streamlit as st

from pages.components import BOUND
from pages.components.generation import (
    VIEWS,
    comparison_gif,
    comparison_zip,
    cost_table,
    draw_column,
    draw_progress,
    generation_queue,
)
from pages.components.runs import runs_by_name, stop_without_runs
from pipelines.generation import MAX_FRAMES
from pipelines.sample import SamplingRequest

st.title("Compare", anchor=False)
st.markdown("Two to four models start from the **same noise** and take the **same steps**. Watch where they part ways.")

runs = runs_by_name(with_weights=True)
stop_without_runs(runs)

from diffusion_core.samplers import SAMPLERS  # noqa: E402  (loads torch: not before there is something to compare)
from diffusion_core.schedules import SPACINGS  # noqa: E402

with st.form("request", border=True):
    names = st.multiselect("Models", list(runs), default=list(runs)[:2], max_selections=4, key="models", **BOUND)
    sampler_column, steps_column, images_column, seed_column = st.columns(4)
    sampler = sampler_column.selectbox(
        "Sampler", list(SAMPLERS), index=list(SAMPLERS).index("dpmpp_2m"), key="sampler", **BOUND
    )
    steps = steps_column.number_input("Steps", 1, 1000, 20, key="steps", **BOUND)
    num_images = images_column.number_input("Images per model", 1, 100, 60, key="images", **BOUND)
    seed = seed_column.number_input("Seed", 0, 2**31 - 1, 0, key="seed", **BOUND)
    with st.expander("More settings"):
        spacing_column, eta_column = st.columns(2)
        spacing = spacing_column.selectbox("Timestep spacing", list(SPACINGS), key="spacing", **BOUND)
        eta = eta_column.slider("eta: fresh noise, for ddim only", 0.0, 1.0, 0.0, 0.05, key="eta", **BOUND)
    pressed = st.form_submit_button("Generate", type="primary", icon=":material/play_arrow:")

if pressed:
    previous = st.session_state.get("comparison")
    if previous is not None:
        previous[1].cancel()  # a new request replaces the old one
    if len(names) < 2:
        st.warning("Choose two to four models to compare.")
        st.session_state.pop("comparison", None)
    else:
        request = SamplingRequest(
            num_images=int(num_images),
            seed=int(seed),
            sampler=sampler,
            steps=int(steps),
            eta=eta if sampler == "ddim" else 0.0,
            spacing=spacing,
        )
        try:
            submitted = generation_queue().submit([(runs[name], request) for name in names])
            st.session_state["comparison"] = (names, submitted)
        except ValueError as error:
            st.error(str(error))

if "comparison" not in st.session_state:
    st.info("Press **Generate** to start.", icon=":material/arrow_upward:")
    st.stop()

shown_names, comparison = st.session_state["comparison"]


@st.fragment(run_every=0.3 if comparison.active else None)
def show() -> None:
    """The comparison as it stands; runs by itself while it grows, and computes nothing."""
    active = comparison.active
    index = MAX_FRAMES  # the newest frame, as long as they come
    view_column, step_column = st.columns([1, 2], vertical_alignment="bottom")
    view = view_column.segmented_control(
        "Show", list(VIEWS), default="x", required=True, format_func=VIEWS.__getitem__, key="view", **BOUND
    )
    with step_column:
        if active:
            with st.container(horizontal=True, vertical_alignment="bottom"):
                draw_progress(comparison)
                st.button("Cancel", on_click=comparison.cancel, icon=":material/stop:")
        else:
            reached = max(1, max(len(column.frames) for column in comparison.columns) - 1)
            index = st.slider("Step: from noise to sample", 0, reached, reached, key=f"step-{id(comparison)}")
    if comparison.status == "failed":
        st.error(f"This comparison could not be made: {comparison.error}")
    elif comparison.status == "cancelled":
        st.warning("Cancelled. What had been computed is shown; press Generate to start again.")
    for name, column, place in zip(shown_names, comparison.columns, st.columns(len(shown_names)), strict=True):
        with place:
            draw_column(name, column, view, index)
    st.dataframe(cost_table(shown_names, comparison), width="stretch")
    if comparison.status == "done":
        downloads = st.container(horizontal=True)
        downloads.download_button(
            "All images (ZIP)",
            lambda: comparison_zip(shown_names, comparison),
            "noisescope-comparison.zip",
            "application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
        )
        downloads.download_button(
            "Denoising (GIF)",
            lambda: comparison_gif(comparison, view),
            "noisescope-comparison.gif",
            "image/gif",
            on_click="ignore",
            icon=":material/gif_box:",
        )
    if active and not comparison.active:
        st.rerun()  # it ended while being drawn: once more with the slider and the downloads


show()
