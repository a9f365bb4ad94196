"""The logic of the front page, without a browser."""

import shutil

import pytest
from made_pictures import bomb_png
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components.lessons import LESSONS
from pages.components.runs import is_diffusion, known_runs
from pipelines.storage.files import ROOT
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS as LESSON_MODELS
from pipelines.storage.runs import PUBLISHED, find_runs


@pytest.fixture
def own_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    return tmp_path


def open_dashboard(unfolded: bool = False) -> AppTest:
    app = AppTest.from_file("../../main_interface.py", default_timeout=120)
    for what in ("more", "for lessons"):
        app.session_state[f"models {what}"] = unfolded
    return app.run()


def test_the_cards_that_are_folded_are_not_drawn(own_runs):
    drawn = [sum(" parameters · " in caption.value for caption in open_dashboard(more).caption) for more in (False, True)]
    assert drawn == [3, len(known_runs().models(is_diffusion))]


def test_the_pages_own_picture_is_sent_as_it_is():
    """Streamlit shrinks and encodes a wider one at every look, which takes 0.4 s."""
    assert Image.open(ROOT / "docs" / "denoising.png").width <= 1460, "Streamlit would shrink it"


def test_the_shipped_models_are_shown_with_what_they_are(own_runs):
    app = open_dashboard(unfolded=True)
    assert not app.exception
    names = [text.value for text in app.markdown]
    first, second = [name for name in names if name.startswith("**f")][:2]
    assert (first, second) == ("**flowers-attention-64**", "**flowers-baseline-64**")
    assert "**fashion-attention**" in names
    lessons = len(find_runs(PUBLISHED / LESSON_MODELS))
    others = len(known_runs().models(is_diffusion)) - lessons
    assert [expander.label for expander in app.expander] == [f"{others - 3} more models", f"{lessons} models for lessons"]
    described = [caption.value for caption in app.caption if "M parameters" in caption.value]
    measures = ("held-out loss", "student of")  # a student has no such loss
    assert all("U-Net" in text and any(measure in text for measure in measures) for text in described)
    assert any("student of fashion-attention in 4 steps" in text for text in described)
    assert {size for text in described for size in ("32×32", "64×64", "128×128") if size in text} == {
        "32×32",
        "64×64",
        "128×128",
    }


def test_the_users_own_runs_come_first(own_runs):
    shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / "zzz")
    app = open_dashboard()
    assert app.title[0].value == "Noisescope"
    names = [
        text.value for text in app.markdown if text.value.removeprefix("**").split("**")[0] in ("zzz", "flowers-attention-64")
    ]
    assert names == ["**zzz**", "**flowers-attention-64**"]


def test_every_lesson_has_a_card(own_runs):
    app = open_dashboard()
    links = {link.proto.label for link in app.get("page_link")}
    assert {f"{number} · {lesson.title}" for number, lesson in enumerate(LESSONS, start=1)} <= links


def test_a_card_leads_to_what_its_model_can_do(own_runs):
    shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / "mine")
    links = [(link.proto.label, link.proto.page, link.proto.query_string) for link in open_dashboard(True).get("page_link")]
    assert ("Watch it denoise", "reverse", "model=mine") in links
    assert ("Generate images", "generate", "model=fashion-class") in links
    assert [label for label, *_ in links].count("Training history") == len(known_runs().models(is_diffusion))


def test_a_link_leads_to_the_lesson_on_a_student_and_its_teacher(own_runs):
    [link] = [link.proto for link in open_dashboard().get("page_link") if "student" in link.proto.label]
    [lesson] = [one for one in LESSONS if link.query_string == f"lesson={one.name}"]
    assert link.page == lesson.page == "compare"
    assert any(known_runs().runs[name].config.is_student for name in lesson.inputs.values() if name in known_runs().runs)


def test_one_button_starts_a_comparison(own_runs):
    app = open_dashboard()
    next(button for button in app.button if button.label == "Compare two models").click().run()
    assert not app.exception
    assert app.title[0].value == "Compare"
    names, comparison = app.session_state["comparison"]
    comparison.cancel()
    assert len(set(names)) == 2


def test_a_broken_run_gets_a_sentence_and_the_others_their_cards(own_runs):
    shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / "half")
    (own_runs / "half" / "config.json").write_text("{")
    app = open_dashboard(unfolded=True)
    assert not app.exception
    assert "cannot be read" in app.warning[0].value
    assert "**fashion-attention**" in [text.value for text in app.markdown]


def test_a_grid_that_cannot_be_shown_leaves_the_run_its_card(own_runs):
    grids = {"huge": bomb_png(60_000, pixels=False), "torn": bomb_png(8)[:-20], "script": b"%!PS-Adobe-3.0 EPSF-3.0\n"}
    for name, content in grids.items():
        run = Run(shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / name))
        list(run.samples().values())[-1].write_bytes(content)
    app = open_dashboard()
    assert not app.exception
    said = {warning.value.split(":")[0] for warning in app.warning}
    assert said == {f"The samples of {name} cannot be read" for name in grids}
    assert {f"**{name}**" for name in grids} <= {text.value for text in app.markdown}


def test_a_run_that_has_only_begun_is_shown_without_pictures(own_runs):
    shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / "young")
    shutil.rmtree(own_runs / "young" / "samples")
    (own_runs / "young" / "metrics.jsonl").unlink()
    app = open_dashboard()
    assert not app.exception
    assert "**young**" in [text.value for text in app.markdown]


def test_a_run_that_has_not_been_validated_yet_is_shown(own_runs):
    young = Run(shutil.copytree(Run("checkpoints/fashion-baseline").path, own_runs / "young"))
    (young.path / "evaluation.json").unlink()
    app = open_dashboard()
    [described] = [caption.value for caption in app.caption if "validation loss" in caption.value]
    assert "validation loss 0.1088" in described
    assert "held-out loss" not in described
    (young.path / "metrics.jsonl").unlink()
    young.append_metrics({"step": 50, "images_seen": 3200, "seconds": 9.0, "loss": 0.5, "lr": 1e-3, "grad_norm": 1.0})
    app = open_dashboard()
    assert not app.exception
    [described] = [caption.value for caption in app.caption if "3.20\u00a0k\u00a0images seen" in caption.value]
    assert "loss" not in described
