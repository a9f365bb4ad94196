"""The logic of the Evaluate page, without a browser."""

import os
import re
import shutil
from functools import partial

import numpy as np
import pandas as pd
import plotly.io
import psutil
import pytest
from made_pictures import bomb_png
from opening import open_app

from pages.components.copies import _pairs
from pages.components.results import usual_series
from pipelines.common.images import montage, png_bytes
from pipelines.evaluation.brief import file_beside
from pipelines.evaluation.job import EvaluationJob
from pipelines.evaluation.judging import verdict
from pipelines.evaluation.results import NEAREST_IS_BEST, NEIGHBOURS_PICTURE, Evaluation
from pipelines.evaluation.tables import readable_table, samples_table
from pipelines.figures.chart import Curve
from pipelines.figures.cost import SERIES, best_against_cost, comparison, quality_against_cost
from pipelines.figures.evaluation import leanings, loss_bands
from pipelines.figures.report import report
from pipelines.figures.style import COLORS
from pipelines.storage.processes import read_record
from pipelines.storage.run import Run

open_page = partial(open_app, "evaluate")


def curves_of(chart):
    return [mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Curve)]


def names_of(chart):
    return {curve.name for curve in curves_of(chart)}


def estimate(value, width=0.1):
    return {"value": value, "low": value - width, "high": value + width}


@pytest.fixture
def measured(tiny_run, tmp_path, monkeypatch):
    """A run with results, and one without."""
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    monkeypatch.setattr("pages.components.measuring.EvaluationJob", partial(EvaluationJob, tmp_path))
    for name in ("one", "two"):
        shutil.copytree(tiny_run.path, tmp_path / name)
    evaluation = Evaluation(Run(tmp_path / "one"))
    for sampler, steps, distance in (("ddim", 5, 3.0), ("ddim", 20, 1.0), ("heun", 5, 1.5)):
        request = {"sampler": sampler, "steps": steps, "guidance": 1.0, "seed": 0, "num_images": 100}
        found = {
            "network_calls": steps * (1 + (sampler == "heun")),
            "seconds": 0.01 * steps,
            "figures": {"frechet_distance": estimate(distance), "recall": estimate(0.5)},
            "floor": {"frechet_distance": estimate(0.2), "images": 100},
        }
        evaluation.add("samples", {"request": request, "features": "shapes classifier", "reference_images": 40}, found)
    bins = {"timesteps": [0.0, 500.0, 999.0], "mean": [0.3, 0.1, 0.2], "low": [0.2, 0.05, 0.1], "high": [0.4, 0.2, 0.3]}
    evaluation.add("loss", {"images": 10, "seed": 0}, bins | {"whole": estimate(0.2)})
    bound = {"total": estimate(4.0), "prior": 0.5, "decoder": 1.0, "denoising": [1.5, 1.0]}
    evaluation.add("bound", {"images": 2, "levels": 2, "seed": 0}, bound)
    return evaluation


def test_what_is_measured_is_shown_and_what_is_not_is_told(measured):
    app = open_page()
    assert app.info[0].value == "Not evaluated yet: two."
    assert [part.value for part in app.subheader] == ["Which is best?", "What does quality cost?"]
    assert [part.label for part in app.expander] == ["All figures as a table", "Loss by noise level", "Likelihood"]
    assert not app.dataframe, "the table is there on demand"
    app = open_page(all_figures=True)
    table = app.dataframe[0].value
    assert list(table["Fréchet distance"]) == [
        "3.00 (2.90 – 3.10), real 0.20",
        "1.00 (0.90 – 1.10), real 0.20",
        "1.50 (1.40 – 1.60), real 0.20",
    ]
    assert app.selectbox(key="figure").options == ["Fréchet distance", "Recall"]
    app.selectbox(key="figure").set_value("recall").run()
    assert not app.exception


def test_further_figures_are_in_a_table_of_their_own(measured):
    [first, *_] = measured.of_kind("samples")
    figures = {"density": estimate(0.8), "vendi_score": estimate(12.0)}
    found = first.found | {"figures": first.found["figures"] | figures, "floor": first.found["floor"] | figures}
    assert len(open_page(all_figures=True).dataframe) == 1
    measured.add("samples", first.asked | {"reference_images": 39}, found)
    app = open_page(figure="Vendi score", all_figures=True)
    assert app.selectbox(key="figure").value == "vendi_score"
    assert "Density" not in app.dataframe[0].value
    further = app.dataframe[1]
    assert list(further.value["Vendi score"]) == ["", "", "", "12.00 (11.90 – 12.10), real 12.00"]
    assert "Fréchet distance" not in further.value


