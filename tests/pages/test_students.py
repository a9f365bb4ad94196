"""A student on the pages: the way to its teacher, the steps of each column, and what is said of the two."""

from dataclasses import replace
from functools import partial

import opening
import pytest
from opening import labels, open_app, press

from pages.components.students import beside_teacher
from pipelines.models.teachers import student_config
from pipelines.storage.config import DistillationConfig
from pipelines.storage.runs import Run
from pipelines.storage.student_defaults import LOG, OPTIMIZER

generate = partial(opening.generate, key="comparison")


@pytest.fixture
def runs(class_run, tmp_path, monkeypatch):
    """A folder with a class-conditional teacher and a student in three steps, which still has its teacher's weights."""
    root = tmp_path / "runs"
    root.mkdir()
    (root / "teacher").symlink_to(class_run.path)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", root)
    config = student_config(Run(root / "teacher"), DistillationConfig(calls=3, guidance=3.0), OPTIMIZER, LOG)
    (root / "student").mkdir()
    (root / "student" / "model.safetensors").symlink_to(class_run.model_path)
    Run(root / "student").write_config(replace(config, image_shape=class_run.config.image_shape))
    return root


def requests(app):
    return [column.request for column in app.session_state["comparison"][1].columns]


def test_the_way_from_a_student_shows_its_teacher_beside_it_and_says_what_differs(open_train, queue, runs, monkeypatch):
    monkeypatch.setattr("pipelines.training.jobs.TrainingQueue", partial(type(queue), runs))
    went = []
    monkeypatch.setattr("streamlit.switch_page", lambda target, query_params: went.append((target, query_params)))
    press(open_train(), "Compare with its teacher")
    [(page, address)] = went
    assert page == "pages/compare.py"
    app = open_app("compare", images=4, **{name: value[0] for name, value in address.items()})
    teacher, student = requests(generate(app))
    assert (teacher.sampler, teacher.steps, teacher.guidance, teacher.label) == ("dpmpp_2m", 20, 3.0, "all")
    assert (student.sampler, student.steps, student.guidance, student.label) == ("ddim", 3, 3.0, "all")
    told = [text.value for text in (*app.caption, *app.markdown)]
    assert any("The student's images differ from its teacher's by **L1 0." in text for text in told)
    assert any("Here, 4 images: 40 network calls in" in text and "against 3 network calls in" in text for text in told)
    assert any("same noise in every column" in text for text in told)
    assert any("Not measured yet: coverage and class shares." in text for text in told)
    assert {"Measure", "X-ray 1"} <= labels(app)
    assert "X-ray 2" not in labels(app), "a student has no fine solution"


def test_columns_chosen_by_hand_have_their_own_steps(runs):
    app = open_app("compare", model1="student", model2="teacher", steps1=3, sampler1="ddim", guidance1=3.0)
    assert any("A student of teacher, which has learnt 3 steps of DDIM only." in text.value for text in app.caption)
    keys = [widget.key for widget in app.number_input]
    assert "steps2" in keys
    assert "steps1" not in keys
    assert any("learnt guidance 3, and its teacher is guided with 2 here" in text.value for text in app.caption)
    app.number_input(key="guidance2").set_value(3.0).run()
    assert not any("is guided with" in text.value for text in app.caption)
    app.selectbox(key="model1").set_value("teacher").run()
    usual = {"steps1": 20, "guidance1": 2.0}
    assert {key: app.number_input(key=key).value for key in usual} == usual, "not those of the student"
    assert app.selectbox(key="sampler1").value == "dpmpp_2m"


def test_a_student_whose_teacher_is_gone_is_compared_like_any_run(runs):
    student = Run(runs / "student")
    assert beside_teacher("student", student.config)["model1"] == ["teacher"]
    assert beside_teacher("teacher", Run(runs / "teacher").config) == {}
    (runs / "teacher").unlink()
    assert beside_teacher("student", student.config) == {}
    assert not open_app("compare", model1="student").exception
