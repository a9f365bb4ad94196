"""The logic of the Generate page, without a browser."""

import io
import json
import shutil
import threading
import zipfile
from concurrent.futures import wait
from dataclasses import replace
from functools import partial

import numpy as np
import opening
import pytest
from opening import button_of, labels, open_app
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components import prompt_words
from pages.components.condition_table import table_gif
from pages.components.downloads import comparison_zip
from pages.components.picture_table import picture_table
from pipelines.common.images import read_request
from pipelines.datasets.learnt_words import Nearest
from pipelines.storage.run import Run

open_page = partial(open_app, "generate")
generate = partial(opening.generate, key="table")


@pytest.fixture(autouse=True)
def runs(class_run, text_run, tmp_path, monkeypatch):
    """A small class model and a small text model are at hand, and nothing else."""
    for run in (class_run, text_run):
        (tmp_path / run.name).symlink_to(run.path)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")


def cells(app: AppTest):
    return app.session_state["table"][1].columns


def html(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def test_every_class_with_and_without_guidance():
    app = generate(open_page(model="class", steps=3, images_a_cell=2, guidance=3))
    table, comparison = app.session_state["table"]
    assert table.rows == ["circles", "squares"]
    assert [(cell.request.label, cell.request.guidance) for cell in cells(app)] == [
        ("circles", 1.0), ("circles", 3.0), ("squares", 1.0), ("squares", 3.0),
    ]  # fmt: skip
    assert {(cell.request.seed, cell.request.num_images, cell.request.steps) for cell in cells(app)} == {(0, 2, 3)}
    noise = [cell.frames[0].x for cell in cells(app)]
    assert all(np.array_equal(noise[0], other) for other in noise), "the same noise everywhere"
    assert comparison.status == "done"
    assert html(app).count('role="cell"') == 4
    assert any("8 images · 4 (3 to 6) network calls per image" in caption.value for caption in app.caption)
    [told] = [caption.value for caption in app.caption if "Every cell starts from the same noise" in caption.value]
    assert told.startswith("class · UniPC-3 · 3 steps · seed 0. Rows: "), "all that the cells share, and no guidance"


def test_classes_whose_names_are_alike_are_each_at_hand(class_run, tmp_path):
    """Classes that differ by case only, one called as the label for every class in turn, and one as another's number."""
    for place, names in (("cased", ("a", "A")), ("meant", ("all", "0"))):
        run = Run(shutil.copytree(class_run.path, tmp_path / place))
        run.write_config(replace(run.config, condition=replace(run.config.condition, classes=names)))
        app = generate(open_page(model=place, classes=list(names), vary="Guided only", steps=1, images_a_cell=1))
        assert [cell.request.label for cell in cells(app)] == list(names)
        first, second = (cell.frames[-1].x for cell in cells(app))
        assert not np.array_equal(first, second), "each is drawn as itself"
        edited = open_app("compare", model1=place, class1=names[1])
        assert edited.selectbox(key="class1").value == names[1]
        assert edited.selectbox(key="class1").options == ["every class in turn"] * (place == "cased") + list(names)


def test_prompts_by_guidance_scales_and_what_to_lead_away_from():
    prompts = "a circle\n\n  a square \na circle"
    app = generate(open_page(model="text", prompts=prompts, vary="Guidance scales", steps=2, images_a_cell=1, negative="dark"))
    table, _ = app.session_state["table"]
    assert table.rows == ["a circle", "a square"]
    assert table.columns == ["guidance 1", "guidance 2", "guidance 4", "guidance 8"]
    assert [cell.request.guidance for cell in cells(app)] == 2 * [1, 2, 4, 8]
    assert [cell.request.prompt for cell in cells(app)] == 4 * [("a circle",)] + 4 * [("a square",)]
    assert {cell.request.negative_prompt for cell in cells(app)} == {"dark"}


def test_prompts_by_models(text_run, tmp_path):
    shutil.copytree(text_run.path, tmp_path / "twin")
    app = generate(open_page(model="text", vary="Models", models=["text", "twin"], steps=2, images_a_cell=1))
    table, _ = app.session_state["table"]
    assert table.columns == ["text", "twin"]
    assert {cell.run.name for cell in cells(app)} == {"text", "twin"}
    assert np.array_equal(cells(app)[0].frames[-1].x, cells(app)[1].frames[-1].x)
    assert "Models" not in open_page(model="class").get("button_group")[0].options, "no other model takes these classes"


def test_a_gallery_has_one_column():
    app = generate(open_page(model="class", vary="Guided only", steps=2, images_a_cell=5, guidance=2))
    assert [cell.request.guidance for cell in cells(app)] == [2, 2]
    assert 'role="columnheader"' not in html(app)


@pytest.mark.filterwarnings("ignore:the prompt")
def test_a_long_prompt_is_cut_with_a_note_and_its_row_has_a_short_name():
    app = generate(open_page(model="text", prompts=" ".join(map(str, range(60))), steps=1, images_a_cell=1))
    assert any("words are lost: 30, 31" in warning.value for warning in app.warning)
    table, _ = app.session_state["table"]
    assert len(table.rows[0]) <= 120


@pytest.mark.parametrize("prompts", ["", "🌸👟", "صورة حذاء", "<b>bold</b> &amp; 'quoted'"])
def test_odd_prompts_are_prompts_too(prompts):
    app = generate(open_page(model="text", prompts=prompts, steps=1, images_a_cell=1))
    assert app.session_state["table"][1].status == "done"
    assert "<b>" not in html(app)


def test_too_much_and_too_little_are_told():
    app = open_page(model="class", images_a_cell=64, vary="Guidance scales")
    assert "512 images" in app.warning[0].value
    assert button_of(app, "Generate").disabled
    app.multiselect(key="classes").set_value([]).run()
    assert "Nothing is chosen for the rows" in app.warning[0].value


def test_an_address_that_makes_no_sense_shows_the_usual_page():
    app = open_page(
        model="../../etc",
        vary="nonsense",
        images_a_cell="-5",
        classes="nobody",
        guidance="x",
        steps="1e9",
        seed="-1",
        guidance_interval="z",
    )
    assert app.selectbox(key="model").value == "class"
    assert app.number_input(key="images_a_cell").value == 4
    assert "Generate" in labels(app)


def test_a_run_that_vanishes_is_told(tmp_path, class_run):
    shutil.copytree(class_run.path, tmp_path / "mine")
    app = open_page(model="mine", steps=2, images_a_cell=1)
    shutil.rmtree(tmp_path / "mine")
    button_of(app, "Generate").click().run()
    assert not app.exception


def test_without_conditional_models_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "none")
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")
    app = open_page()
    assert "Train page" in app.info[0].value
    assert not app.button