def test_a_picture_that_cannot_be_shown_gets_a_sentence(measured):
    file_beside(measured.run, NEIGHBOURS_PICTURE).write_bytes(bomb_png(60_000, pixels=False))
    app = open_page(copies=True)
    assert not app.exception
    assert "evaluation-neighbours.png cannot be shown: the image is too large" in app.warning[0].value
    assert app.expander[-1].label.startswith("Copies?")


def test_each_training_image_is_shown_once_with_the_sample_nearest_to_it(measured):
    shape = measured.run.config.image_shape
    images = np.random.default_rng(0).integers(0, 256, (8, *shape[1:], shape[0]), np.uint8)
    images[5] = images[7] = images[4]  # of four samples three are nearest to one training image
    file = file_beside(measured.run, NEIGHBOURS_PICTURE)
    file.write_bytes(png_bytes(montage(images, 4)))
    pairs = _pairs(os.fsencode(file), 0, shape)
    assert np.array_equal(pairs, images[[[0, 4], [2, 6]]])
    app = open_page(copies=True)
    assert not app.exception
    assert len(app.get("image")) == 2


def test_seconds_of_different_machines_are_told_and_have_no_front(measured):
    app = open_page(cost="Seconds", all_figures=True)
    assert not any("different machines" in caption.value for caption in app.caption)
    assert "Measured on" not in app.dataframe[0].value
    table = samples_table([measured])
    assert "Pareto front" in names_of(quality_against_cost(table, "frechet_distance", "seconds"))
    [first, *_] = measured.of_kind("samples")
    measured.add("samples", first.asked | {"reference_images": 39}, first.found | {"machine": "another one"})
    app = open_page(cost="Seconds", all_figures=True)
    assert any("different machines" in caption.value for caption in app.caption)
    assert set(app.dataframe[0].value["Measured on"]) == {"not recorded", "another one"}
    table = samples_table([measured])
    assert "Pareto front" not in names_of(quality_against_cost(table, "frechet_distance", "seconds"))
    assert "Pareto front" in {
        curve.name for curve in curves_of(quality_against_cost(table, "frechet_distance", "network_calls"))
    }


def measuring(app):
    """The page with the dialog open."""
    next(button for button in app.button if button.label == "Evaluate…").click().run()
    assert not app.exception
    return app


def test_what_will_be_measured_is_said_first(measured):
    app = measuring(open_page())
    assert app.multiselect(key="measured").value == ["two"]
    command = "python -m pipelines.evaluate two --samplers unipc --steps 20"
    assert app.code[0].value == command
    assert not app.button(key="measure").disabled


def test_a_weight_average_can_be_chosen_and_is_shown(measured):
    run = Run(measured.run.path.with_name("two"))
    (run.path / "ema").mkdir()
    shutil.copy(run.model_path, run.path / "ema" / "5000.safetensors")
    app = open_page()
    app.session_state["measured_averages"] = [5000]
    measuring(app)
    usual = run.config.optimizer.ema_half_life
    assert app.multiselect(key="measured_averages").options == [f"{usual:,} images", "5,000 images"]
    assert app.code[0].value.endswith(" --ema 5000")
    app = open_page()
    app.session_state["measured"] = ["one", "two"]
    assert measuring(app).multiselect(key="measured_averages").options == [f"{usual:,} images"], "what all of them have kept"
    loss = measured.of_kind("loss")[0]
    Evaluation(run.average(5000)).add("loss", loss.asked, loss.found)
    assert "two, EMA 5,000" in open_page().selectbox(key="verdict_second").options


def test_a_figure_leans_towards_the_better_model():
    """To the left for the first, to the right for the second, and its bar excludes the middle where they are told apart."""
    evaluations = [Evaluation(Run(f"checkpoints/{name}")) for name in ("flowers-baseline-64", "flowers-class-64")]
    found = verdict(*([one] for one in evaluations))
    drawn = dict(
        zip((name for name in found.differences if name not in NEAREST_IS_BEST), curves_of(leanings(found)), strict=True)
    )
    told = [name for name in found.differences if found.better(name)]
    assert len(told) > 2
    for name in told:
        curve = drawn[name]
        [low], [high] = curve.x_interval
        assert (low > 0) == (found.better(name) == found.second)
        assert low * high > 0


