"""A run's folder that goes while it is trained does not come back, and what kills have left stands in nobody's way."""

from __future__ import annotations

import shutil

import pytest

import pipelines.training.reading as reading
from pipelines.common import reports
from pipelines.storage.claim import RunClaim, is_free
from pipelines.storage.layout import CONFIG, PROCESS
from pipelines.storage.run import Run
from pipelines.training.loop import TrainingLoop


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def during_step(monkeypatch, number, act):
    """Call ``act`` before a step of any training loop."""
    train_step = TrainingLoop.train_step

    def step_after_acting(loop):
        if loop.step == number:
            act()
        train_step(loop)

    monkeypatch.setattr(TrainingLoop, "train_step", step_after_acting)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced", "stripped of its configuration"])
def test_a_run_that_goes_while_it_trains_does_not_come_back(command, flags, train, logged, tmp_path, monkeypatch, how):
    out, moved = tmp_path / "run", tmp_path / "moved"
    other = train(tmp_path / "other", steps=2)

    def act():
        if how == "stripped of its configuration":
            (out / CONFIG).unlink()
        elif how == "moved":
            out.rename(moved)
        else:
            shutil.rmtree(out)
        if how == "replaced":
            shutil.copytree(other.path, out)

    with monkeypatch.context() as patch:
        during_step(patch, 7, act)
        patch.setattr(reports, "INTERVAL", 0.0)  # progress may be due at any step
        sentence = command("pipelines.train", *flags(), "--out", out).refused_in_one_sentence()
    assert f"{out} was removed, moved or replaced during training" in sentence
    assert out.exists() == (how in ("replaced", "stripped of its configuration"))
    assert not (out / PROCESS).exists()
    if how == "replaced":
        assert contents(out) == contents(other.path)
    if how == "moved":
        assert not (moved / PROCESS).exists() or not is_free(moved)
        assert command("pipelines.train", "--resume", moved).code == 0
        assert logged(moved) == logged(train(tmp_path / "whole").path)


@pytest.mark.parametrize("new", [False, True], ids=["resumed", "new"])
def test_a_run_that_changes_while_the_data_are_read_is_left_alone(command, flags, copied_run, tmp_path, monkeypatch, new):
    """A new one that another process has begun meanwhile, and a resumed one that has been removed."""
    out = tmp_path / "run" if new else copied_run.path
    read_task = reading.read_task

    def read_and_change(*arguments):
        task = read_task(*arguments)
        shutil.copytree(copied_run.path, out) if new else shutil.rmtree(out)
        return task

    monkeypatch.setattr(reading, "read_task", read_and_change)
    arguments = [*flags(), "--out", out] if new else ["--resume", out]
    sentence = command("pipelines.train", *arguments).refused_in_one_sentence()
    if new:
        assert "another process has just started a run" in sentence
        assert contents(out) == contents(copied_run.path)
    else:
        assert "was removed" in sentence
        assert not out.exists()


def test_a_run_that_another_process_trains_while_torch_is_imported_is_left_alone(
    command, flags, copied_run, tmp_path, monkeypatch
):
    """It was taken for a finished run to resume."""
    out, open_training = tmp_path / "run", reading.open_training

    def open_later(*arguments):
        shutil.copytree(copied_run.path, out)
        return open_training(*arguments)

    monkeypatch.setattr(reading, "open_training", open_later)
    sentence = command("pipelines.train", *flags(), "--out", out).refused_in_one_sentence()
    assert "another process has just started a run" in sentence
    assert contents(out) == contents(copied_run.path)


def test_a_folder_that_replaces_another_is_told_from_it_even_with_the_same_inode(tiny_run, tmp_path):
    """File systems hand the inode of a removed folder to the next one."""
    for _ in range(5):
        run = Run(shutil.copytree(tiny_run.path, tmp_path / "run"))
        claim = RunClaim(run)
        claim.take()
        shutil.rmtree(run.path)
        shutil.copytree(tiny_run.path, run.path)
        with pytest.raises(ValueError, match="replaced"):
            claim.check()
        shutil.rmtree(run.path)


KILLED = """
import os, sys
from pipelines.storage.claim import RunClaim
RunClaim.describe = lambda *_: os._exit(9)  # as by kill -9 before config.json is written
import pipelines.train as train
from pipelines.common.command_line import run_command
run_command(train.Train, train.main, "pipelines.train", train.defaults_for)
"""


def test_a_run_that_was_killed_before_it_began_can_be_started_again(shell, command, flags, tmp_path, forked):
    out = tmp_path / "run"
    assert shell("-c", KILLED, *flags(steps=2), "--out", out).code == 9
    assert set(contents(out)) >= {PROCESS}
    sentence = command("pipelines.train", "--resume", out).refused_in_one_sentence()
    assert f"start one with its settings and --out {out}" in sentence
    assert command("pipelines.train", *flags(steps=2), "--out", out).code == 0
    assert Run(out).has_weights


def test_what_is_not_a_dead_beginning_is_not_free(tmp_path):
    folder = tmp_path / "run"
    assert is_free(folder)
    (folder / "state").mkdir(parents=True)
    assert is_free(folder)
    for name in ("notes.txt", CONFIG, "state/notes.txt", "samples/step-00000001.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
        assert not is_free(folder), name
        (folder / name).unlink()
    RunClaim(Run(folder)).take()  # by a process that lives
    assert not is_free(folder)
    (tmp_path / "file").write_text("mine")
    assert not is_free(tmp_path / "file")
