"""The logic of the Compare page, without a browser."""

import json
import re
import shutil
import time
from dataclasses import replace
from functools import partial

import numpy as np
import opening
import pytest
from opening import open_app
from streamlit.testing.v1 import AppTest

from diffusion_core.choices import SAMPLERS
from pages.components import generation, sheets, stage
from pages.components.generation import cost, generation_queue
from pages.components.sharing import address_of
from pipelines.common.flags import parse
from pipelines.evaluate import Evaluate
from pipelines.sampling.generation import Comparison
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.run import Run

open_page = partial(open_app, "compare")
generate = partial(opening.generate, key="comparison")


def columns(app: AppTest):
    return app.session_state["comparison"][1].columns


def test_the_first_visit_offers_two_models_and_says_what_to_do():
    app = open_page()
    assert not app.exception
    assert app.selectbox(key="model1").value != app.selectbox(key="model2").value
    assert "Generate" in {button.label.split(" (")[0] for button in app.button}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps1", "100000"),
        ("sampler1", "../../etc/passwd"),
        ("model2", "nobody"),
        ("seed1", "-1"),
        ("columns", "99"),
        ("images", "0"),
    ],
)
def test_a_hostile_address_gets_the_page_with_allowed_values(key, value):
    app = open_page(**{key: value})
    [widget] = [widget for widget in (*app.number_input, *app.selectbox, *app.segmented_control) if widget.key == key]
    if widget.type == "number_input":
        assert widget.min <= widget.value <= widget.max
    else:
        assert str(widget.value) in (SAMPLERS if key.startswith("sampler") else widget.options)  # samplers go by their titles
    assert str(widget.value) != value
    assert "Generate" in {button.label.split(" (")[0] for button in app.button}


def test_images_that_cannot_be_written_are_one_sentence_and_come_back(monkeypatch, tmp_path):
    """Something has emptied the temporary folder, say."""
    app = open_page(images=1, model1="fashion-baseline", model2="fashion-baseline", steps1=2, steps2=3)
    with monkeypatch.context() as patch:
        patch.setattr(sheets, "_FOLDER", tmp_path / "gone")
        generate(app)
        assert not app.exception
        [told] = app.error
        assert told.value.startswith("The images cannot be shown: no such file or directory")
    app.run()
    assert not app.error


def test_columns_are_chosen_freely():
    address = {
        "images": 3,
        "columns": 3,
        "model1": "fashion-baseline",
        "model2": "fashion-baseline",
        "model3": "fashion-baseline",
    }
    address |= {"steps1": 2, "steps2": 3, "sampler2": "ddim", "eta2": 0.5, "seed3": 9, "steps3": 2, "spacing3": "leading"}
    app = generate(open_page(**address, numbers="true"))
    one, two, three = (column.request for column in columns(app))
    assert (one.sampler, one.steps, one.seed, one.spacing) == ("unipc", 2, 0, "trailing")
    assert (two.sampler, two.steps, two.eta) == ("ddim", 3, 0.5)
    assert (three.seed, three.spacing) == (9, "leading")
    table = app.dataframe[0].value
    assert set(table.index) == {"sampler", "steps", "eta", "seed", "spacing"}
    assert list(table.loc["seed"]) == ["0", "0", "9"]


def test_eta_is_for_ddim_only():
    app = open_page(images=2, steps1=3, steps2=3, sampler1="ddim", eta1=0.7)
    assert [slider.key for slider in app.slider] == ["eta1"]
    app.selectbox(key="sampler1").set_value("heun").run()
    assert [slider.key for slider in app.slider] == []
    assert all(column.request.eta == 0 for column in columns(generate(app)))


def test_equal_columns_differ_in_nothing():
    app = generate(
        open_page(numbers="true", images=2, steps1=2, steps2=2, model1="fashion-baseline", model2="fashion-baseline")
    )
    assert any("all columns are the same" in caption.value for caption in app.caption)


def test_a_new_request_replaces_the_old_one():
    app = open_page(images=16, steps1=1000, steps2=1000)
    next(button for button in app.button if button.label.startswith("Generate")).click().run()
    _, first = app.session_state["comparison"]
    app.number_input(key="steps1").set_value(2)
    app.number_input(key="steps2").set_value(2).run()
    generate(app)
    assert first.status == "cancelled"
    assert all(column.finished for column in columns(app))


