"""The logic of the Training curves page, without a browser."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
from opening import open_app
from PIL import Image

from pages.components import samples
from pages.components.averages import beside_each_other
from pages.components.runs import is_diffusion, known_runs
from pipelines.common.text import literal, plotly_text
from pipelines.evaluation.averages import losses_by_half_life
from pipelines.evaluation.logged import Log
from pipelines.storage import runs
from pipelines.storage.layout import PROCESS
from pipelines.storage.processes import write_record
from pipelines.storage.run import Run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only place where the page finds runs."""
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "none")
    monkeypatch.setattr(runs, "PRIVATE", tmp_path)
    return tmp_path


@pytest.fixture
def make_run(folder, small_config):
    def make(name, validated=True, **changes):
        run = Run(folder / name)
        run.path.mkdir()
        run.write_config(replace(small_config(**changes), image_shape=(3, 8, 8)))
        for step in (10, 20, 30):
            row = {"step": step, "images_seen": 8 * step, "seconds": 60.0 * step, "loss": 1 / step, "lr": 0.1, "grad_norm": 1.0}
            run.append_metrics(row | ({"val_loss": 1 / step, "loss_by_timestep": [1 / step] * 4} if validated else {}))
        return run

    return make


open_page = partial(open_app, "training_curves")


def payloads(app):
    return [json.loads(element.proto.json) for element in app.get("bidi_component")]


def figures(app):
    """The figures on the page, by what they are for."""
    return {one["alt"].split(" of ")[0]: json.loads(one["figure"]) for one in payloads(app) if "figure" in one}


def samples_shown(app):
    """The rows of samples: each run's label, and the steps of its grids."""
    return [(row["label"], [grid["step"] for grid in row["grids"]]) for one in payloads(app) for row in one.get("rows", ())]


def curves(app):
    return figures(app)["Validation loss"]


def test_a_run_in_training_is_shown_at_first_even_without_samples(make_run):
    for name in ("a", "b", "c"):
        (make_run(name).path / "evaluation.json").write_text("{}")
    fresh = make_run("fresh")
    assert open_page().multiselect(key="runs").value == ["a", "c"], "the newest, and one to compare it with"
    write_record(fresh.path / PROCESS)  # of this process, which lives
    assert open_page().multiselect(key="runs").value == ["fresh", "a"]


def test_at_first_the_newest_own_run_is_beside_one_of_the_same_images(own_run):
    assert open_page().multiselect(key="runs").value == ["mine", "fashion-attention"]
    shutil.rmtree(own_run.path)
    assert open_page().multiselect(key="runs").value == ["flowers-attention-64", "flowers-baseline-64"]


def test_without_runs_the_page_says_what_to_do(folder):
    assert "pipelines.train" in open_page().info[0].value


@pytest.mark.parametrize(("prediction", "told"), [("v", False), ("epsilon", True)])
def test_losses_of_different_objectives_are_not_left_to_be_compared(make_run, prediction, told):
    make_run("a", prediction="v", schedule="cosine")
    make_run("b", prediction=prediction, schedule="cosine", steps=70)
    app = open_page()
    assert any("minimise different losses" in caption.value for caption in app.caption) == told
    assert any("validation loss of **a**" in text.value for text in app.markdown) != told
    assert ("Difference" in str(curves(app)["layout"])) != told


def test_without_a_choice_the_page_asks_for_one(make_run):
    make_run("a")
    app = open_page()
    app.multiselect(key="runs").set_value([]).run()
    assert "Choose at least one run" in app.info[0].value


def test_validation_comes_first_and_the_rest_on_demand(make_run):
    for name in "abc":
        make_run(name)
    app = open_page()
    assert list(figures(app)) == ["Validation loss"]
    assert {trace["name"] for trace in curves(app)["data"]} == {"a", "b"}
    assert "validation loss of **a** and that of b are not told apart" in app.markdown[-1].value
    app = open_page(optimiser=True, timesteps=True)
    assert len(figures(app)) == 4
    other = figures(app)["Training loss, gradient norm, learning rate"]
    assert len([trace for trace in other["data"] if trace.get("opacity") != 0.3]) == 2 * 3
    assert {figure["layout"]["uirevision"] for figure in figures(app).values()}


