"""Runs are found by folder, file and name; what cannot be read hides none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipelines.storage import runs
from pipelines.storage.files import ROOT, write_text
from pipelines.storage.run import Run
from pipelines.storage.runs import find_run, find_runs


def test_links_and_odd_names_are_the_runs_own(tmp_path, tiny_run):
    """Also if the folders they lead to are all called alike; bytes that are no text are replaced."""
    for number in range(4):
        shutil.copytree(tiny_run.path, tmp_path / f"elsewhere{number}" / "checkpoint")
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / f"exp{number}").symlink_to(tmp_path / f"elsewhere{number}" / "checkpoint")
    write_text(tmp_path / "runs" / os.fsdecode(b"odd-\xff") / "config.json", "{}")
    assert [run.name for run in find_runs(tmp_path / "runs")] == ["exp0", "exp1", "exp2", "exp3", "odd-\ufffd"]


def test_what_cannot_be_entered_hides_no_other_run(tmp_path, monkeypatch, tiny_run):
    shutil.copytree(tiny_run.path, tmp_path / "whole")
    for name in ("closed", ".closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "config.json")
    real = os.stat

    def stat(path, *args, **kwargs):  # the tests may run as root, who may enter everything
        if "closed/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    closed, whole = find_runs(tmp_path)
    assert (closed.name, whole.name) == ("closed", "whole")
    assert not closed.has_weights
    with pytest.raises(PermissionError):
        _ = closed.config
    assert whole.config == tiny_run.config


def test_an_empty_variable_does_not_make_the_working_directory_the_folder_of_runs(forked):
    code = "from pipelines.storage.runs import PRIVATE, ROOT; print(PRIVATE == ROOT / 'runs')"
    environment = os.environ | {"NOISESCOPE_RUNS": ""}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=ROOT, text=True) == "True\n"


def test_find_runs_lists_folders_of_both_kinds_by_name(tmp_path, tiny_run):
    shutil.copytree(tiny_run.path, tmp_path / "b-whole")
    write_text(tmp_path / "a-young" / "config.json", "{}")
    (tmp_path / "c-published").mkdir()
    shutil.copy(tiny_run.model_path, tmp_path / "c-published" / "model.safetensors")
    (tmp_path / "empty").mkdir()
    write_text(tmp_path / "pictures" / "grid.png", "")
    write_text(tmp_path / "config.json", "{}")
    found = find_runs(tmp_path, tmp_path / "missing", tmp_path / "config.json")
    assert [run.name for run in found] == ["a-young", "b-whole", "c-published"]
    assert [run.has_weights for run in found] == [False, True, True]
    assert find_runs(tmp_path / "missing") == []
    assert found[2].config == found[1].config
    assert found[1] == Run(tmp_path / "b-whole")
    assert len({*found, *find_runs(str(tmp_path))}) == 3


def test_find_run_knows_folders_files_and_names_of_both_roots(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "checkpoints")
    monkeypatch.setattr(runs, "PRIVATE", tmp_path / "runs")
    write_text(tmp_path / "checkpoints" / "one" / "config.json", "{}")
    write_text(tmp_path / "runs" / "two" / "config.json", "{}")
    assert find_run("one").path == tmp_path / "checkpoints" / "one"
    assert find_run("two").path == tmp_path / "runs" / "two"
    assert find_run(tmp_path / "runs" / "two").name == "two"
    with pytest.raises(ValueError, match="no run at 'three'") as refusal:
        find_run("three")
    assert "checkpoints/one" in str(refusal.value)
    assert "runs/two" in str(refusal.value)


def test_a_run_that_a_recipe_makes_is_refused_with_its_command(tmp_path, monkeypatch):
    """What a shipped model started from need not be shipped; its recipe is."""
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="no run at 'fashion-text-names': train it first") as refusal:
        find_run("fashion-text-names")
    assert "python -m pipelines.train --recipe fashion-text-names" in str(refusal.value)


def test_find_run_without_any_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "checkpoints")
    monkeypatch.setattr(runs, "PRIVATE", tmp_path / "runs")
    with pytest.raises(ValueError, match="none yet"):
        find_run("three")
