"""What the tests of pages share."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
from opening import open_app

from pipelines.storage.processes import write_record
from pipelines.storage.run import Run
from pipelines.training.jobs import WORKER, TrainingQueue


@pytest.fixture(autouse=True)
def without_runs_of_ones_own(monkeypatch, tmp_path):
    """Whoever runs the tests may have runs, which come first in every list."""
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path / "no runs")


@pytest.fixture
def open_train(queue, image_folder, tmp_path, monkeypatch):
    """Opens the page over an empty folder of runs, with values in its address; the flowers are shapes here."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "oxford_flowers").symlink_to(image_folder)
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pipelines.training.jobs.TrainingQueue", partial(TrainingQueue, queue.root))

    return lambda **inputs: open_app("train", **{"data": "oxford_flowers"} | inputs)


@pytest.fixture
def work(queue, train):
    """This process is the queue's worker: it starts no other, and the function trains what has been asked for."""
    write_record(queue.root / WORKER)

    def train_all() -> list[Run]:
        return [train(run.path, run.config) for run in queue.waiting()]

    yield train_all
    (queue.root / WORKER).unlink()


@pytest.fixture
def own_run(monkeypatch, tmp_path):
    """A user's copy of a shipped run, to damage."""
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", tmp_path)
    copy = shutil.copytree(Run("checkpoints/fashion-baseline").path, tmp_path / "mine")
    return Run(copy)