def test_a_run_that_has_just_begun_is_not_among_the_first_choice(make_run, tiny_run):
    for name in "abc":
        make_run(name)
    for name in "bc":
        (folder := Run(runs.PRIVATE / name).path / "samples").mkdir()
        shutil.copy(list(tiny_run.samples().values())[-1], folder / "step-00001000.png")
    app = open_page()
    assert (app.multiselect(key="runs").options, app.multiselect(key="runs").value) == (["a", "b", "c"], ["b", "c"])


def test_what_the_scale_leaves_out_is_told_where_it_does(make_run):
    run, told = make_run("a"), "leaves out part of the first tenth"
    assert not any(told in caption.value for caption in open_page().caption)
    for step in range(40, 500, 10):
        run.append_metrics({"step": step, "images_seen": 8 * step, "seconds": 60.0 * step, "loss": 0.01, "val_loss": 0.01})
    assert any(told in caption.value for caption in open_page().caption)


def test_only_differences_are_listed_and_can_be_grouped_by(make_run):
    make_run("a", lr=0.5)
    make_run("b", lr=0.25)
    app = open_page(group="optimizer.lr")
    assert app.table[0].value.loc["optimizer.lr"].tolist() == ["0.5", "0.25"]
    assert app.selectbox(key="group").options == ["run", "optimizer.lr"]
    assert {trace["name"] for trace in curves(app)["data"] if "name" in trace} == {"a (0.5)", "b (0.25)"}


def test_equal_runs_have_no_differences(make_run):
    make_run("a")
    make_run("b")
    assert any("same settings" in caption.value for caption in open_page().caption)


def test_the_samples_of_every_run_and_step_are_sent_at_once(make_run, tiny_run):
    grid = next(iter(tiny_run.samples().values())).read_bytes()
    for name, steps in (("a", (10, 20)), ("b", (15, 30))):
        samples = make_run(name).path / "samples"
        samples.mkdir()
        for step in steps:
            (samples / f"step-{step:08d}.png").write_bytes(grid)
    (samples / "step-00000030-raw.png").write_bytes(grid)
    app = open_page(grid_step="15")
    assert samples_shown(app) == [("a", [10, 20]), ("b", [15, 30]), ("b, raw weights", [30])]
    [sent] = [one for one in payloads(app) if "rows" in one]
    assert (sent["steps"], sent["start"]) == ([10, 15, 20, 30], 15)
    facts = [[grid["facts"] for grid in row["grids"]] for row in sent["rows"]]
    assert facts[0] == [{"Validation loss": "0.1"}, {"Validation loss": "0.05"}]
    assert facts[1:] == [[{"Validation loss": "0.1 (step 10)"}, {"Validation loss": "0.03333"}], [{}]]  # raw weights have none
    [figure] = [one for one in payloads(app) if one.get("follows") == sent["key"]]
    assert len(json.loads(figure["frames"])) == len(sent["steps"]), "the curves are marked at every step of the player"


def test_what_samples_were_compared_with_is_told_with_their_number_and_what_it_means():
    app = open_page(runs="lesson-copies", optimiser=True)
    [row] = [row for one in payloads(app) for row in one.get("rows", ())]
    facts = row["grids"][-1]["facts"]
    config, newest = known_runs().runs["lesson-copies"].config, known_runs().runs["lesson-copies"].run.newest_metrics()
    count, share, distance = config.log.compared_samples, newest["closer_than_held_out"], newest["kernel_distance"]
    assert facts["Near training images"] == f"{share:.0%} of {count} samples".replace("%", "\u00a0%")
    assert distance < 0
    assert facts["Kernel distance"] == f"−{-distance:.3g}"
    captions = [caption.value for caption in app.caption]
    assert sum("may be below 0" in caption and "copies" in caption for caption in captions) == 2, "beside both"
    assert any(f"Shares here are of {count} samples" in caption for caption in captions)
    assert not any("below 0" in caption.value for caption in open_page(runs="fashion-baseline").caption)


def test_a_long_training_sends_the_first_and_last_samples_and_some_between(make_run, tiny_run, monkeypatch):
    grid = next(iter(tiny_run.samples().values())).read_bytes()
    run = make_run("a")
    (run.path / "samples").mkdir()
    for step in range(10, 110, 10):
        (run.path / "samples" / f"step-{step:08d}.png").write_bytes(grid)
    monkeypatch.setattr(samples, "MOST_PIXELS", 3 * 64 * samples.SENT)
    assert samples_shown(open_page()) == [("a", [10, 50, 100])]