def test_the_page_is_drawn_once_with_a_result_that_comes_soon(monkeypatch):
    drawn, stage_data = [], stage.stage_data
    monkeypatch.setattr(stage, "stage_data", lambda titles, shown: drawn.append(shown.status) or stage_data(titles, shown))
    monkeypatch.setattr(generation, "SOON", 120.0)
    app = opening.press(open_page(images=3, steps1=2, steps2=2, seed1=11, seed2=11), "Generate")
    assert drawn == ["done"]
    assert "Change" in buttons(app)
    assert not {"Generate", "Update"} & buttons(app.run())  # hidden until then: see tests/browser/test_compare.py


def test_a_result_that_does_not_come_soon_is_watched_as_it_grows(monkeypatch):
    monkeypatch.setattr(generation, "SOON", 0.0)
    app = opening.press(open_page(images=16, steps1=1000, steps2=1000, seed1=12), "Generate")
    _, comparison = app.session_state["comparison"]
    assert comparison.active
    comparison.cancel()


def test_nobody_waits_for_a_result_behind_those_of_others(monkeypatch):
    monkeypatch.setattr(generation, "SOON", 120.0)
    run = Run("checkpoints/fashion-baseline")
    others = generation_queue().submit(Comparison.of([(run, SamplingRequest(16, seed=13, steps=1000))]))
    app = opening.press(open_page(images=3, steps1=2, steps2=2, seed1=13, seed2=13), "Generate")
    _, comparison = app.session_state["comparison"]
    assert others.active
    assert comparison.status == "queued"
    others.cancel()
    comparison.cancel()


def test_cancelling_shows_what_there_is():
    app = open_page(images=8, steps1=1000, steps2=1000)
    next(button for button in app.button if button.label.startswith("Generate")).click().run()
    _, comparison = app.session_state["comparison"]
    comparison.cancel()  # as the stage's button does
    while comparison.active:
        time.sleep(0.02)
    app.run()
    assert "Cancelled" in app.warning[0].value
    assert not app.exception


def buttons(app: AppTest) -> set[str]:
    """The labels of all buttons, without the times they name."""
    return {button.label.split(" (")[0] for button in app.button}


def test_results_that_do_not_match_the_settings_are_marked_and_updated():
    app = generate(open_page(images=2, steps1=2, steps2=2, seed1=4, seed2=4))
    assert not {"Generate", "Update"} & buttons(app)
    app.number_input(key="steps2").set_value(3).run()
    assert "Update" in buttons(app)
    assert any("of other settings" in text.value for text in app.markdown)
    assert columns(app)[1].request.steps == 2, "nothing is computed unasked"
    assert columns(generate(app))[1].request.steps == 3
    assert not {"Generate", "Update"} & buttons(app)
    app.number_input(key="steps2").set_value(2).run()
    app.number_input(key="steps2").set_value(3).run()
    assert "Update" not in buttons(app)


def test_settings_fold_into_a_line_a_column_that_stresses_what_differs():
    app = generate(open_page(images=2, steps1=2, steps2=3, model1="fashion-baseline", model2="fashion-baseline"))
    lines = [text.value for text in app.markdown if "-badge" in text.value]
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert f"{number}]" in line
        assert f"**{number + 1} steps**" in line
        assert "**fashion-baseline**" not in line
    assert "Change" in buttons(app)
    next(button for button in app.button if button.label == "Change").click().run()
    assert {"Fold settings", "Update"} <= buttons(app)


def test_a_link_shows_a_cached_result_at_once_and_else_names_the_time():
    address = {"images": 2, "steps1": 2, "steps2": 2, "seed1": 77, "seed2": 77}
    first = open_page(**address)
    assert "comparison" not in first.session_state
    generate(first)
    again = open_page(**address)
    assert columns(again)[0] is not columns(first)[0]
    assert np.array_equal(columns(again)[0].frames[-1].x, columns(first)[0].frames[-1].x)
    assert any(button.label.startswith("Generate (about") for button in open_page(images=100, steps1=1000).button)


