"""From pictures that are dropped into the Train page to a model that is used."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from opening import labels, press

from pages.components.setting import USUAL
from pages.components.training_few import FOR_FEW
from pages.components.training_upload import MOST_FILES
from pipelines.common.reports import RESULT
from pipelines.datasets import uploads
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
from pipelines.training import estimate
from pipelines.training.estimate import FOLDER, Costs, Estimate


def drop(app, files):
    """Drop files into the page's only place for them."""
    [place] = [widget for widget in app.file_uploader if widget.key.startswith("upload-")]
    for file in files:
        place.upload(file.name, file.read_bytes())
    app.run()
    assert not app.exception
    return app


def test_dropped_pictures_are_stored_and_chosen(open_train, image_folder, tmp_path, wait_for):
    files = sorted(image_folder.rglob("*.png"))
    app = drop(open_train(only_classes="squares"), files)
    folder = Path(app.selectbox(key="data").value)
    assert folder.parent == uploads.uploads_folder()
    assert sorted(path.name for path in folder.iterdir()) == sorted(file.name for file in files)
    assert app.text_input(key="only_classes").value == ""
    assert app.text_input(key="name").placeholder.startswith(folder.name)
    assert any(f"40 files stored in {folder}" in caption.value for caption in app.caption)
    app.run()
    drop(app, files)
    assert any("40 files are the same as those in" in caption.value for caption in app.caption)
    assert list(folder.parent.iterdir()) == [folder], "stored once"
    start = "flowers-attention-64"
    wait_for(lambda: app.run().selectbox(key="init_from").value == start)
    assert app.number_input(key="size").value == Run(PUBLISHED / start).config.image_shape[1]
    assert {key: app.number_input(key=key).value for key in FOR_FEW} == FOR_FEW
    assert any("That takes roughly" in text.value for text in app.markdown)
    assert not app.error


def test_dropped_pictures_are_chosen_again_and_deleted_once_that_is_confirmed(open_train, image_folder, tmp_path):
    folder = Path(drop(open_train(), sorted(image_folder.rglob("*.png"))[:3]).selectbox(key="data").value)
    app = open_train()
    app.session_state["dropped"] = True  # as if the menu had been opened, in another session
    app.run()
    assert any("3 files" in text.value for text in app.markdown)
    app.button(key=f"use-{folder.name}").click().run()
    assert app.selectbox(key="data").value == str(folder)
    app.button(key=f"doom-{folder.name}").click().run()
    assert any(f"Delete {folder.name} with its pictures?" in text.value for text in app.markdown)
    assert app.button(key="doom").proto.type == "secondary", "nothing invites to delete"
    assert folder.exists()
    (folder / "mine.png").write_bytes(b"not dropped")
    app.button(key="doom").click().run()
    assert "have changed since they were dropped" in app.error[0].value
    (folder / "mine.png").unlink()
    app.button(key=f"doom-{folder.name}").click().run()
    app.button(key="doom").click().run()
    assert not folder.exists()
    assert app.selectbox(key="data").value == USUAL.data.data
    assert not app.exception