def test_downloads():
    app = generate(open_page(model="class", steps=3, images_a_cell=2))
    table, comparison = app.session_state["table"]
    with zipfile.ZipFile(io.BytesIO(comparison_zip(table.names, comparison))) as archive:
        names = archive.namelist()
        assert "1-circles-no-guidance-scale-1/00001.png" in names
        requests = json.loads(archive.read("request.json"))
        for number, cell in enumerate(cells(app)):
            folder = list(requests)[number]
            file = io.BytesIO(archive.read(f"{folder}/00000.png"))
            assert np.array_equal(np.asarray(Image.open(file)), cell.frames[-1].x[0])
            assert read_request(file)["request"]["label"] == cell.request.label
    gif = Image.open(io.BytesIO(table_gif(table, comparison, "x")))
    assert gif.n_frames == 4


def test_the_same_again_is_there_at_once():
    app = generate(open_page(model="class", steps=2, images_a_cell=2))
    before = [cell.frames[-1].x for cell in cells(app)]
    again = generate(open_page(model="class", steps=2, images_a_cell=2))
    assert all(one is cell.frames[-1].x for one, cell in zip(before, cells(again), strict=True))


def test_a_table_of_pictures_refuses_a_torn_row():
    with pytest.raises(ValueError, match="row 'a' has 1 pictures for 2 columns"):
        picture_table(["x", "y"], [("a", [np.zeros((2, 2, 1), np.uint8)])], "test")


def test_the_page_does_not_wait_for_the_nearest_captions(text_run, monkeypatch):
    """Thousands of captions may have to be encoded for them."""
    go_on = threading.Event()

    def find(prompt, *_):
        go_on.wait(60)
        return Nearest(f"near {prompt}", 0.5)

    monkeypatch.setattr(prompt_words, "nearest_caption", find)
    app = open_page(model="text", prompts="an unheard-of prompt")
    assert "looking for the nearest caption…" in html(app)
    go_on.set()
    wait([prompt_words._search("an unheard-of prompt", text_run.config.condition, text_run.config.data.data)])
    assert "nearest caption: “near an unheard-of prompt” (similarity 0.50)" in html(app.run())


def test_no_more_searches_wait_than_there_is_room_for(text_run, monkeypatch):
    """Each has a thread, and visitors type what they like."""
    go_on = threading.Event()
    monkeypatch.setattr(prompt_words, "nearest_caption", lambda prompt, *_: go_on.wait(60) and Nearest(prompt, 0.5))
    before = threading.active_count()
    searches = []
    for number in range(0, 2 * prompt_words.WAITING, prompt_words.MOST):
        searches += prompt_words._searches([f"prompt {number + place}" for place in range(prompt_words.MOST)], text_run.config)
    assert threading.active_count() - before == len(searches) == prompt_words.WAITING
    go_on.set()
    assert not wait(searches, 60).not_done
    [later] = prompt_words._searches(["a later prompt"], text_run.config)
    assert later.result(60).caption == "a later prompt"
