"""The file of results: whose weights they are of, who writes it, and what is compared from it."""

import shutil
import tempfile

import numpy as np
import pytest
import torch

from pipelines.evaluation.judging import paired_losses
from pipelines.evaluation.results import Evaluation, loss_draws
from pipelines.models.loading import load_model
from pipelines.storage.run import Run

LOSS = {"timesteps": [], "mean": [], "low": [], "high": [], "whole": {"value": 1.0, "low": 1.0, "high": 1.0}}  # some loss


def test_results_belong_to_the_weights_that_were_measured(copied_run):
    """A run in training saves others meanwhile, whose results they would be taken for."""
    evaluation = Evaluation(copied_run, load_model(copied_run).fingerprint)
    evaluation.add("loss", {"images": 10, "seed": 0}, LOSS)
    network = load_model(copied_run, dtype=torch.float32).denoiser.network
    weights = {name: tensor * 1.01 for name, tensor in network.state_dict().items()}
    copied_run.write_model(weights, copied_run.config)
    with pytest.raises(ValueError, match="changed during the evaluation"):
        evaluation.add("loss", {"images": 10, "seed": 1}, LOSS)
    assert Evaluation(copied_run).results == []


def test_two_at_once_lose_nothing_of_each_other(copied_run):
    one, other = Evaluation(copied_run), Evaluation(copied_run)
    one.add("loss", {"images": 10, "seed": 0}, LOSS)
    other.add("loss", {"images": 10, "seed": 1}, LOSS)
    one.add("loss", {"images": 10, "seed": 2}, LOSS)
    assert [result.asked["seed"] for result in Evaluation(copied_run).results] == [0, 1, 2]
    assert len(one.results) == 3


def test_a_new_result_is_a_new_line_of_the_file(copied_run):
    evaluation, before = Evaluation(copied_run), []
    for number in range(3):
        evaluation.add("loss", {"images": 10, "seed": number}, LOSS)
        _, *results, _ = (line.rstrip(",") for line in (copied_run.path / "evaluation.json").read_text().splitlines())
        assert results[:-1] == before
        before = results


def test_files_in_one_folder_have_results_of_their_own(copied_run, tmp_path):
    files = [tmp_path / "many" / f"{name}.safetensors" for name in "ab"]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        shutil.copyfile(copied_run.model_path, file)
        Evaluation(Run(file)).add("loss", {"images": 10, "seed": number}, LOSS)
    assert [Evaluation(Run(file)).results[0].asked["seed"] for file in files] == [0, 1]


def test_a_damaged_file_is_told(copied_run):
    (copied_run.path / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Evaluation(copied_run)


def test_errors_of_one_image_count_once_where_it_is_drawn_often(copied_run, tmp_path):
    """Of 60 images 400 errors are taken: what two models make of an image differs alike each time."""
    other = Run(shutil.copytree(copied_run.path, tmp_path / "other"))
    _, images = loss_draws(60, seed=0)
    differences = np.random.default_rng(1).normal(size=60)
    for run, errors in ((copied_run, np.ones(len(images))), (other, 1 + differences[images])):
        Evaluation(run).add("loss", {"images": 60, "seed": 0}, LOSS | {"errors": errors.tolist()})
    [row] = paired_losses([Evaluation(copied_run), Evaluation(other)]).to_dict("records")
    half = float(row["Difference"].split(" ± ")[1])
    assert half == pytest.approx(1.96 * differences.std() / 60**0.5, rel=0.1)


def test_the_lock_lies_beside_the_run(copied_run, tmp_path, monkeypatch):
    """A regression: it had a name that others could guess, and take, in the folder of temporary files."""
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with Evaluation(copied_run).alone():
        lock = copied_run.path / ".evaluation.json.lock"
        assert lock.stat().st_mode & 0o666 == 0o666  # whoever may write the run may evaluate it
    assert list(elsewhere.iterdir()) == []