def test_a_drop_that_cannot_be_taken_changes_nothing(open_train, image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_FILES", 3)
    before = open_train()
    app = drop(before, sorted(image_folder.rglob("*.png"))[:4])
    assert "4 files of" in app.error[0].value
    assert "at most 3 files" in app.error[0].value
    assert app.selectbox(key="data").value == "oxford_flowers"
    assert not uploads.uploads_folder().exists()
    assert MOST_FILES > 1000


def test_an_estimate_is_shown_for_as_long_as_it_holds(open_train, queue, monkeypatch):
    monkeypatch.setattr(estimate, "launch", lambda *started: None)
    tiny = {"size": 8, "batch": 8, "channels": "8, 16", "train_steps": 400, "warmup": 1}
    app = press(open_train(**tiny | {"train_steps": 40}), "Estimate the time")
    found = Estimate(2.0, Costs(0.5, 1.0, 10.0, 0.25), 300 * 2**20)
    (queue.root / FOLDER / RESULT).write_text(json.dumps(asdict(found)))

    def told():
        app.run()
        return [text.value for text in app.markdown if "of memory" in text.value]

    assert "for 40 steps of 0.5 s" in told()[0]
    app.number_input(key="train_steps").set_value(400).run()
    assert "for 400 steps of 0.5 s" in told()[0]
    assert not [text for text in open_train(**tiny).markdown if "of memory" in text.value], "another session has not asked"
    app.number_input(key="batch").set_value(16).run()
    assert not told()


@pytest.mark.parametrize(("made", "page"), [("tiny_run", "Edit"), ("class_run", "Generate"), ("autoencoder_run", None)])
def test_a_trained_run_leads_to_what_uses_it(open_train, queue, request, monkeypatch, made, page):
    run = request.getfixturevalue(made)
    queue.root.mkdir()
    (queue.root / "mine").symlink_to(run.path)
    app = open_train()
    offered = {"Compare", "Edit", "Generate"} & labels(app)
    assert offered == ({"Compare", page} if page else set())
    app.session_state["share-mine"] = True  # as if the menu had been opened
    assert any("pipelines.publish" in text.value for text in app.run().markdown)
    for chosen in sorted(offered):
        went = []
        monkeypatch.setattr("streamlit.switch_page", lambda target, query_params: went.append((target, query_params)))  # noqa: B023
        press(app, chosen)
        address = {"model1": "mine", "model2": "mine"} if chosen == "Compare" else {"model": "mine"}
        assert went == [(f"pages/{chosen.lower()}.py", address)]


def test_a_student_is_trained_from_a_finished_run(open_train, queue, class_run, monkeypatch):
    monkeypatch.setattr(type(queue), "_start_worker", lambda queue: None)
    queue.root.mkdir()
    (queue.root / "mine").symlink_to(class_run.path)
    app = open_train()
    app.session_state["distil-mine"] = True  # as if the menu had been opened
    app.run()
    assert any("400 steps of 32 images: roughly" in text.value for text in app.caption)
    app.multiselect(key="calls-sfd-mine").set_value([]).run()
    assert "Train a student" not in labels(app), "in no steps"
    app.multiselect(key="calls-sfd-mine").set_value([3])
    press(app.run(), "Train a student")
    [waiting] = queue.waiting()
    asked = waiting.config.distillation
    assert (waiting.path.name, asked.calls, asked.guidance) == ("mine-student-3", (3,), 2.0)
    assert asked.teacher_fingerprint == class_run.fingerprint
    press(app, "Train a student")
    assert "exists already" in app.error[0].value
    app.multiselect(key="calls-sfd-mine").set_value([8, 2])
    press(app.run(), "Train a student")
    assert (queue.waiting()[-1].path.name, queue.waiting()[-1].config.distillation.calls) == ("mine-student-2-8", (2, 8))
    app.radio(key="method-mine").set_value("ect").run()
    assert not [widget for widget in app.number_input if widget.key == "distilled-mine"], "images are not guided"
    assert app.number_input(key="calls-ect-mine").max == 2
    press(app, "Train a student")
    tuned = queue.waiting()[-1].config.distillation
    assert (queue.waiting()[-1].path.name, tuned.method, tuned.guidance) == ("mine-student-2-ect", "ect", 1.0)


def test_a_student_is_trained_of_a_model_that_comes_with_noisescope(open_train, queue, monkeypatch):
    monkeypatch.setattr(type(queue), "_start_worker", lambda queue: None)
    app = open_train()
    app.session_state["students"] = True  # as if the menu had been opened
    app.run()
    teachers = app.selectbox(key="teacher").options
    assert "fashion-attention" in teachers
    assert not {"fashion-attention-student", "flowers-autoencoder"} & set(teachers)
    app.selectbox(key="teacher").select("fashion-attention").run()
    press(app, "Train a student")
    [waiting] = queue.waiting()
    assert (waiting.path.name, waiting.config.distillation.teacher) == ("fashion-attention-student-4", "fashion-attention")
