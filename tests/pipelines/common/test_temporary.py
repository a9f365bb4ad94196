"""Temporary files: what a killed process has left is removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipelines.common.temporary import is_temporary, remove_leftovers, temporary_path


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(process, path):
    """Write a temporary file as another process would have."""
    name = temporary_path(path).name.replace(f"-{os.getpid()}-", f"-{process}-")
    path.with_name(name).write_text("half")
    return path.with_name(name)


def test_only_files_of_dead_processes_with_our_names_are_removed(dead, tmp_path):
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    leftover, live, own = (left_by(pid, tmp_path / "model") for pid in (dead, alive.pid, os.getpid()))
    names = [
        "notes.tmp-draft",
        "holiday.tmp-2024",
        f"thesis.tmp-{dead}",
        f"a.tmp-{dead}-12345678.pdf",
        f"b.tmp-{dead}-XYZ12345",
    ]
    kept = [tmp_path / name for name in names]
    for path in kept:
        path.write_text("mine")
    folder, link = left_by(dead, tmp_path / "folder"), left_by(dead, tmp_path / "link")
    folder.unlink()
    folder.mkdir()
    link.unlink()
    link.symlink_to(kept[0])
    reused = left_by(os.getpid(), tmp_path / "model")  # by an earlier process with this one's id, as in a container
    os.utime(reused, (1, 1))
    remove_leftovers(tmp_path, tmp_path / "missing")
    assert set(tmp_path.iterdir()) == {live, own, *kept, folder, link}
    assert not leftover.exists()
    alive.communicate()
    remove_leftovers(tmp_path)
    assert not live.exists()
    assert not any(is_temporary(path) for path in kept)


@pytest.mark.parametrize("program", ["train", "sample", "evaluate"])
def test_every_command_removes_its_own(command, copied_run, judge, dead, tmp_path, program):
    out = tmp_path / "samples"
    folders = {"train": ("", "state", "samples"), "sample": ("", "images"), "evaluate": ("",)}[program]
    root = out if program == "sample" else copied_run.path
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    litter = [left_by(dead, root / name / "file.png") for name in folders]
    (root / "mine.tmp-1").mkdir()
    limits = ("--features", judge, "--num-images", 10, "--held-out-images", 10, "--likelihood-images", 0, "--steps", 1)
    arguments = {
        "train": ("--resume", root),
        "sample": (copied_run.path, "--num-images", 1, "--steps", 1, "--out", out),
        "evaluate": (root, *limits, "--reference-images", 10),
    }[program]
    done = command(f"pipelines.{program}", *arguments)
    assert done.code == 0, done.error
    assert not any(path.exists() for path in litter)
    assert (root / "mine.tmp-1").is_dir()
    shutil.rmtree(root)
