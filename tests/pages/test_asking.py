"""What an address cannot do by itself: nothing beyond the known runs is read or downloaded before a button is pressed."""

import json
import shutil
from functools import partial

import datasets
import pytest
import streamlit as st
from opening import open_app
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1.element_tree import Selectbox

import pipelines.datasets.pretrained as pretrained
import pipelines.datasets.sources as sources
from pages.components.data_report import surveyor
from pipelines.common.text import literal
from pipelines.storage.run import Run
from pipelines.training.jobs import TrainingQueue

FOREIGN = "somebody/some_data"
# What an address can say about data, on each page that takes any; ``{}`` is the dataset.
ADDRESSES = {
    "forward": {"source": "A dataset", "dataset": "{}"},
    "reverse": {"model": "tiny", "start": "An image", "source": "A dataset", "dataset": "{}"},
    "edit": {"model": "tiny", "source": "A dataset", "dataset": "{}"},
    "train": {"data": "{}", "fetch": "true"},
}


@pytest.fixture(autouse=True)
def runs(tiny_run, queue, tmp_path, monkeypatch):
    """A small model and no runs of one's own; a short name that is a folder here."""
    roots = tmp_path / "published"
    roots.mkdir()
    (roots / "tiny").symlink_to(tiny_run.path)
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", roots)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", queue.root)
    monkeypatch.setattr("pipelines.training.jobs.TrainingQueue", partial(TrainingQueue, queue.root))
    return roots


@pytest.fixture(autouse=True)
def values_that_are_no_options(monkeypatch):
    """Let AppTest send the value of a selectbox that accepts new options, as a browser does."""

    def state(box):
        return WidgetState(id=box.id, **({} if box.value is None else {"string_value": str(box.value)}))

    monkeypatch.setattr(Selectbox, "_widget_state", property(state))


def watched(open_it, names, source):
    names[str(source)] = True
    return open_it(source)


@pytest.fixture
def opened(monkeypatch):
    """The datasets that were opened, each named once; those on the hub cannot be."""
    st.cache_data.clear()
    surveyor.clear()  # which keeps what earlier tests opened
    names = {}
    for module, function in ((datasets, "load_dataset"), (sources, "list_files")):
        monkeypatch.setattr(module, function, partial(watched, getattr(module, function), names))
    return names


def press(app, label):
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception
    return app


@pytest.mark.parametrize("page", ADDRESSES)
def test_a_dataset_in_an_address_waits_for_a_button_that_says_what_it_does(page, image_folder, opened, monkeypatch):
    address = {name: value.format(image_folder) for name, value in ADDRESSES[page].items()}
    app = open_app(page, **address)
    assert not opened
    press(app, f"Read the folder {literal(str(image_folder))}")
    assert list(opened) == [str(image_folder)]
    assert not app.error
    app = open_app(page, **{name: value.format(FOREIGN) for name, value in ADDRESSES[page].items()})
    assert len(opened) == 1
    press(app, f"Download {literal(FOREIGN)} from the Hugging Face Hub")
    assert list(opened)[1:] in ([], [FOREIGN])  # the description of the dataset is asked for first
    assert "could not be loaded" in app.error[0].value  # there is no hub here, but now it has been asked


@pytest.mark.parametrize(("page", "key"), [("forward", "dataset"), ("train", "data")])
def test_a_folder_that_the_user_types_is_read_at_once(page, key, image_folder, opened):
    app = open_app(page, **({"source": "A dataset"} if page == "forward" else {}))
    app.selectbox(key=key).set_value(str(image_folder)).run()
    assert not app.exception
    assert list(opened) == [str(image_folder)]


@pytest.mark.parametrize("page", ADDRESSES)
def test_short_names_that_are_folders_here_are_known(page, image_folder, tmp_path, opened, monkeypatch):
    (tmp_path / "oxford_flowers").symlink_to(image_folder)
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path))
    app = open_app(page, **{name: value.format("oxford_flowers") for name, value in ADDRESSES[page].items()})
    assert list(opened) == [str(tmp_path / "oxford_flowers")]
    assert not app.error


@pytest.fixture
def foreign_encoder(text_run, runs):
    """A model of prompts whose configuration names an encoder on the hub."""
    run = Run(shutil.copytree(text_run.path, runs / "foreign"))
    config = json.loads((run.path / "config.json").read_text())
    config["condition"]["encoder"] = "somebody/some-encoder"
    (run.path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("page", "label", "key"),
    [("compare", "Generate", "comparison"), ("generate", "Generate", "table"), ("reverse", "Denoise", "reverse"),
     ("edit", "Generate", "edited")],
)  # fmt: skip
def test_an_encoder_that_a_run_names_waits_for_a_button(page, label, key, foreign_encoder, monkeypatch):
    asked = []
    monkeypatch.setattr(pretrained, "_download", lambda name: asked.append(name) or 1 // 0)
    app = open_app(page, **dict.fromkeys(("model", "model1", "model2"), "foreign"))
    assert not app.error
    press(app, label)
    assert asked == []
    assert key not in app.session_state
    assert "not on this machine" in app.warning[0].value
    press(app, f"Download {literal('somebody/some-encoder')} from the Hugging Face Hub")
    assert asked == ["somebody/some-encoder"]
    assert "fetching" in app.error[0].value