def test_a_failed_evaluation_is_explained(measured, wait_for, tmp_path, forked):
    job = EvaluationJob(tmp_path)
    job.start([measured.run])
    wait_for(lambda: not job.running)
    assert "no classifier takes shapes images" in open_page().error[0].value


def test_an_evaluation_at_work_is_shown_to_all(measured, wait_for, tmp_path, forked):
    job = EvaluationJob(tmp_path)
    job.start([measured.run])
    process = psutil.Process(read_record(job.record).pid)
    process.suspend()  # else it may have ended before the page is open
    app = open_page()
    assert not [button for button in app.button if button.label == "Evaluate…"]
    app.button(key="stop").click().run()
    process.resume()
    wait_for(lambda: not job.running)
    assert not app.exception


def test_nothing_measured(tmp_path, tiny_run, monkeypatch):
    monkeypatch.setattr("pipelines.storage.runs.PUBLISHED", tmp_path / "none")
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    monkeypatch.setattr("pages.components.measuring.EvaluationJob", partial(EvaluationJob, tmp_path))
    shutil.copytree(tiny_run.path, tmp_path / "one")
    app = open_page()
    assert app.info[0].value == "Not evaluated yet: one."
    assert not app.subheader


def test_an_address_that_makes_no_sense_shows_the_usual_page(measured):
    app = open_page(runs="../../etc", figure="nonsense", cost="-1")
    assert app.selectbox(key="figure").value == "frechet_distance"


def test_a_damaged_result_is_told(measured):
    measured.path.write_text("{")
    app = open_page()
    assert "damaged" in app.warning[0].value


def test_numbers_on_the_axis_of_costs_have_room():
    table = samples_table([Evaluation(Run("checkpoints/fashion-baseline"))])
    axis = quality_against_cost(table, "frechet_distance", "network_calls").panels[0].x
    ticks = list(axis.ticks)
    assert {20, 50, 1000} <= set(ticks) <= set(table["network_calls"])
    assert len(ticks) >= 5
    low, high = np.log(axis.limits)
    assert min(np.diff(np.log(ticks))) > 0.1 * (high - low), "30 pixels of a telephone"


def test_of_several_runs_the_best_of_each_at_every_cost_is_drawn_at_first():
    fashion = [f"fashion-{kind}" for kind in ("attention", "baseline", "class")]
    table = samples_table([Evaluation(Run(f"checkpoints/{name}")) for name in fashion])
    for figure, better in (("frechet_distance", np.less), ("recall", np.greater)):
        chart = best_against_cost(table, figure, "seconds", fashion)
        drawn = {curve.name: curve for curve in curves_of(chart) if curve.points}
        assert list(drawn) == fashion
        for name, curve in drawn.items():
            own = table[table["run"] == name]
            assert all(better(curve.y[1:], curve.y[:-1])), "what costs more and is no better is left out"
            for cost, value in zip(own["seconds"], own[figure], strict=True):
                reached = curve.y[np.asarray(curve.x) <= cost]
                assert len(reached)
                assert value == reached[-1] or better(reached[-1], value), "nothing cheaper is better"
    app = open_page(runs=fashion)
    assert any("the best of each model at every cost" in caption.value for caption in app.caption)
    app.toggle(key="all_series").set_value(True).run()
    assert not any("the best of each model at every cost" in caption.value for caption in app.caption)


def test_the_report_needs_nothing_else(measured):
    page = report([measured])
    assert not re.search(r"<script|<link|(src|href)=.(?!data:|#)", page)
    assert "Fréchet distance" in page
    assert "Likelihood" in page
    assert page.count("<svg") == 4
    assert "<td>1.50 (1.40 – 1.60), real 0.20</td>" in page
    assert not {"NaN", "nan", "None"} & set(re.findall(r"<td>(.*?)</td>", page))


def test_the_report_ranks_by_full_names_and_its_ticks_keep_their_digits(measured, tmp_path, monkeypatch):
    """A regression: on a page of Streamlit, whose template of Plotly has no automatic margins, 0.8 was cut to 8."""
    name = "a-run-whose-name-is-long-enough-to-be-shortened-where-there-is-little-room-for-it"
    other = Evaluation(Run(measured.run.path.with_name("two")), name=name)
    for result in measured.results:
        other.add(result.kind, result.asked, result.found)
    page = report([measured, other])
    assert page.count(f"<td>{name}</td>") > 1
    assert f"is not told apart from {name}" in page or f"{name} is not told apart" in page
    monkeypatch.setattr(plotly.io.templates, "default", "none")
    assert report([measured, other]) == page, "whatever template others have set"
    shown = {float(text) for text in re.findall(r"<text[^>]*>(-?[0-9.]+)</text>", page)}
    assert {0.1, 0.2, 0.3} <= shown, "recall of 0.5, say, has ticks with all of their digits"


