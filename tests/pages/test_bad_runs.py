"""Every page among runs that are damaged, linked or oddly named: none takes a page down, and the others are offered."""

import os
from html import unescape

import pytest
from bad_runs import GOOD, write_bad_runs
from opening import open_app
from streamlit.testing.v1 import AppTest

from pages.components.runs import TOLD
from pipelines.storage import runs
from pipelines.storage.catalogue import read_catalogue
from pipelines.training.jobs import TrainingQueue

DETAILS = "all_figures", "unsure", "by_level", "likelihood", "copies"  # what Evaluate shows on demand


@pytest.fixture(scope="module")
def bad_runs(tmp_path_factory):
    """The folder of the runs, and their names by what can be done with them."""
    folder = tmp_path_factory.mktemp("bad") / "runs"
    return folder, *write_bad_runs(folder)


@pytest.fixture(autouse=True)
def _only_bad_runs(bad_runs, monkeypatch):
    monkeypatch.setattr(runs, "PUBLISHED", bad_runs[0].with_name("none"))
    monkeypatch.setattr(runs, "PRIVATE", bad_runs[0])
    monkeypatch.setattr(TrainingQueue, "__init__", lambda self: object.__setattr__(self, "root", bad_runs[0]))


def shown(text: str) -> str:
    """Text as a page shows it, without the marks of Markdown."""
    return unescape(text).replace("\u2060", "")


def told(app: AppTest) -> str:
    """All that a page says."""
    elements = (*app.warning, *app.error, *app.info, *app.markdown, *app.caption, *app.subheader, *app.expander)
    return shown("\n".join(getattr(element, "value", None) or element.label for element in elements))


def test_the_catalogue_has_every_run_and_tells_what_is_wrong_with_the_others(bad_runs):
    folder, usable, without_model, unreadable = bad_runs
    catalogue = read_catalogue(folder)
    assert catalogue.models(lambda _: True).keys() == usable
    assert catalogue.runs.keys() == usable | without_model
    assert catalogue.problems.keys() == unreadable
    assert catalogue.unusable.keys() == unreadable | {name for name in without_model if name.startswith("weights")}
    assert all(catalogue.unusable.values())
    assert len({str(listed.run.path) for listed in catalogue.runs.values()}) == len(catalogue.runs)


def test_a_model_in_a_folder_whose_name_is_no_text_can_be_used(bad_runs):
    from pipelines.models.loading import load_model

    assert load_model(bad_runs[0] / os.fsdecode(b"bytes \xff")).config == load_model(bad_runs[0] / GOOD).config


def test_home_has_a_card_for_each(bad_runs):
    _, usable, _, unreadable = bad_runs
    app = AppTest.from_file("../../main_interface.py", default_timeout=200)
    app.session_state["models more"] = True  # unfolded
    app.run()
    assert not app.exception
    said = told(app)
    assert not [name for name in usable | unreadable if f"**{name.strip()}**" not in said]
    assert (
        "The samples of samples torn cannot be read: not a readable image: image file is truncated; the model can be used"
        in said
    )
    assert app.caption[-1].value


@pytest.mark.parametrize("page", ["training_curves", "evaluate"])
def test_a_page_of_many_runs_shows_all_that_can_be_read_and_names_the_others(bad_runs, page):
    _, usable, without_model, unreadable = bad_runs
    offered = usable | without_model if page == "training_curves" else usable
    damaged = [name for name in sorted(offered) if name.startswith(("evaluation", "log", "samples", "no weights"))]
    chosen = [GOOD, *damaged]  # Evaluate shows the results in the features of the first
    app = open_app(page, runs=chosen, **dict.fromkeys(DETAILS if page == "evaluate" else (), True))
    [choice] = [widget for widget in app.multiselect if widget.key == "runs"]
    assert set(choice.options) == offered
    assert set(choice.value) == set(chosen)
    assert not [name for name in sorted(unreadable)[:TOLD] if f"{name} cannot be read: " not in told(app)]
    if page == "evaluate":
        assert any(GOOD in set(frame.value.get("Run", ())) for frame in app.dataframe)
        assert "evaluation torn: " in told(app)
    else:
        assert "The log of log binary: 100 damaged lines skipped" in told(app)
        assert "The samples of samples unreachable cannot be read" in told(app)


@pytest.mark.parametrize(
    ("page", "key"), [("compare", "model1"), ("reverse", "model"), ("generate", "model"), ("edit", "model")]
)
def test_a_page_of_one_model_offers_all_that_can_be_used_and_names_the_others(bad_runs, page, key):
    _, usable, _, unreadable = bad_runs
    app = open_app(page, **{key: GOOD})
    assert set(app.selectbox(key=key).options) == usable
    assert app.selectbox(key=key).value == GOOD
    assert not app.error
    names = [name for name in sorted(unreadable) if f"{name} cannot be read: " not in told(app)]
    assert not names
    for name in ("config with odd classes", "config without a shape", "bytes \ufffd", "config of another shape"):
        assert not app.selectbox(key=key).set_value(name).run().exception


@pytest.mark.parametrize(
    "name", [GOOD, "samples torn", "samples unreachable", "config of another shape", "config without a shape"]
)
def test_a_picture_of_a_run_is_offered_or_its_problem_told(name):
    app = open_app("forward", source_run=name)
    assert app.selectbox(key="source_run").value == name
    assert bool(app.error) == (name != GOOD)


def test_train_has_a_row_for_each_run_and_names_what_has_been_one(bad_runs):
    _, usable, without_model, unreadable = bad_runs
    app = open_app("train")
    app.session_state["more_runs"] = True
    said = told(app.run())
    rows = {name for name in usable | without_model | unreadable if f"**{name.strip()}**" in said}
    left = {"only a log", "dangling", "loop"}
    assert rows == (usable | without_model | unreadable) - left
    assert not [name for name in left if f"{name} cannot be read: " not in said]
    for name in ("bytes \ufffd", "samples unreachable"):
        app.selectbox(key="run").set_value(name).run()
        assert not app.exception


def test_a_folder_of_runs_that_is_none_is_named(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("x")
    monkeypatch.setattr(runs, "PRIVATE", tmp_path / "runs")
    assert read_catalogue().problems == {
        str(tmp_path / "runs"): f"this folder of runs cannot be listed: not a directory: {tmp_path / 'runs'}"
    }
    for page in ("training_curves", "generate", "train"):
        assert not open_app(page).exception


def test_a_public_dashboard_tells_what_is_wrong_and_not_where(bad_runs, monkeypatch):
    folder, _, _, unreadable = bad_runs
    monkeypatch.setattr(runs, "PUBLISHED", folder)
    monkeypatch.setattr(runs, "PRIVATE", folder.with_name("none"))
    monkeypatch.setenv("NOISESCOPE_PUBLIC", "1")
    chosen = [GOOD, "log binary", "samples unreachable", "evaluation torn"]
    for app in (open_app("training_curves", runs=chosen, settings=True), open_app("evaluate", runs=chosen, copies=True)):
        assert not [name for name in sorted(unreadable)[:TOLD] if f"{name} cannot be read: " not in told(app)]
        assert not [node for node in app.main if str(folder.parent) in shown(str(node.proto))]
