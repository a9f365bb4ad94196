"""Evaluation on the accelerator: the CPU's figures, and the whole command."""

from __future__ import annotations

import math

import pytest

from pipelines.evaluate import Evaluate, main
from pipelines.evaluation.judges import judge_for
from pipelines.evaluation.measurements import loss_by_noise_level
from pipelines.evaluation.real_images import RealImages
from pipelines.evaluation.results import Evaluation

pytestmark = pytest.mark.gpu


def test_the_loss_by_noise_level_is_the_cpu_s(twins, lively_text_run, judge):
    pair = twins(lively_text_run)
    figures = []
    for model in (pair.on_device, pair.on_cpu):
        real = RealImages(model.config, judge_for(model.config, judge), 20, 10)
        figures.append(loss_by_noise_level(model, real, 0, 7))
    own, expected = figures
    assert own["whole"]["value"] == pytest.approx(expected["whole"]["value"], rel=1e-2)
    assert own["mean"] == pytest.approx(expected["mean"], rel=1e-2)


def test_the_command_measures_a_run(lively_text_run, judge, capsys):
    settings = {"num_images": 10, "reference_images": 20, "held_out_images": 10, "likelihood_images": 2, "likelihood_levels": 3}
    arguments = Evaluate((lively_text_run.path,), features=judge, steps=(3,), guidance=(1.0, 2.0), **settings)
    assert main(arguments) == 0
    results = {result.kind: result.found for result in Evaluation(lively_text_run).results}
    assert results.keys() == {"loss", "bound", "floor", "samples"}
    assert math.isfinite(results["samples"]["figures"]["frechet_distance"]["value"])
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("already measured") == 5
