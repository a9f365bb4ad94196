"""Lessons: each link opens its page with exactly the lesson's settings, whatever the page showed before."""

from __future__ import annotations

import pytest
from opening import labels, open_app, press
from streamlit.testing.v1 import AppTest

from pages.components.lessons import LESSONS, Lesson

# Inputs that only some samplers or models have, and the player's timestep, which is no input.
SOMETIMES = {"eta", "guidance", "guidance_interval", "guidance_rescale", "negative", "t"}
OTHER = {"steps": 7, "seed": 3, "sampler": "ddim", "guidance": 5.0, "columns": 4, "images": 9, "prompt": "something else"}


def _inputs(app: AppTest) -> dict[str, object]:
    """Return the value of each input with a key, as the page shows it."""
    kinds = ("selectbox", "multiselect", "number_input", "text_input", "text_area", "slider", "select_slider", "toggle")
    inputs = {one.key: one.value for kind in (*kinds, "button_group") for one in app.get(kind) if one.key}
    return {key: value[0] if isinstance(value, list) and key in ("columns", "start", "source", "vary") else value
            for key, value in inputs.items()}  # fmt: skip


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_link_sets_its_page_exactly(lesson: Lesson):
    app = AppTest.from_file(f"../../pages/{lesson.page}.py", default_timeout=120)
    for key, value in OTHER.items():
        for suffix in ("", "1", "2"):
            app.session_state[f"{key}{suffix}"] = value
    app.query_params["lesson"] = lesson.name
    app.run()
    assert not app.exception
    assert not app.error
    assert any(lesson.title in text.value for text in app.markdown)
    assert any(lesson.look in text.value for text in app.markdown)
    shown = _inputs(app)
    absent = {key for key in lesson.inputs if key not in shown}
    assert {key.rstrip("1234") for key in absent} <= SOMETIMES
    assert {key: shown[key] for key in lesson.inputs if key in shown} == {
        key: value for key, value in lesson.inputs.items() if key in shown
    }


def test_every_lesson_is_named_once_and_says_what_to_do():
    assert 8 <= len(LESSONS) <= 12
    assert len({lesson.name for lesson in LESSONS}) == len(LESSONS)
    for lesson in LESSONS:
        assert all(text.endswith((".", "?")) for text in (lesson.look, lesson.then, lesson.question))


def test_changes_stay_until_the_lesson_is_set_again():
    app = open_app("compare", lesson="steps")
    app.number_input(key="steps1").set_value(3).run()
    assert app.number_input(key="steps1").value == 3
    press(app, "Set again")
    assert app.number_input(key="steps1").value == 2
    assert any("Next" in label for label in labels(app))


def test_values_in_the_address_outlast_a_reload():
    app = open_app("compare", lesson="steps", steps1=4)
    assert (app.number_input(key="steps1").value, app.number_input(key="steps2").value) == (4, 5)


@pytest.mark.parametrize("name", ["no such lesson", "schedules"])
def test_a_lesson_of_another_page_changes_nothing(name):
    app = open_app("compare", lesson=name)
    assert app.number_input(key="images").value == 60
    assert not any("Lesson" in text.value for text in app.markdown)


def _compare() -> None:
    import streamlit as st

    from pages.components.heading import heading
    from pages.components.lessons import close_lesson

    close_lesson()
    heading("compare")
    st.number_input("Images", 1, 100, 60, key="images")


def test_a_lesson_that_is_opened_again_sets_its_page_again():
    app = AppTest.from_function(_compare)
    app.query_params["lesson"] = "steps"
    app.run()
    app.number_input(key="images").set_value(9).run()
    assert app.number_input(key="images").value == 9
    del app.query_params["lesson"]  # another page, say
    assert app.run().number_input(key="images").value == 9
    app.query_params["lesson"] = "steps"
    assert app.run().number_input(key="images").value == 8