def test_a_report_says_which_picture_it_leaves_out(measured):
    os.mkfifo(measured.run.path / NEIGHBOURS_PICTURE)  # reading it would wait for ever
    page = report([measured])
    assert "Fréchet distance" in page
    assert "cannot be shown" in page


def test_a_run_that_cannot_be_read_does_not_hide_the_others(measured):
    broken = Run(shutil.copytree(measured.run.path, measured.run.path.with_name("broken")))
    (broken.path / "config.json").write_text('{"network": {"what": 1}}')
    app = open_page(runs=["broken", "one"], all_figures=True)
    assert not app.exception
    assert app.warning[0].value.startswith("broken cannot be read: ")
    assert set(app.dataframe[0].value["Run"]) == {"one"}


def test_seeds_and_samplers_are_told_apart(measured):
    [result, *_] = measured.of_kind("samples")
    again = result.asked | {"request": result.asked["request"] | {"seed": 1}}
    measured.add("samples", again, result.found)
    table = samples_table([measured])
    assert readable_table(table)["Seed"].tolist() == [0, 0, 0, 1]
    lines = [trace for trace in curves_of(quality_against_cost(table, "frechet_distance", "network_calls")) if trace.points]
    assert {trace.name for trace in lines} == {"one, DDIM, seed 0", "one, DDIM, seed 1", "one, Heun, seed 0"}
    assert len({trace.look.color for trace in lines}) == 2, "of one run, the colour is the sampler's"


def test_many_series_are_drawn_on_demand_and_otherwise_one_for_each_run_and_sampler():
    fashion = [f"fashion-{kind}" for kind in ("class", "text", "attention", "baseline")]
    table = samples_table([Evaluation(Run(f"checkpoints/{name}")) for name in fashion])
    once = table[table["run"] == "fashion-baseline"].assign(images=9)
    usual = usual_series(pd.concat([once, table]))
    learned = usual["spacing"] == "learned"  # a series of its own
    assert (usual.groupby(["run", "sampler", learned.rename("learned")])[SERIES].nunique() == 1).all(axis=None)
    assert set(zip(usual["run"], usual["sampler"], strict=True)) == set(zip(table["run"], table["sampler"], strict=True))
    assert set(usual["images"]) == {table["images"].mode()[0]}
    app = open_page(runs=fashion)
    assert app.toggle(key="all_series").label.startswith("All ")
    assert not app.toggle(key="all_series").set_value(True).run().exception


def test_runs_beyond_the_palette_are_told_apart(measured):
    table = samples_table([measured])
    many = pd.concat([table.assign(run=f"run {number}") for number in range(2 * len(COLORS) + 1)], ignore_index=True)
    lines = [trace for trace in curves_of(quality_against_cost(many, "frechet_distance", "network_calls")) if trace.points]
    looks = {(trace.look.color, trace.look.dash, trace.look.symbol) for trace in lines}
    assert len(looks) == len(lines) == 2 * many["run"].nunique(), "two samplers of every run"
    loss = measured.of_kind("loss")[0].found
    curves = curves_of(loss_bands(dict.fromkeys(many["run"], loss)))
    assert len({(curve.look.color, curve.look.dash) for curve in curves}) == many["run"].nunique()


def test_models_are_ranked_and_drawn_beside_those_of_their_own_image_size():
    runs = ["flowers-text", "flowers-attention-64", "flowers-class-64"]
    captions, drawn = {}, {}
    for size in ("", "32×32"):
        app = open_page(runs=runs, all_figures=True, **({"measured_size": size} if size else {}))
        captions[size] = [caption.value for caption in app.caption]
        drawn[size] = set(app.dataframe[0].value["Run"])
        assert not any("Not measured with these samples" in caption for caption in captions[size])
    assert drawn == {"": set(runs[1:]), "32×32": {runs[0]}}, "most models first"
    about = "in feature space (oxford-flowers-64 classifier)."
    assert sum(about in caption for caption in captions[""]) == 1
    assert any("in feature space (oxford-flowers classifier)." in caption for caption in captions["32×32"])


