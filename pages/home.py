"""Home: what Noisescope is, the available models, and a button that starts a comparison."""

import streamlit as st

from pages.components.runs import describe_run, models_by_name, show_samples_in
from pipelines.common.text import literal
from pipelines.storage.files import ROOT

CARDS = 3  # a row

words, picture = st.columns([5, 6], gap="large", vertical_alignment="center")
with words:
    st.title("A microscope for diffusion models", anchor=False)
    st.markdown(
        "Train small image diffusion models, **look inside** them, and **compare** them honestly: "
        "the same noise, the same timesteps, side by side."
    )
    if st.button("Compare two models", type="primary", icon=":material/play_arrow:"):
        st.session_state["start_comparison"] = True
        st.switch_page("pages/compare.py")
    with st.container(horizontal=True):
        st.page_link("pages/forward.py", label="How noise is added", icon=":material/blur_on:")
        st.page_link("pages/reverse.py", label="How an image emerges", icon=":material/movie:")
        st.page_link("pages/train.py", label="Train your own model", icon=":material/model_training:")
with picture:
    st.image(
        ROOT / "docs" / "denoising.png",
        width="stretch",
        alt="Twelve columns of images; from top to bottom, noise turns into flowers",
        caption="Top row: pure noise. In each row below, a network has removed more of it. Bottom row: the finished samples.",
    )

st.subheader("Models", anchor=False)
runs = models_by_name()
if not runs:
    st.info("No trained models yet: train one on the Train page.")
for start in range(0, len(runs), CARDS):
    names = list(runs)[start : start + CARDS]
    for name, place in zip(names, st.columns(CARDS), strict=False):
        with place.container(border=True):
            try:
                grids, description = list(runs[name].samples().values()), describe_run(runs[name])
            except (ValueError, OSError) as error:
                st.markdown(f"**{literal(name)}**")
                st.warning(literal(f"This run cannot be read: {error}"))
                continue
            if grids:
                show_samples_in(runs[name], grids[-1], name)
            st.markdown(f"**{literal(name)}**")
            st.caption(literal(description))
            st.page_link("pages/training_curves.py", label="Training history", query_params={"runs": name})