def test_times_are_set_against_each_other_only_if_they_were_measured_together():
    """A cached column may have been computed while the machine was busy, so nothing is said of its time beside another's."""
    address = {"images": 2, "steps1": 2, "steps2": 2, "seed1": 78, "seed2": 78}

    def tells_times(app):
        return any("Here, 2 images: " in caption.value for caption in app.caption)

    assert tells_times(generate(open_page(**address)))
    assert tells_times(generate(open_page(**address))), "what is cached was computed together"
    for _ in range(2):  # first with one column from the cache, then with both
        assert not tells_times(generate(open_page(**address | {"steps2": 3})))


def test_the_rate_and_the_memory_of_a_column_are_told_once_it_is_finished():
    for column in columns(generate(open_page(images=2, steps1=2, steps2=2))):
        *growing, finished = (cost(replace(column, frames=column.frames[:known])) for known in range(len(column.frames) + 1))
        assert re.search(r" · [\d.]+ images/s · [1-9]\d* MiB of memory$", finished)
        assert len(growing) == 3
        assert not any("images/s" in told or "MiB" in told for told in growing)


def test_what_is_shared_opens_the_same_comparison():
    """The address is whole: it does not depend on which model, sampler or seed is the usual one."""
    app = generate(open_page(images=2, steps1=2, steps2=3, sampler2="ddim", eta2=0.5, seed2=3))
    shown = [(name, column.request) for name, column in zip(app.session_state["comparison"][0], columns(app), strict=True)]
    address = {"columns": 2, "images": 2}
    for number, (name, request) in enumerate(shown, start=1):
        address |= {key: value if len(value) > 1 else value[0] for key, value in address_of(name, request, str(number)).items()}
    again = open_page(**address)
    assert again.session_state["comparison"][0] == [name for name, _ in shown]
    assert [column.request for column in columns(again)] == [request for _, request in shown]


def test_the_verdict_is_on_what_is_compared():
    pair = {"model1": "fashion-baseline", "model2": "fashion-attention"}
    told = [text.value for text in open_page(**pair).markdown]
    assert any("Better: fashion-attention" in text for text in told)
    assert any(re.search(r"^- .* by [\d.]+ \(95.*\) :gray\[\([\d.]+ against [\d.]+\)\]", text) for text in told), "of how much"
    seeds = open_page(**pair, seed2=1)
    assert any("different noise (seeds 0 and 1)" in caption.value for caption in seeds.caption)
    assert not any("same noise:" in caption.value for caption in seeds.caption)
    samplers = open_page(model1="fashion-baseline", model2="fashion-baseline", steps1=5)
    assert any("Better: 20 steps" in text.value for text in samplers.markdown)
    others = open_page(model1="fashion-baseline", model2="flowers-baseline-64")
    assert any("Not comparable" in caption.value for caption in others.caption)
    assert not any("Better: " in text.value for text in others.markdown)
    unmeasured = open_page(model1="fashion-baseline", model2="fashion-baseline", steps1=13)
    assert "Measure column 1" in buttons(unmeasured)


def test_what_was_not_measured_is_measured_at_the_press_of_a_button(monkeypatch):
    started = []
    monkeypatch.setattr(
        "pipelines.evaluation.job.EvaluationJob.start", lambda _, runs, options: started.append((runs, options))
    )
    app = open_page(model1="fashion-baseline", model2="fashion-baseline", steps1=13, steps2=17)
    next(button for button in app.button if button.label.startswith("Measure")).click().run()
    [([run], options)] = started
    assert run.name == "fashion-baseline"
    asked = parse([Evaluate], [str(run.path), *options])
    assert (asked.samplers, asked.steps, asked.spacing, asked.num_images) == (("unipc",), (13, 17), ("trailing",), 500)
    half = open_page(model1="fashion-baseline", model2="fashion-baseline", steps2=13)
    assert any("**Column 2 is not measured yet:**" in text.value for text in half.markdown)
    assert "Measure column 2" in buttons(half)
    models = {f"model{number}": "fashion-baseline" for number in range(1, 5)}
    told = [text.value for text in open_page(columns=4, **models, steps1=11, steps3=13, steps4=17).markdown]
    [missing] = [text for text in told if "measured" in text]
    assert "**Columns 1, 3 and 4 are not measured yet:**" in missing, "once, not for each pair"


