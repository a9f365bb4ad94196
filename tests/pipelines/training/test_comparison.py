"""Samples that are compared with real images on the way, as an evaluation compares them, and without changing the training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.common.images import as_input
from pipelines.datasets.image_sets import load_split
from pipelines.datasets.sources import open_source
from pipelines.evaluation import judges
from pipelines.evaluation.measurements import figures
from pipelines.evaluation.real_images import RealImages
from pipelines.sample import SamplingRequest, load_model, sample
from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors
from pipelines.training.comparison import MOST, PASSES, SHARE, STEPS, comparison_with, with_samples

COMPARED = ("closer_than_held_out", "kernel_distance")


@pytest.fixture
def known(judge, monkeypatch):
    """The classifier of the shapes is one that takes the images of a run on them."""
    monkeypatch.setattr(judges, "CLASSIFIERS", judge.parent)
    return judge


def test_it_changes_nothing_but_the_log_and_survives_a_resume(known, train, make_trainer, logged, tmp_path):
    settings = {"unet": "class", "dropout": 0.1, "steps": 12}
    plain, compared = (train(tmp_path / str(count), compared_samples=count, **settings) for count in (0, 8))
    tensors = [read_tensors(run.model_path)[0] for run in (plain, compared)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    rows = logged(compared.path)
    assert [row["step"] for row in rows if COMPARED[0] in row] == [6, 12]
    assert [{key: value for key, value in row.items() if key not in COMPARED} for row in rows] == logged(plain.path)
    trainer = make_trainer(tmp_path / "stopped", compared_samples=8, **settings)
    assert not trainer.fit(time_limit=0)
    assert logged(train(tmp_path / "stopped", Run(tmp_path / "stopped").config).path) == rows


@pytest.mark.usefixtures("usual_grids")
@pytest.mark.parametrize("kind", ["class_run", "latent_run"])
def test_what_is_logged_is_what_an_evaluation_of_those_samples_finds(known, kind, request, train, logged, tmp_path):
    config = request.getfixturevalue(kind).config
    new = replace(config, image_shape=None, log=replace(config.log, compared_samples=10))
    run = train(tmp_path / "run", replace(new, optimizer=replace(new.optimizer, steps=3)))
    model = load_model(run)
    real = RealImages(run.config, judges.judge_for(run.config), 10_000, 1_000)
    *_, last = sample(model, SamplingRequest(num_images=10), range(10), condition=real.shown(range(10)))
    found = figures(real.judge.features(model.decode(last.x)), real)
    row = logged(run.path)[-1]
    assert row["closer_than_held_out"] == found["closer_than_held_out"]["value"]
    assert row["kernel_distance"] == pytest.approx(found["kernel_distance"]["value"], rel=1e-3)


def test_copies_are_all_seen_and_held_out_images_are_none(known, class_run):
    config = class_run.config
    train, held_out, _ = load_split(config.data, open_source(config.data.data))
    comparison = comparison_with(config, train, held_out)
    assert comparison.of(as_input(train.images))["closer_than_held_out"] == 1
    assert comparison.of(as_input(held_out.images))["closer_than_held_out"] <= 1 / len(held_out)


def test_it_costs_at_most_a_tenth_of_the_passes_through_the_network(small_config):
    draw, counts = np.random.default_rng(0), []
    for _ in range(200):
        steps, every, batch = (int(10 ** draw.uniform(0, most)) for most in (5, 4, 3))
        config = with_samples(small_config(steps=steps, eval_every=every, batch_size=batch))
        counts.append(config.log.compared_samples)
        assert STEPS * counts[-1] <= SHARE * PASSES * batch * min(every, steps)
        assert with_samples(config) == config
    assert {0, MOST} <= set(counts)


def test_without_a_judge_it_is_left_out_unless_it_was_asked_for(train, logged, tmp_path, class_run, capsys):
    run = train(tmp_path / "run", unet="class", steps=1, batch_size=4000)
    assert run.config.log.compared_samples == 0
    assert "samples are not compared with training images on the way: no classifier takes" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^compared_samples=5: no classifier takes shapes images of 3×8×8 \(C×H×W\): leave"):
        train(tmp_path / "asked", compared_samples=5, steps=1)
    config = replace(class_run.config, log=replace(class_run.config.log, compared_samples=None))  # of an older version
    assert train(tmp_path / "old", replace(config, optimizer=replace(config.optimizer, steps=6))).config.log == config.log
    assert not any(COMPARED[0] in row for row in logged(tmp_path / "old"))
