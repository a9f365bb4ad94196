"""Trackers, each read back with its own reader, and by the reader of logs that other software has written."""

import json
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from accelerate.tracking import TensorBoardTracker
from PIL import Image

from pipelines.common.images import enlarge
from pipelines.storage.files import ROOT
from pipelines.storage.foreign_logs.reading import read_path
from pipelines.storage.foreign_logs.terms import QUANTITIES

TRACKERS = ("trackio", "mlflow", "tensorboard", "wandb")


@pytest.fixture(scope="module")
def tracked(make_trainer, shell_environment, tmp_path_factory):
    """A run that all trackers have followed, and the folder of MLflow's store and pictures."""
    for package in TRACKERS:
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shell_environment.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        trainer = make_trainer(folder / "tracked run", trackers=TRACKERS, unet="class")
        trainer.fit()
        assert not trainer.accelerator.trackers
        yield trainer.run, folder


def logged(run, column):
    """The values of a column by step, as the run's own log has them."""
    return run.metrics().dropna(subset=column).set_index("step")[column].to_dict()


def grid(run):
    """The newest sample grid, as it is sent to trackers."""
    return enlarge(np.asarray(Image.open(list(run.samples().values())[-1])), 2)


def by_timestep(run):
    """The rows of the table of losses by timestep."""
    losses = logged(run, "loss_by_timestep")
    return [[step, 50 * place, 50 * place + 49, loss] for step, values in losses.items() for place, loss in enumerate(values)]