def test_a_torn_grid_does_not_hide_the_others(make_run, tiny_run):
    for name, content in (("a", b"\x89PNG"), ("b", next(iter(tiny_run.samples().values())).read_bytes())):
        (make_run(name).path / "samples").mkdir()
        (runs.PRIVATE / name / "samples" / "step-00000010.png").write_bytes(content)
    app = open_page()
    assert "The samples of a, step 10 cannot be read" in app.warning[0].value
    assert samples_shown(app) == [("b", [10])]


@pytest.mark.parametrize("config", ["", "{", '{"seed": -1}', '{"colour": "red"}'])
def test_a_damaged_run_gets_one_sentence_and_the_others_are_drawn(make_run, config):
    make_run("a")
    (make_run("b").path / "config.json").write_text(config)
    app = open_page()
    assert len(app.warning) == 1
    assert app.warning[0].value.startswith("b cannot be read: ")
    assert {trace["name"] for trace in curves(app)["data"]} == {"a"}


def test_a_run_deleted_between_two_looks_gets_one_sentence(make_run):
    make_run("a")
    doomed = make_run("b")
    app = open_page()
    doomed.delete()
    app.run()
    assert not app.exception
    assert {trace["name"] for trace in curves(app)["data"]} == {"a"}


def test_a_run_that_has_not_logged_yet(folder, small_config):
    (folder / "new").mkdir()
    Run(folder / "new").write_config(small_config())
    app = open_page()
    assert "Nothing logged yet: new" in app.info[0].value
    assert not figures(app), "no empty axes"


def test_a_run_without_validation_says_when_it_comes(make_run):
    make_run("a", validated=False)
    app = open_page(optimiser=True)
    assert list(figures(app)) == ["Training loss, gradient norm, learning rate"]
    assert "No validation yet: the first comes at step 6." in [info.value for info in app.info]


def test_values_that_nobody_can_choose_fall_back(make_run):
    make_run("a")
    app = open_page(runs="../../etc", axis="nonsense", group="nobody", smoothing="1e9", grid_step="-3")
    assert {trace["name"] for trace in curves(app)["data"]} == {"a"}


def test_damaged_lines_are_counted_and_the_rest_is_drawn(make_run):
    make_run("a")
    with (make_run("b").path / "metrics.jsonl").open("a") as log:
        log.write("[" * 100_000 + "\n" + '{"step": null}\n')
    app = open_page()
    assert [warning.value for warning in app.warning] == ["The log of b: 2 damaged lines skipped."]
    assert {trace["name"] for trace in curves(app)["data"]} == {"a", "b"}


def test_a_run_that_is_deleted_while_it_is_drawn_breaks_nothing(make_run, monkeypatch):
    run = make_run("a")
    (run.path / "samples").mkdir()
    Image.new("RGB", (16, 16)).save(run.path / "samples" / "step-00000010.png")
    read = samples.grid_images

    def delete_and_read(*arguments):
        shutil.rmtree(run.path)
        return read(*arguments)

    monkeypatch.setattr(samples, "grid_images", delete_and_read)
    app = open_page()
    assert not run.path.exists()
    assert not app.exception
    assert any("a, step 10" in warning.value for warning in app.warning)


def test_the_averages_of_a_run_are_compared_from_the_shortest_to_the_longest():
    app = open_page(runs="lesson-averages", averages=True)
    assert not app.exception
    assert any("lowest validation loss" in text.value and "the raw weights" in text.value for text in app.markdown)
    run = Run(runs.PUBLISHED / runs.LESSONS / "lesson-averages")
    losses = losses_by_half_life(Log(run.name, run.config, run.metrics()))
    address = beside_each_other(run.name, known_runs().runs[run.name], losses)
    compared = open_app("compare", **address)
    assert not compared.exception
    shown = [compared.selectbox(key=f"model{number}").value for number in range(1, int(address["columns"][0]) + 1)]
    models = known_runs().models_and_averages(is_diffusion)
    lengths = [models[name].config.optimizer.ema_half_life for name in shown]
    assert lengths == sorted(lengths)
    assert {1, run.config.optimizer.ema_half_life, max(losses.columns), losses.iloc[-1].idxmin()} == set(lengths)
    assert len({compared.number_input(key=f"seed{number}").value for number in range(1, len(shown) + 1)}) == 1


