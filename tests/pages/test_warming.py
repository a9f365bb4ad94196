"""What is loaded in the background while a page is being read."""

from __future__ import annotations

from concurrent.futures import wait

import pytest
from opening import open_app

from pages.components import warming
from pipelines.datasets import conditions


@pytest.fixture
def loaded(monkeypatch):
    """The names of the text encoders that are loaded."""
    names: list[str] = []
    monkeypatch.setattr(conditions, "_make_encoder", names.append)
    warming._load_encoder.cache_clear()
    yield names
    warming._load_encoder.cache_clear()


@pytest.fixture
def load_for(monkeypatch):
    """Opens a page with a model, and loads what that needs soon, as main_interface does when the page has been drawn."""

    def load(page: str, model: str) -> None:
        app = open_app(page, **{"model1" if page == "compare" else "model": model})
        with monkeypatch.context() as patch:
            patch.setattr(warming.st, "session_state", {warming.NEEDED: app.session_state[warming.NEEDED]})
            warming.load_meanwhile()
        wait([warming._loader().submit(bool)])  # the last in its thread

    return load


@pytest.mark.parametrize("page", ["compare", "reverse", "generate", "edit"])
def test_the_encoder_of_a_text_model_is_loaded_once_and_that_of_others_not(page, loaded, load_for):
    load_for(page, "fashion-class")
    assert loaded == []
    for _ in range(2):
        load_for(page, "fashion-text")
    assert loaded == ["minilm"]


def test_no_encoder_is_downloaded(loaded, load_for, monkeypatch):
    monkeypatch.setattr("pipelines.datasets.pretrained.local_encoder", lambda name: None)
    load_for("reverse", "fashion-text")
    assert loaded == []