def test_tensorboard_reads_all_of_it(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = tracked
    [folder] = {path.parent for path in (run.path / "trackers").rglob("events*") if path.parent.name == "noisescope"}
    read = EventAccumulator(str(folder), {"images": 0, "tensors": 0}).Reload()
    for name in ("loss", "val_loss", "lr", "images_seen"):
        assert {one.step: one.value for one in read.Scalars(name)} == pytest.approx(logged(run, name), rel=1e-6)
    assert np.array_equal(np.asarray(Image.open(BytesIO(read.Images("samples")[-1].encoded_image_string))), grid(run))
    texts = [one.tensor_proto.string_val[0].decode() for one in read.Tensors("loss_by_timestep/text_summary")]
    rows = [[float(cell) for cell in line.strip("|").split("|")] for text in texts for line in text.split("\n")[2:]]
    assert rows == by_timestep(run)
    [settings] = (run.path / "trackers").rglob("hparams.yml")
    assert "optimizer.lr" in settings.read_text()


def test_mlflow_reads_all_of_it(tracked):
    from mlflow import MlflowClient

    run, folder = tracked
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    [kept] = client.search_runs([client.get_experiment_by_name("noisescope").experiment_id])
    assert (kept.info.run_name, kept.info.status, kept.data.params["network.unet"]) == ("tracked run", "FINISHED", "class")
    for name in ("loss", "val_loss", "lr", "images_seen"):
        found = {one.step: one.value for one in client.get_metric_history(kept.info.run_id, name)}
        assert found == pytest.approx(logged(run, name))
    artifacts = folder / "mlruns"
    [table] = artifacts.rglob("loss_by_timestep.json")
    assert np.allclose(json.loads(table.read_text())["data"], by_timestep(run))  # rounded to ten digits
    pictures = [Image.open(path) for path in artifacts.rglob("images/*.png")]
    assert any(np.array_equal(np.asarray(picture), grid(run)) for picture in pictures)


def test_trackio_reads_all_of_it(tracked):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    run, _ = tracked
    [kept] = [one for one in trackio.Api().runs("noisescope") if one.name == "tracked run"]
    assert kept.config["network.unet"] == "class"
    rows = SQLiteStorage.get_logs("noisescope", "tracked run")
    for name in ("loss", "val_loss", "lr", "images_seen"):
        assert {row["step"]: row[name] for row in rows if name in row} == pytest.approx(logged(run, name))
    tables = [row["loss_by_timestep"]["_value"] for row in rows if "loss_by_timestep" in row]
    assert [list(line.values()) for table in tables for line in table] == by_timestep(run)
    [sent] = [row["samples"]["file_path"] for row in rows if "samples" in row]
    picture = Image.open(trackio.utils.MEDIA_DIR / sent)
    assert np.array_equal(np.asarray(picture.convert("RGB")), grid(run))


def test_wandb_keeps_all_of_it_offline(tracked):
    from wandb.proto.wandb_internal_pb2 import Record

    from pipelines.storage.foreign_logs import wandb_files

    run, _ = tracked
    [file] = (run.path / "trackers").rglob("*.wandb")
    with file.open("rb") as content:
        content.seek(wandb_files.FILE_HEADER.size)
        records = [Record.FromString(record) for record in wandb_files._records(content)]
    assert {item.key for record in records for item in record.config.update} >= {"network.unet"}
    assert sum(bool(record.history.item) for record in records) == len(run.metrics())
    media = [path for path in file.parent.rglob("*.png") if np.array_equal(np.asarray(Image.open(path)), grid(run))]
    assert media
    tables = [json.loads(path.read_text())["data"] for path in file.parent.rglob("*.table.json")]
    assert sorted(line for table in tables for line in table) == sorted(by_timestep(run))


def test_the_logs_that_trackers_keep_can_stand_beside_runs(tracked):
    import trackio

    run, folder = tracked
    places = {
        "TensorBoard": run.path / "trackers" / "noisescope",
        "Weights & Biases": run.path / "trackers" / "wandb",
        "MLflow": folder / "mlflow.db",
        "trackio": trackio.utils.TRACKIO_DIR / "noisescope.db",
    }
    for kind, place in places.items():
        logs, problems = read_path(str(place))
        assert not problems, kind
        log = next(log for log in logs if log.name in ("tracked run", "noisescope"))
        assert (log.kind, set(QUANTITIES) - set(log.table)) == (kind, set())
        for name in ("loss", "val_loss", "lr", "images_seen"):
            assert log.table.dropna(subset=name).set_index("step")[name].to_dict() == pytest.approx(logged(run, name), rel=1e-6)


def test_a_tracker_that_fails_is_told_of_once_and_ends_nothing(make_trainer, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    tried = []

    def fail(tracker, values, step, **options):
        tried.append(step)
        raise RuntimeError("the server\nis gone")

    monkeypatch.setattr(TensorBoardTracker, "log", fail)
    trainer = make_trainer(tmp_path / "run", trackers=["tensorboard"], steps=4)
    trainer.fit()
    assert trainer.run.metrics()["step"].max() == 4
    assert tried == [2]
    told = "tensorboard has failed and gets nothing more of this training: the server is gone\n"
    assert capsys.readouterr().err.count(told) == 1


@pytest.mark.parametrize(
    ("tracker", "variable", "told"),
    [("mlflow", "MLFLOW_TRACKING_URI", "set MLFLOW_TRACKING_URI"), ("trackio", "TRACKIO_DIR", "set TRACKIO_DIR")],
)
def test_a_tracker_that_cannot_write_is_said_before_training(command, flags, tmp_path, monkeypatch, tracker, variable, told):
    pytest.importorskip(tracker)
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "store"
    monkeypatch.setenv(variable, f"sqlite:///{place}" if tracker == "mlflow" else str(place))
    if tracker == "trackio":
        monkeypatch.setattr("trackio.utils.TRACKIO_DIR", place)  # which it has read when it was imported
    sentence = command("pipelines.train", *flags(), "--out", tmp_path / "run", "--tracker", tracker).refused_in_one_sentence()
    assert sentence.startswith(f"--tracker {tracker} cannot be used (")
    assert told in sentence
    assert not (tmp_path / "run" / "trackers").exists()


def test_wandb_without_a_network_is_said_before_training(forked, flags, tmp_path):
    """In a process of its own: wandb reads the environment once, and ending its service here has been seen to take forever."""
    pytest.importorskip("wandb")
    unreachable = {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "pipelines.train", *flags(), "--out", tmp_path / "run", "--tracker", "wandb"]
    ended = subprocess.run(
        [str(part) for part in command], env=os.environ | unreachable, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 2
    (told,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "WANDB_MODE=offline" in told
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_is_named(command, flags, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    done = command("pipelines.train", *flags(), "--out", tmp_path / "run", "--tracker", "wandb")
    assert "pip install wandb" in done.refused_in_one_sentence()
    assert not (tmp_path / "run").exists()
