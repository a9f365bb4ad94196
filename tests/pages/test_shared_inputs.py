"""Inputs keep their values from page to page and from model to model, where they mean the same."""

import shutil
from collections import defaultdict

import pytest
from opening import open_app
from streamlit.testing.v1 import AppTest

from pages.components.editing import WAYS
from pipelines.storage.run import Run
from pipelines.storage.spacing import LearnedSpacing

ADDRESSES = [
    ("compare", {}),
    ("forward", {}),
    ("reverse", {"start": "An image"}),
    ("reverse", {"model": "flowers-text"}),
    ("generate", {"model": "flowers-class-64"}),
    ("generate", {"model": "flowers-text"}),
    *[("edit", {"model": "flowers-text", "edit": way}) for way in WAYS],
    ("training_curves", {}),
    ("evaluate", {"runs": ["flowers-class-64", "fashion-class"]}),
    ("train", {}),
]
KINDS = (
    "selectbox",
    "multiselect",
    "number_input",
    "text_input",
    "text_area",
    "slider",
    "select_slider",
    "toggle",
    "button_group",
)
# The same question on several pages: an answer is taken along.
SHARED = {
    "model", "sampler", "steps", "seed", "spacing", "eta", "negative", "prompt", "prompts", "classes", "guidance",
    "guidance_interval", "guidance_rescale", "images_a_cell", "source", "source_run", "source_number", "runs",
}  # fmt: skip


def test_a_key_on_several_pages_is_the_same_question():
    """Streamlit keeps a value under its key: Steps of sampling must not become Steps of training."""
    pages = defaultdict(set)
    for page, address in ADDRESSES:
        app = open_app(page, **address)
        for element in [*(one for kind in KINDS for one in app.get(kind)), *app.button]:
            if element.key:
                pages[element.key].add(page)
    assert {"train_steps", "images_a_cell", "shows", "model2"} <= set(pages)
    assert {key for key, found in pages.items() if len(found) > 1} <= SHARED


def test_another_model_shows_its_own_classes_and_prompts():
    app = open_app("generate", model="flowers-class-64")
    app.selectbox(key="model").select("fashion-class").run()
    chosen = app.multiselect(key="classes")
    assert chosen.value
    assert set(chosen.value) <= set(chosen.options)
    assert "Sneaker" in chosen.options
    assert not app.warning
    app.selectbox(key="model").select("flowers-text").run()
    flowers = app.text_area(key="prompts").value
    app.selectbox(key="model").select("tiny-imagenet-text").run()
    assert not set(flowers.splitlines()) & set(app.text_area(key="prompts").value.splitlines())
    app.text_area(key="prompts").set_value("a blue bird").run()
    app.selectbox(key="model").select("flowers-text").run()
    assert app.text_area(key="prompts").value == "a blue bird"  # what a person wrote stays
    assert not app.exception
    assert not app.warning


@pytest.mark.parametrize(
    ("page", "address", "key"), [("reverse", {}, "prompt"), ("edit", {"edit": "Change condition"}, "shows")]
)
def test_so_do_other_pages(page, address, key):
    app = open_app(page, model="flowers-text", **address)
    before = app.text_input(key=key).value
    app.selectbox(key="model").select("tiny-imagenet-text").run()
    assert app.text_input(key=key).value != before
    assert not app.exception


def test_a_class_is_no_prompt():
    app = open_app("edit", model="fashion-class", edit="Change condition")
    assert app.selectbox(key="shows_class").value == "Bag"
    app.selectbox(key="shows_class").select("Coat").run()
    app.selectbox(key="model").select("fashion-text").run()
    assert app.text_input(key="shows").value.startswith("a ")


def test_infinite_numbers_in_an_address_are_forgotten():
    def page():
        import streamlit as st

        from pages.components import BOUND
        from pages.components.address import forget_infinite_numbers

        forget_infinite_numbers()
        st.number_input("Seed", 0, 10, 1, key="seed", **BOUND)
        st.number_input("Steps", 0, 10, 1, key="steps", **BOUND)

    app = AppTest.from_function(page)
    app.query_params["seed"], app.query_params["steps"] = "1e999", "3"
    app.run()
    assert not app.exception
    assert [number.value for number in app.number_input] == [1, 3]


def test_the_spacing_follows_the_size_of_the_models_images_until_it_is_chosen():
    app = open_app("reverse", model="flowers-attention-64")
    assert app.selectbox(key="spacing").value == "shifted"
    app.selectbox(key="model").select("fashion-baseline").run()
    assert app.selectbox(key="spacing").value == "trailing"
    assert "spacing" not in app.query_params, "the usual choice is not part of the address"
    app.selectbox(key="spacing").select("karras").run()
    app.selectbox(key="model").select("flowers-attention-64").run()
    assert app.selectbox(key="spacing").value == "karras"


@pytest.mark.parametrize("learnt", [True, False])
def test_the_learned_spacing_is_offered_for_runs_that_have_one(learnt, tiny_run, tmp_path):
    def page(path):
        from pages.components.requests import choose_noise
        from pipelines.storage.run import Run

        choose_noise(Run(path), "dpmpp_2m")

    run = Run(shutil.copytree(tiny_run.path, tmp_path / "run"))
    if learnt:
        LearnedSpacing(run.fingerprint, "ddim", 1.0, 1, 0, ((999.0,), (999.0, 300.0))).write(run)
    app = AppTest.from_function(page, args=(str(run.path),))
    app.query_params["spacing"] = "learned"
    app.run()
    assert not app.exception
    spacing = app.selectbox(key="spacing")
    assert ("Learned" in spacing.options) == learnt
    assert spacing.value == ("learned" if learnt else "trailing"), "what an address asks for is chosen if it is there"
    assert ("Learned is for 1 to 2 steps" in spacing.help) == learnt
    assert ("Learned is not offered: run has no learned spacing" in spacing.help) == (not learnt)
