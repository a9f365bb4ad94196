"""A student on the pages: the way to its teacher, the steps of each column, and what is said of the two."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import opening
import pytest
import torch
from opening import labels, open_app, press

from pages.components.runs import condition_of_sample, grid_images, newest_samples
from pages.components.students import beside_teacher
from pipelines.common.images import montage, png_bytes
from pipelines.models.loading import load_model
from pipelines.models.networks import make_network
from pipelines.models.teachers import student_config
from pipelines.storage.config import DistillationConfig
from pipelines.storage.run import Run
from pipelines.storage.student_defaults import LOG, OPTIMIZER
from pipelines.storage.weights import write_tensors

generate = partial(opening.generate, key="comparison")


@pytest.fixture
def runs(class_run, tmp_path, monkeypatch):
    """A folder with a class-conditional teacher and a student in three steps, which still has its teacher's weights."""
    root = tmp_path / "runs"
    root.mkdir()
    (root / "teacher").symlink_to(class_run.path)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", root)
    config = student_config(Run(root / "teacher"), DistillationConfig(calls=(3,), guidance=3.0), OPTIMIZER, LOG)
    (root / "student").mkdir()
    (root / "student" / "model.safetensors").symlink_to(class_run.model_path)
    Run(root / "student").write_config(replace(config, image_shape=class_run.config.image_shape))
    return root


def test_a_student_has_no_x_ray(runs):
    app = opening.generate(open_app("reverse", model="student", xray="true"), "reverse", "Denoise")
    [toggle] = app.toggle
    assert (toggle.disabled, toggle.value) == (True, False)
    assert any("take its teacher" in text.value for text in app.markdown)


@pytest.fixture
def drawn(runs):
    """The student with a log and a sample grid: image k is of grey k, and followed by its teacher's, of grey 100 + k."""
    run = Run(runs / "student")
    config = run.config
    held_out = replace(config.data.held_out, copies=3, near_copies=27)  # of its teacher's data
    run.write_config(replace(config, data=replace(config.data, held_out=held_out)))
    run.append_metrics(
        {"step": 10, "images_seen": 80, "seconds": 1.0, "loss": 0.1, "val_loss": 0.2, "lr": 0.1, "grad_norm": 1.0}
    )
    greys = np.stack([np.arange(18), np.arange(100, 118)], axis=1).ravel().astype(np.uint8)
    _, height, width = config.image_shape
    (run.path / "samples").mkdir()
    images = np.broadcast_to(greys[:, None, None, None], (len(greys), height, width, 3))
    (run.path / "samples" / "step-00000010.png").write_bytes(png_bytes(montage(images)))
    return run


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
    assert (teacher.sampler, teacher.steps, teacher.guidance, teacher.label) == ("unipc", 20, 3.0, "all")
    assert (student.sampler, student.steps, student.guidance, student.label) == ("ddim", 3, 3.0, "all")
    told = [text.value for text in (*app.caption, *app.markdown)]
    assert any("From the same noise, the student's images differ from its teacher's by **L1 0." in text for text in told)
    assert any("Here, 4 images: 40 network calls in" in text and "against 3 network calls in" in text for text in told)
    assert any("same noise in every column" in text for text in told)
    assert any("Not measured yet: coverage and class shares." in text for text in told)
    assert {"Measure", "X-ray 1"} <= labels(app)
    assert "X-ray 2" not in labels(app), "a student has no fine solution"


def test_students_alone_are_offered_no_xrays(runs):
    app = generate(open_app("compare", model1="student", model2="student", seed2=1, images=2))
    assert not any("What each sampler step did" in caption.value for caption in app.caption)


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
    assert app.selectbox(key="sampler1").value == "unipc"


def test_a_student_of_several_numbers_is_offered_all_of_them(runs, class_run):
    config = student_config(Run(runs / "teacher"), DistillationConfig(calls=(2, 3, 5), guidance=3.0), OPTIMIZER, LOG)
    config = replace(config, image_shape=class_run.config.image_shape)
    network = make_network(config, seed=0)
    weights = network.state_dict() | load_model(class_run, "cpu", torch.float32).denoiser.network.state_dict()
    (runs / "several").mkdir()
    write_tensors(runs / "several" / "model.safetensors", weights, {})
    Run(runs / "several").write_config(config)
    app = open_app("compare", model1="several", model2="several", steps2=3, images=2)
    assert any("has learnt 2, 3 or 5 steps of DDIM only." in text.value for text in app.caption)
    offered = [app.segmented_control(key=f"steps{number}") for number in (1, 2)]
    assert [one.options for one in offered] == [["2", "3", "5"]] * 2
    assert [one.value for one in offered] == [5, 3], "the most, and what the address says"
    app.segmented_control(key="steps1").set_value(2).run()
    assert [request.steps for request in requests(generate(app))] == [2, 3]
    app.selectbox(key="model2").set_value("teacher").run()
    app.number_input(key="steps2").set_value(4).run()
    app.selectbox(key="model2").set_value("several").run()
    assert app.segmented_control(key="steps2").value == 3, "the nearest"
    app.selectbox(key="model1").set_value("student").run()
    assert [request.steps for request in requests(generate(app))] == [3, 3]
    for page in ("generate", "reverse"):
        app = open_app(page, model="several", steps=2)
        assert app.segmented_control(key="steps").value == 2
        app.segmented_control(key="steps").set_value(5).run()
        assert not app.exception


def test_a_student_whose_teacher_is_gone_is_compared_like_any_run(runs):
    student = Run(runs / "student")
    assert beside_teacher("student", student.config)["model1"] == ["teacher"]
    assert beside_teacher("teacher", Run(runs / "teacher").config) == {}
    (runs / "teacher").unlink()
    assert beside_teacher("student", student.config) == {}
    assert not open_app("compare", model1="student").exception


def test_image_k_of_a_student_is_its_own_and_made_for_what_image_k_of_its_teacher_is(drawn, class_run):
    assert newest_samples(drawn)[:, 0, 0, 0].tolist() == [*range(18)]
    whole = grid_images(drawn.config, *drawn.samples().values(), teachers=True)
    assert whole[:4, 0, 0, 0].tolist() == [0, 100, 1, 101]
    made_for = [[condition_of_sample(run.config, number) for number in range(18)] for run in (drawn, class_run)]
    assert made_for[0] == made_for[1]
    assert made_for[0][0] != made_for[0][1]


def test_training_curves_show_a_student_alone_and_say_what_its_loss_is(drawn):
    app = open_app("training_curves", runs="student", all_samples="true")
    assert [toggle.label for toggle in app.toggle if toggle.label.startswith("All")] == ["All 18 images"]
    sent = [json.loads(element.proto.json) for element in app.get("bidi_component")]
    [row] = [row for one in sent for row in one.get("rows", ())]
    assert row["images"] == len(row["shows"]) == 18
    told = " ".join(caption.value for caption in app.caption)
    assert "Of a student: the mean absolute difference of its samples from its teacher's" in told
    assert "held-out loss" not in told
    assert "press one" not in told, "there is one grid"


def test_train_shows_a_student_with_its_teacher_and_tells_of_no_held_out_images(open_train, queue, runs, drawn, monkeypatch):
    monkeypatch.setattr("pipelines.training.jobs.TrainingQueue", partial(type(queue), runs))
    told = [caption.value for caption in open_train().caption]
    assert any("each image of the student's EMA weights is followed by its teacher's" in text for text in told)
    assert not any("held-out images" in text for text in told)
    assert drawn.config.data.held_out.about_copies
