"""Home: what Noisescope is, the available models, and a button that starts a comparison."""

from collections.abc import Sequence

import streamlit as st

from pages.components.lesson_box import show_lessons
from pages.components.runs import (
    NO_MODELS,
    describe_run,
    is_conditional,
    is_diffusion,
    is_for_lessons,
    known_runs,
    show_samples_in,
    warn_of_samples,
)
from pages.components.students import BESIDE_TEACHER, beside_teacher
from pages.components.usual_inputs import open_page
from pipelines.common.public import is_public
from pipelines.common.text import literal
from pipelines.storage.files import ROOT

CARDS = 3  # a row
SAMPLES = 16  # a card, so that those of 64×64 pixels are not reduced

words, picture = st.columns([5, 6], gap="large", vertical_alignment="center")
with words:
    with st.container(key="name"):
        st.title("Noisescope", anchor=False)
    st.markdown(
        "**A microscope for diffusion models.** Train small image diffusion models, look inside them, and compare them fairly: "
        "the same noise, the same timesteps, side by side."
    )
    st.markdown("New here? Watch two networks turn the same noise into flowers, then take a lesson.")
    if st.button("Compare two models", type="primary", icon=":material/play_arrow:"):
        st.session_state["start_comparison"] = True
        open_page("compare", {})
    with st.container(horizontal=True):
        if not is_public():
            st.page_link("pages/train.py", label="Train your own model", icon=":material/model_training:")
        st.page_link("pages/glossary.py", label="Look up a word", icon=":material/menu_book:")
        st.page_link(
            "pages/compare.py",
            label="See a student and its teacher",
            icon=":material/school:",
            query_params={"lesson": "student"},
        )
    if is_public():
        st.caption(
            ":material/public: This is a public instance: it trains nothing, and requests are bounded. To run your own, clone "
            "the repository; then `pip install -r requirements.txt && streamlit run main_interface.py`."
        )
with picture, st.container(key="example"):  # has been enlarged already
    st.image(
        ROOT / "docs" / "denoising.png",
        width="stretch",
        alt="Eleven columns of images; from top to bottom, noise turns into flowers",
        caption="Top row: pure noise. In each row below, a network has removed more of it. Bottom row: the finished samples.",
    )

st.subheader("Lessons", anchor=False)
show_lessons()

st.subheader("Models", anchor=False)
runs = known_runs()
models, problems = runs.models(is_diffusion), runs.unusable
if not models:
    st.info(NO_MODELS)


def show_card(name: str) -> None:
    """Show a model, or a run that cannot be read."""
    if name in problems:
        st.markdown(f"**{literal(name)}**")
        st.warning(literal(f"This run cannot be read: {problems[name]}"))
        return
    model = models[name]
    try:
        if grids := list(model.run.samples().values()):
            show_samples_in(model.config, grids[-1], name, SAMPLES)
    except OSError as error:
        warn_of_samples(name, error)
    st.markdown(f"**{literal(name)}**")
    st.caption(literal(describe_run(model)))
    with st.container(horizontal=True):
        page, label = ("generate", "Generate images") if is_conditional(model.config) else ("reverse", "Watch it denoise")
        st.page_link(f"pages/{page}.py", label=label, query_params={"model": name})
        st.page_link("pages/training_curves.py", label="Training history", query_params={"runs": name})
        if beside := beside_teacher(name, model.config):
            st.page_link("pages/compare.py", label=BESIDE_TEACHER, query_params=beside)


def show_cards(names: Sequence[str]) -> None:
    """Show models in rows."""
    for start in range(0, len(names), CARDS):
        for name, place in zip(names[start : start + CARDS], st.columns(CARDS), strict=False):
            with place.container(border=True):
                show_card(name)


for_lessons = [name for name, model in models.items() if is_for_lessons(model.run)]
cards = [*(name for name in models if name not in for_lessons), *problems]
show_cards(cards[:CARDS])
for names, what, label in ((cards[CARDS:], "more", "{} more models"), (for_lessons, "for lessons", "{} models for lessons")):
    if names:
        folded = st.expander(label.format(len(names)), key=f"models {what}", on_change="rerun")
        if folded.open:
            with folded:
                show_cards(names)