def test_a_judge_of_smaller_images_is_told():
    table = pd.DataFrame({"images": [400], "features": ["oxford-flowers classifier, images made 32×32"]})
    assert "(oxford-flowers classifier, which sees every image at 32×32 pixels)" in comparison(table)


def test_figures_in_the_features_of_one_judge_do_not_stand_beside_those_of_another(measured):
    """A regression: the ranking and the verdict took the judge that was there first, whichever was chosen above them."""
    scores = {"small classifier": {"one": 1.0, "two": 2.0}, "large classifier": {"one": 40.0, "two": 30.0}}
    other = Evaluation(Run(measured.run.path.with_name("two")))
    request = {"sampler": "ddim", "steps": 20, "guidance": 1.0, "seed": 0, "num_images": 100}
    for judge, distances in scores.items():
        asked = {"request": request, "features": judge, "judge": judge[:5], "reference_images": 40, "held_out_digest": "h"}
        for evaluation in (measured, other):
            figures = {"frechet_distance": estimate(distances[evaluation.name])}
            evaluation.add("samples", asked, {"network_calls": 20, "seconds": 0.1, "figures": figures})
    for judge, best in (("small classifier", "one"), ("large classifier", "two")):
        app = open_page(runs=["one", "two"], judge=judge, all_figures=True)
        shown = [str(value) for text in app.dataframe for value in text.value.to_numpy().ravel()]
        told = {f"{scores[judge][name]:.2f} ({scores[judge][name] - 0.1:.2f}" for name in ("one", "two")}
        assert all(any(text.startswith(figure) for text in shown) for figure in told)
        assert any(f"Samples from **{best}** are closer" in text.value for text in app.markdown), judge
        [setting] = [name for name in app.selectbox(key="verdict_setting").options if name.endswith(judge)]
        app.selectbox(key="verdict_setting").set_value(setting).run()
        assert any(text.value.startswith("**") and best in text.value for text in app.markdown)
    page = report([measured, other])
    for judge, best in (("small classifier", "one"), ("large classifier", "two")):
        section = page.split(f"<h2>{measured.config.data.data.rpartition('/')[2]}, {judge}</h2>")[1].split("<h2>")[0]
        assert f"Samples from {best} are closer" in section, judge


def test_runs_of_unlike_data_are_not_drawn_beside_each_other():
    app = open_page()
    assert app.multiselect(key="runs").value[:2] == ["flowers-attention-64", "flowers-baseline-64"]
    assert not [name for name in app.multiselect(key="runs").value if name.startswith("fashion")]
    app = open_page(runs=["flowers-attention-64", "fashion-class"], all_figures=True)
    assert list(app.dataframe[0].value["Run"].unique()) == ["flowers-attention-64"]
    assert any("on other images or in other features: fashion-class." in caption.value for caption in app.caption)
    app = open_page(runs=["flowers-attention-64", "fashion-class"], measured_data="fashion_mnist", all_figures=True)
    assert list(app.dataframe[0].value["Run"].unique()) == ["fashion-class"]


def test_models_without_a_bound_are_named_beside_those_with_one(measured):
    other = Evaluation(Run(measured.run.path.with_name("two")))
    loss = measured.of_kind("loss")[0]
    other.add("loss", loss.asked, loss.found)
    captions = [caption.value for caption in open_page(likelihood=True).caption]
    assert any("upper bound" in caption and "Not measured, or of latents: two." in caption for caption in captions)


def test_which_of_two_models_is_better_is_said_first():
    app = open_page()
    assert [part.value for part in app.subheader][:3] == [
        "Which is best?",
        "What does quality cost?",
        "Two models, figure by figure",
    ]
    assert any("Samples from **flowers-attention-64** are closer" in text.value for text in app.markdown)
    assert list(app.dataframe[0].value) == ["flowers-attention-64", "flowers-baseline-64"]
    app.selectbox(key="verdict_first").set_value("flowers-baseline-64").run()  # which was the other of the two
    assert not app.exception
    assert list(app.dataframe[0].value) == ["flowers-baseline-64", "flowers-attention-64"]
    app = open_page(verdict_first="flowers-class-64", verdict_second="flowers-attention-64")
    assert list(app.dataframe[0].value) == ["flowers-class-64", "flowers-attention-64"]
    app = open_page(runs=["flowers-attention-64", "fashion-class"])
    assert "nothing in common" in app.info[0].value
