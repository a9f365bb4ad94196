"""What the Train page says of the data: before training, and of a run that has read them."""

import shutil
from html import unescape

import pytest
from opening import labels, press
from streamlit.testing.v1 import AppTest

from pipelines.datasets import image_sets, surveyor
from pipelines.datasets.sources import open_source


@pytest.fixture
def torn_photos(image_folder, tmp_path):
    """Forty pictures, three of which cannot be read."""
    folder = shutil.copytree(image_folder, tmp_path / "photos")
    for file in sorted(folder.rglob("*.png"))[:3]:
        file.write_bytes(b"torn")
    return folder


def test_pictures_that_could_not_be_used_are_counted_and_named(open_train, queue, train, torn_photos):
    run = train(queue.root / "mine", data=str(torn_photos), steps=1)
    app = open_train()
    [found] = [block for block in app.expander if block.label.startswith("Data: ")]
    assert "37 pictures used (34 to train on, 3 held out), 3 not used" in found.label
    assert [f"circles/{number:03}.png: not a readable image" in found.code[0].value for number in (1, 3, 5)] == [True] * 3
    (run.path / "data.json").write_text('{"found": "many"}')
    assert any("The report on its data cannot be read" in text.value for text in open_train().caption)


def facts_on(app: AppTest) -> str:
    """The facts on the page, without their markup."""
    return unescape(" ".join(block.proto.body for block in app.get("html")))


@pytest.fixture
def open_data(open_train, tmp_path):
    """Opens the page with a folder under a short name, so that it is read without asking."""

    def run(folder, **inputs) -> AppTest:
        folder.rename(tmp_path / "data" / "pokemon_captions")
        return open_train(data="pokemon_captions", **inputs)

    return run


def test_the_report_says_what_is_in_the_data_before_training(open_data, torn_photos, tmp_path, wait_for):
    app = open_data(torn_photos)
    wait_for(lambda: "pictures used" in facts_on(app.run()))
    assert "40 files: 37 pictures used (34 to train on, 3 held out), 3 not used" in facts_on(app)
    assert "2 in column 'label': squares 20, circles 17" in facts_on(app)
    [more] = [block for block in app.expander if block.label == "More about these data"]
    assert "circles/001.png: not a readable image" in more.code[0].value
    (tmp_path / "data" / "pokemon_captions" / "circles" / "001.png").unlink()
    press(app, "Look again")
    wait_for(lambda: "39 files: 37 pictures used" in facts_on(app.run()))
    assert not app.error
    assert not app.warning


def can_start(app: AppTest) -> bool:
    [button] = [button for button in app.button if button.label == "Start training"]
    return not button.disabled


def test_data_that_cannot_be_trained_on_are_reported_too(open_data, tmp_path, wait_for):
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "pictures" / name).write_bytes(b"torn")
    app = open_data(tmp_path / "pictures")
    wait_for(lambda: "that can be read" in facts_on(app.run()))
    assert "2 files: 0 pictures that can be read, 2 not used" in facts_on(app)
    assert len(app.error) + len(app.warning) == 1  # the reason is told once
    assert not can_start(app)


def test_a_network_for_what_the_data_lack_cannot_be_started(open_data, image_folder, tmp_path, wait_for):
    app = open_data(shutil.copytree(image_folder / "circles", tmp_path / "plain"), unet="class")
    wait_for(lambda: any("these data have no classes: sort the pictures" in error.value for error in app.run().error))
    assert not can_start(app)
    app.selectbox(key="unet").select("baseline").run()
    assert not app.error
    assert can_start(app)


def test_a_page_opens_a_dataset_once(open_data, image_folder, tmp_path, wait_for, monkeypatch):
    opened = []
    for module in (surveyor, image_sets):
        monkeypatch.setattr(module, "open_source", lambda *named: opened.append(named) or open_source(*named))
    app = open_data(shutil.copytree(image_folder, tmp_path / "photos"))
    wait_for(lambda: "Look again" in labels(app.run()))
    app.number_input(key="size").set_value(16).run()  # other pictures of the same dataset
    assert len(opened) == 1
    press(app, "Look again")
    wait_for(lambda: "Look again" in labels(app.run()))
    assert len(opened) == 2


def test_many_pictures_are_decoded_when_somebody_asks(open_data, torn_photos, wait_for, monkeypatch):
    monkeypatch.setattr("pipelines.datasets.surveyor.AT_ONCE", 10)
    app = open_data(torn_photos)
    wait_for(lambda: "Examine all 40 pictures" in labels(app.run()))
    assert "40 files: 40 pictures, 0 not used" in facts_on(app)
    press(app, "Examine all 40 pictures")
    wait_for(lambda: "37 pictures used" in facts_on(app.run()))
    assert "Examine all 40 pictures" not in labels(app)


def test_a_link_alone_reports_on_no_folder(open_train, torn_photos):
    assert "files" not in facts_on(open_train(data=torn_photos))


def test_held_out_images_that_are_also_trained_on_are_told(open_train, queue, train, image_folder, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(image_folder, tmp_path / "photos" / split)
    train(queue.root / "mine", data=str(tmp_path / "photos"), steps=1)
    told = [caption.value for caption in open_train().caption if "are also among the training images" in caption.value]
    assert told == [
        ":material/content_copy: Of the held-out images, 40 are also among the training images: on these the model may look "
        "better than on new images."
    ]


@pytest.fixture
def few(open_train, image_folder, tmp_path, wait_for):
    """Chooses a dataset of forty pictures, and returns the page as it is when they have been looked through."""

    def choose(**inputs) -> AppTest:
        app = open_train(**inputs)
        (tmp_path / "data" / "pokemon_captions").symlink_to(image_folder)
        app.selectbox(key="data").select("pokemon_captions").run()
        wait_for(lambda: "pictures used" in facts_on(app.run()))
        assert not app.exception
        return app

    return choose


def plan(app: AppTest) -> tuple:
    return app.selectbox(key="init_from").value, app.number_input(key="train_steps").value, app.number_input(key="size").value


def test_few_pictures_get_settings_for_few_pictures_and_many_the_usual_ones(few, image_folder, tmp_path, monkeypatch, wait_for):
    app = few()
    assert plan(app) == ("flowers-attention-64", 1000, 64)
    assert app.number_input(key="augment").value > 0
    assert any("continue from the weights of **flowers-attention-64**" in text.value for text in app.markdown)
    press(app, "Use the usual settings")
    assert plan(app) == ("random weights", 10_000, None)
    assert app.selectbox(key="data").value == "pokemon_captions"
    press(app, "Use settings for few pictures")
    assert plan(app) == ("flowers-attention-64", 1000, 64)
    assert not app.error
    assert can_start(app)
    monkeypatch.setattr("pages.components.training_few.FEW", 30)
    (tmp_path / "data" / "tiny_imagenet").symlink_to(image_folder)
    app.selectbox(key="data").select("tiny_imagenet").run()
    wait_for(lambda: "pictures used" in facts_on(app.run()))
    assert plan(app) == ("random weights", 10_000, None)
    assert not {"Use the usual settings", "Use settings for few pictures"} & labels(app)


def test_settings_that_somebody_has_chosen_stay(few):
    app = few(train_steps=70)
    assert plan(app) == ("random weights", 70, None)
    assert "Use settings for few pictures" in labels(app)
