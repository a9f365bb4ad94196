"""The logic of the Reverse page, without a browser."""

import shutil
from functools import partial

import numpy as np
import opening
import pytest
import safetensors
import safetensors.numpy
from opening import button_of, labels, open_app
from streamlit.testing.v1 import AppTest

from pipelines.storage.run import Run
from pipelines.storage.spacing import LearnedSpacing

open_page = partial(open_app, "reverse")


denoise = partial(opening.generate, key="reverse", label="Denoise")


def way(app: AppTest):
    return app.session_state["reverse"][1].way


def test_the_first_visit_says_what_to_do():
    app = open_page()
    assert not app.exception
    assert "Denoise" in app.info[0].value


def test_noise_to_a_sample_and_back_to_the_same_result():
    app = denoise(open_page(steps=5, seed=3, number=2, model="fashion-baseline"))
    assert app.subheader[0].value == "fashion-baseline: image 2 of seed 3"
    assert len(way(app).steps) == 6
    first = way(app)
    assert way(denoise(app)) is first  # not computed again
    again = denoise(open_page(steps=5, seed=3, number=2, model="fashion-baseline"))
    assert way(again) is first  # nor in another session


def test_the_address_holds_every_input():
    app = denoise(
        open_page(
            start="Between two seeds", sampler="ddim", steps=4, seed=7, other_seed=9, eta=0.5, spacing="leading", weight=0.25
        )
    )
    assert app.subheader[0].value.endswith("between seeds 7 and 9")
    assert way(app).x.shape[:2] == (5, 9)
    assert way(app).timesteps[0] == 750
    assert app.select_slider(key="weight").value == 0.25


def test_another_seed_is_another_image():
    app = denoise(open_page(steps=3, seed=1))
    first = way(app)
    app.number_input(key="seed").set_value(2)
    denoise(app)
    assert (way(app).x != first.x).any()


def test_an_image_at_half_strength_starts_half_way():
    app = denoise(open_page(start="An image", steps=10, strength=0.5, spacing="trailing"))
    assert way(app).timesteps[0] == 499
    assert len(way(app).steps) == 6


@pytest.mark.parametrize(
    "address",
    [{"steps": 100000}, {"seed": -1}, {"model": "../../etc"}, {"strength": 7, "start": "An image"}, {"start": "nowhere"}],
)
def test_a_hostile_address_gets_allowed_values(address):
    app = open_page(**address)
    assert not app.exception
    assert not app.error
    assert "Denoise" in labels(app)


@pytest.fixture
def own_run(tiny_run, tmp_path, monkeypatch):
    """A run of the person's own, which a test may damage."""
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    return Run(shutil.copytree(tiny_run.path, tmp_path / "mine"))


def test_the_x_ray_says_what_each_step_did_and_how_others_would_do(own_run):
    app = denoise(open_page(model="mine", steps=4, spacing="leading", number=2))
    assert "xray_job" not in app.session_state
    app.toggle(key="xray").set_value(True)
    denoise(app.run(), key="xray_job", label="none")
    _, job = app.session_state["xray_job"]
    assert job.found.timesteps.tolist() == way(app).timesteps.tolist()
    told = " ".join(markdown.value for markdown in app.markdown)
    assert "The first timestep is 750, not 999: the noisiest part is never seen" in told
    app.run()
    assert app.session_state["xray_job"][1] is job  # not computed again
    next(button for button in app.button if button.label.startswith("Compare them")).click().run()
    denoise(app, key="standings_job", label="none")
    assert "Closest: " in " ".join(markdown.value for markdown in app.markdown)
    [table] = app.dataframe
    assert table.value.shape == (7, 6)
    app.toggle(key="xray").set_value(False).run()
    assert "xray_job" not in app.session_state