# --- logs of other software

MARKUP = "[a](https://evil.example) <img src=x> $x$ *b*"


@pytest.fixture
def foreign(tmp_path):
    """A table such as W&B's page exports, of a run with a hostile name."""
    rows = "".join(f"{step},{1 / step},{2 / step}\n" for step in (10, 20, 30))
    (tmp_path / "export.csv").write_text(f"Step,{MARKUP} - val_loss,{MARKUP} - train/loss\n{rows}")
    return tmp_path / "export.csv"


def open_logs(*paths, **inputs):
    """The page with a link to logs, whose button has been pressed."""
    app = open_page(logs=list(map(str, paths)), **inputs)
    [button] = [button for button in app.button if button.label.startswith("Read ")]
    button.click().run()
    assert not app.exception
    return app


def test_logs_that_a_link_names_are_read_once_their_button_is_pressed_and_typed_ones_at_once(make_run, foreign, monkeypatch):
    read = []
    monkeypatch.setattr("pages.components.foreign_logs.read_path", lambda path: read.append(path) or ([], []))
    make_run("a")
    app = open_page(logs=[str(foreign)])
    assert not read
    [button] = [button for button in app.button if button.label == f"Read {literal(str(foreign))}"]
    button.click().run()
    assert read == [str(foreign)]
    app = open_page()
    app.multiselect(key="logs").set_value([str(foreign)]).run()
    assert not [button for button in app.button if button.label.startswith("Read ")]
    assert not app.exception


def test_a_log_of_other_software_is_drawn_beside_runs_and_not_compared(make_run, foreign):
    make_run("a")
    make_run("b")
    app = open_logs(foreign, optimiser=True, foreign=True)
    assert {trace["name"] for trace in curves(app)["data"] if "name" in trace} >= {"a", "b", plotly_text(MARKUP)}
    assert sum("Difference" in str(annotation) for annotation in curves(app)["layout"]["annotations"]) == 1
    assert any("validation loss of **a** and that of b are not told apart" in text.value for text in app.markdown)
    assert any("Compare the course of such curves, not their values" in caption.value for caption in app.caption)
    assert app.table[-1].value.loc["Training loss"].tolist() == [literal("train/loss")]
    assert app.table[-1].value.columns.tolist() == [literal(f"{MARKUP} (table of Weights & Biases)")]
    everything = [element.value for kind in (app.markdown, app.caption, app.warning) for element in kind]
    assert not any("<img" in text or "](https://evil" in text for text in everything)


def test_what_is_no_log_gets_a_sentence_and_the_others_are_drawn(make_run, foreign):
    make_run("a")
    foreign.with_name("torn.csv").write_bytes(b"\xff\xfe\x00")
    app = open_logs(*(foreign.with_name(name) for name in ("torn.csv", "missing", "export.csv")), runs="")
    assert [line.count("cannot be read") for line in app.warning[0].value.splitlines()] == [1, 1]
    assert {trace["name"] for trace in curves(app)["data"] if "name" in trace} == {plotly_text(MARKUP)}
    assert not samples_shown(app)


def test_strangers_cannot_read_the_server_s_logs(make_run, foreign, monkeypatch):
    make_run("a")
    monkeypatch.setattr("pages.components.foreign_logs.is_public", lambda: True)
    app = open_page(logs=[str(foreign), "/etc/passwd"])
    assert {trace["name"] for trace in curves(app)["data"] if "name" in trace} == {"a"}
    assert not app.warning
    assert not [box for box in app.multiselect if box.key == "logs"]


def test_a_log_without_a_validation_loss_says_where_its_curves_are(make_run, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n')
    make_run("b")
    app = open_logs(tmp_path / "a.jsonl", optimiser=True)
    assert any("Without a validation loss, but with curves further down: a" in caption.value for caption in app.caption)
    other = figures(app)["Training loss, gradient norm, learning rate"]
    assert {trace["name"] for trace in other["data"]} == {"a.jsonl", "b"}
