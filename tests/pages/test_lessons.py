"""Lessons: each link opens its page with exactly the lesson's settings, whatever the page showed before."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import pytest
from opening import labels, open_app, press
from streamlit.testing.v1 import AppTest

from pages.components import lesson_box
from pages.components.lessons import LESSONS, Lesson
from pages.components.runs import is_diffusion, known_runs
from pages.components.usual_inputs import INPUTS
from pipelines.sampling.own_steps import own_steps
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS as RUNS_OF_LESSONS
from pipelines.storage.runs import PUBLISHED, find_run, find_runs

# Inputs that only some samplers or models have, and the player's timestep, which is no input.
SOMETIMES = {"eta", "guidance", "guidance_interval", "guidance_rescale", "negative", "t"}
LOCAL = {"copies", "measured", "measured_samplers", "measured_steps", "measured_images", "measured_averages"}
OTHER = {"steps": 7, "seed": 3, "sampler": "ddim", "guidance": 5.0, "columns": 4, "images": 9, "prompt": "something else"}


def _inputs(app: AppTest) -> dict[str, object]:
    """Return the value of each input with a key, as the page shows it."""
    kinds = ("selectbox", "multiselect", "number_input", "text_input", "text_area", "slider", "select_slider", "toggle")
    inputs = {one.key: one.value for kind in (*kinds, "button_group") for one in app.get(kind) if one.key}
    inputs["copies"] = any("Look for a sample" in text.value for text in app.markdown)  # an expander, whose key is not told
    return {key: value[0] if isinstance(value, list) and key in ("columns", "start", "source", "vary") else value
            for key, value in inputs.items()}  # fmt: skip


def test_inputs_are_set_until_a_page_was_drawn_to_its_end(monkeypatch):
    """A browser shows the usual value of an input that an interrupted run has set but not drawn, as after a click too early."""
    written = []

    class Session(dict):
        def update(self, values):
            written.append(dict(values))
            super().update(values)

    session = Session()
    stand_in = SimpleNamespace(session_state=session, query_params={"lesson": "words"})
    monkeypatch.setattr(lesson_box, "st", stand_in)
    monkeypatch.setattr(lesson_box, "forget_inputs", lambda page: None)
    lesson = lesson_box.opened_lesson("reverse")
    session["prompt"] = "another"
    lesson_box.opened_lesson("reverse")
    assert written == [lesson.inputs, {**lesson.inputs, "prompt": "another"}], "what a person has changed stays"
    lesson_box.end_lesson()
    lesson_box.opened_lesson("reverse")
    assert len(written) == 2


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
    inputs = {key for key in shown if not key.startswith("save-")} - LOCAL
    assert inputs <= set(INPUTS[lesson.page]), "a lesson sets them all"
    absent = {key for key in lesson.inputs if key not in shown}
    assert {key.rstrip("1234") for key in absent if not _is_determined(lesson, key)} <= SOMETIMES
    assert {key: shown[key] for key in lesson.inputs if key in shown} == {
        key: value for key, value in lesson.inputs.items() if key in shown
    }


def _is_determined(lesson: Lesson, key: str) -> bool:
    """Return whether an input is that of a student, which determines it."""
    model = lesson.inputs.get(f"model{key[-1]}")
    return isinstance(model, str) and key[:-1] in own_steps(find_run(model).config)


def _settings(name: str) -> dict[str, object]:
    """Return the settings of a run that is made for lessons, by name, without what its training records and logs."""
    config = asdict(Run(PUBLISHED / RUNS_OF_LESSONS / name).config)
    recorded = ("versions", "training_images", "training_digest", "data.held_out", "log.")
    sections = {f"{part}.{key}": value for part, own in config.items() if isinstance(own, dict) for key, value in own.items()}
    flat = {key: value for key, value in config.items() if not isinstance(value, dict)} | sections
    return {key: value for key, value in flat.items() if not key.startswith(recorded)}


@pytest.mark.parametrize(
    ("names", "differing"),
    [
        (("lesson-epsilon", "lesson-v", "lesson-flow"), {"diffusion.prediction"}),
        (("lesson-flow", "lesson-averages"), {"optimizer.ema_half_life", "optimizer.ema_also", "optimizer.ema_ramp_up"}),
        (("lesson-flow", "lesson-copies"), {"data.train_images"}),
    ],
)
def test_models_that_a_lesson_compares_differ_in_nothing_else(names, differing):
    first, *others = map(_settings, names)
    for other in others:
        assert {key for key in first | other if first.get(key) != other.get(key)} == differing


def test_averages_of_other_lengths_are_of_the_same_training():
    """The weights after the last step do not depend on which averages are kept of them."""
    names = ("lesson-flow", "lesson-averages")
    one, other = (Run(PUBLISHED / RUNS_OF_LESSONS / name).metrics() for name in names)
    assert one["loss"].tolist() == other["loss"].tolist()
    assert find_run("lesson-averages-ema-200") == find_run("lesson-averages").average(200)
    assert one["val_loss_ema_1"].dropna().tolist() == other["val_loss_ema_1"].dropna().tolist()


def test_near_copies_are_logged_over_training():
    shares = [Run(PUBLISHED / RUNS_OF_LESSONS / name).metrics()["closer_than_held_out"].dropna() for name in
              ("lesson-copies", "lesson-flow")]  # fmt: skip
    assert shares[0].iloc[0] == 0
    assert shares[0].iloc[-1] > 0.5
    assert (shares[1] < 0.05).all()


def test_every_model_that_is_made_for_lessons_is_in_one_and_last_in_every_list():
    used = {name for lesson in LESSONS for key, value in lesson.inputs.items() if key.startswith(("model", "runs"))
            for name in ([value] if isinstance(value, str) else value)}  # fmt: skip
    known = list(known_runs().runs)
    made = [run.name for run in find_runs(PUBLISHED / RUNS_OF_LESSONS)]
    averages = set(known_runs().models_and_averages(is_diffusion)) - set(known)
    assert set(made) <= used <= set(known) | averages
    assert known[-len(made) :] == made


def test_every_lesson_is_named_once_and_says_what_to_do():
    assert 8 <= len(LESSONS) <= 20
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


def test_the_last_lesson_leads_to_the_first_and_says_so(monkeypatch):
    went = []
    monkeypatch.setattr("streamlit.switch_page", lambda page, query_params: went.append((page, query_params)))
    first, last = LESSONS[0], LESSONS[-1]
    app = open_app(last.page, lesson=last.name)
    assert not any(label.startswith("Next") for label in labels(app))
    press(app, f"First lesson: {first.title}")
    assert went == [(f"pages/{first.page}.py", {"lesson": first.name})]


def test_the_lesson_about_a_student_says_what_to_press_before_what_there_is_to_see():
    """Columns are told by number, because a narrow screen shows one at a time."""
    [lesson] = [one for one in LESSONS if one.name == "student"]
    [told] = re.findall(r"^Press \*\*(\w+)\*\*\.", lesson.look)
    assert told in labels(open_app(lesson.page, lesson=lesson.name))
    assert not re.search(r"\b(left|right)\b", lesson.look)


def test_a_lesson_leaves_nothing_of_what_the_page_showed_before():
    """Neither inputs that the lesson does not name, nor the address, nor a result."""
    lesson = "xray"
    fresh = _inputs(open_app("reverse", lesson=lesson))
    address = {"model": "flowers-text", "start": "Between two seeds", "other_seed": 9, "negative": "a dog", "spacing": "karras"}
    app = open_app("reverse", **address, steps=7, guidance=5)
    before = _inputs(app)
    assert (before["start"], before["other_seed"], before["negative"]) == ("Between two seeds", 9, "a dog")
    job = SimpleNamespace(cancelled=False, active=False)
    job.cancel = partial(setattr, job, "cancelled", True)
    app.session_state["reverse"] = ("before", job)
    for name in list(app.query_params):
        del app.query_params[name]
    app.query_params["lesson"] = lesson
    app.run()
    assert not app.exception
    assert _inputs(app) == fresh
    assert job.cancelled
    app.selectbox(key="model").select("flowers-text").run()
    assert app.text_input(key="negative").value == ""


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
    from pages.components.lesson_box import close_lesson

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