def test_further_columns_match_the_first():
    app = open_page(columns=4)
    names = [app.selectbox(key=f"model{number}").value for number in range(1, 5)]
    assert [app.query_params[f"model{number}"] for number in range(1, 5)] == names, "also usual models"
    configs = [Run(f"checkpoints/{name}").config for name in names]
    assert len({(config.data.data, config.image_shape, config.network.takes) for config in configs}) == 1
    samplers = [app.selectbox(key=f"sampler{number}").value for number in range(1, 5)]
    assert len({*zip(names, samplers, strict=True)}) == 4, "no column is another one again"


def test_a_run_deleted_while_the_page_is_open_gets_one_sentence(own_run):
    app = open_page(images=2, model1="mine", steps1=2, steps2=2)
    shutil.rmtree(own_run.path)
    next(button for button in app.button if button.label.startswith("Generate")).click().run()
    assert not app.exception
    # The page falls back on what is left, or says why it cannot be.
    assert app.selectbox(key="model1").value != "mine" or "cannot be generated" in app.error[0].value


def test_weights_that_are_not_finite_get_one_sentence(own_run):
    import safetensors.torch
    import torch

    weights = safetensors.torch.load_file(own_run.model_path)
    weights["head.bias"] = torch.full_like(weights["head.bias"], float("nan"))
    own_run.write_model(weights, own_run.config)
    app = generate(open_page(images=2, model1="mine", steps1=2, steps2=2))
    assert "NaN" in app.error[0].value
    assert "Traceback" not in app.error[0].value
    following = Comparison.of([(Run("checkpoints/fashion-baseline"), columns(app)[1].request)])
    assert generation_queue().submit(following).status != "failed"


def test_half_a_run_does_not_break_the_page(own_run):
    (own_run.path / "config.json").write_text(json.dumps({"network": {"unet": "nonsense", "what": 1}}))
    app = open_page()
    assert not app.exception
    app = open_page(model1="mine")
    assert not app.exception


def test_what_was_compared_is_shown_when_its_run_is_gone(own_run):
    app = generate(open_page(model1="mine", model2="fashion-baseline", images=2, steps1=2, steps2=2))
    shutil.rmtree(own_run.path)
    app.run()
    assert not app.exception
    assert columns(app)[0].run.name == "mine"


def test_results_do_not_depend_on_the_page():
    app = generate(open_page(images=2, steps1=3, steps2=3))
    again = generate(open_page(images=2, steps1=3, steps2=3))
    for one, two in zip(columns(app), columns(again), strict=True):
        assert np.array_equal(one.frames[-1].x, two.frames[-1].x)


def test_a_conditional_model_is_asked_for_a_class(class_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", class_run.path.parent)
    app = open_page(images=4, model1="class", model2="fashion-baseline", steps1=2, steps2=2, guidance1=3.0)
    assert app.selectbox(key="class1").options == ["every class in turn", "circles", "squares"]
    app.selectbox(key="class1").set_value("squares")
    one, two = (column.request for column in columns(generate(app)))
    assert (one.label, one.guidance) == ("squares", 3.0)
    assert (two.label, two.guidance) == (None, 1.0)
    assert columns(app)[0].nfe == 4


def test_latents_are_shown_as_images_and_autoencoders_not_offered(latent_run, autoencoder_run, monkeypatch, tmp_path):
    for run in (latent_run, autoencoder_run):
        shutil.copytree(run.path, tmp_path / run.name)
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    app = open_page(images=3, model1="latent", model2="fashion-baseline", steps1=2, steps2=2)
    assert "autoencoder" not in app.selectbox(key="model1").options
    column = columns(generate(app))[0]
    assert column.of_latents
    for frame in column.frames:
        assert frame.x.shape == frame.x0.shape == (3, 16, 16, 3)
    grey = column.frames[0].x
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert np.array_equal(column.frames[-1].x, column.frames[-1].x0)
    assert column.peak_memory > column.num_parameters