def test_the_page_lives_on_when_a_learned_spacing_is_gone(own_run):
    timesteps = ((999.0,), (999.0, 400.0))
    learnt = LearnedSpacing(own_run.fingerprint, "ddim", 1.0, trajectories=1, seed=0, timesteps=timesteps)
    file = learnt.write(own_run)
    app = denoise(open_page(model="mine", steps=2, spacing="learned"))
    app.toggle(key="xray").set_value(True)
    denoise(app.run(), key="xray_job", label="none")
    assert app.session_state["xray_job"][1].found.timesteps.tolist() == [*timesteps[1], 0]
    file.unlink()
    app.run()
    assert not app.exception
    assert app.selectbox(key="spacing").value == "trailing"


def test_weights_that_went_bad_are_one_sentence_and_the_page_lives_on(own_run):
    app = denoise(open_page(model="mine", steps=3))
    assert way(app).x.shape[2:] == (8, 8, 3)
    weights = safetensors.numpy.load_file(own_run.model_path)
    first = next(iter(weights))
    weights[first] = weights[first] * np.nan
    with safetensors.safe_open(own_run.model_path, "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(weights, own_run.model_path, metadata)
    denoise(app)
    assert "contain NaN or infinite numbers" in app.error[0].value
    app.selectbox(key="model").set_value("fashion-baseline")
    assert not denoise(app).error
    assert way(app).x.shape[2:] == (32, 32, 1)


def test_a_run_deleted_while_the_page_is_open(own_run):
    app = open_page(model="mine", steps=3)
    own_run.delete()
    assert not denoise(app).exception
    assert "mine" not in app.selectbox(key="model").options


def test_a_class_and_what_it_changes(class_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", class_run.path.parent)
    app = denoise(open_page(model="class", steps=3, guidance=3.0, **{"class": "squares"}))
    assert app.subheader[0].value == "class: squares, image 0 of seed 0"
    assert way(app).nfe[-1] == 6
    assert way(app).change[:-1].any()
    assert "Cross-attention maps" not in [subheader.value for subheader in app.subheader], "no words, no maps"


def test_words_and_where_they_are_looked_at(text_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", text_run.path.parent)
    app = denoise(open_page(model="text", steps=3, prompt="a circle", guidance=1.0))
    assert app.subheader[1].value == "Cross-attention maps"
    table = "".join(element.proto.body for element in app.get("html"))
    assert table.count('role="cell"') == 3 * 4  # timesteps by words and the two marks
    assert "circle" in table


def test_no_words_are_no_prompt(text_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", text_run.path.parent)
    app = denoise(open_page(model="text", steps=2, prompt=""))
    assert way(app).words == ()
    assert not way(app).change.any()
    assert "Cross-attention maps" not in [subheader.value for subheader in app.subheader], "no words, no maps"


def test_a_run_that_cannot_be_read_is_told_and_the_others_can_be_used(own_run):
    (own_run.path / "config.json").write_text("{")
    app = open_page(model="mine", start="An image")
    assert [warning.value.split(":")[0] for warning in app.warning] == ["mine cannot be read"]
    assert "mine" not in app.selectbox(key="model").options
    assert not app.error


def test_what_is_computed_goes_on_when_one_leaves_the_page_and_is_there_when_one_comes_back(own_run, wait_for):
    app = open_page(model="mine", steps=1000, sampler="ddim")
    button_of(app, "Denoise").click().run()
    job = app.session_state["reverse"][1]
    assert job.active
    assert labels(app) >= {"Denoise", "Cancel"}
    done = job.steps_done
    wait_for(lambda: job.steps_done > done + 5)  # while the page is not run
    back = AppTest.from_file("../../pages/reverse.py", default_timeout=120)
    back.session_state["reverse"] = app.session_state["reverse"]  # what a session keeps of a page
    back.run()
    assert not back.exception
    assert "Cancel" in {button.label for button in back.button}
    next(button for button in back.button if button.label == "Cancel").click().run()
    wait_for(lambda: not job.active)
    back.run()
    assert job.status == "cancelled"
    assert "Cancelled. Press Denoise to start again." in [warning.value for warning in back.warning]
    assert not denoise(open_page(model="mine", steps=2)).error
