"""What the commands share: one sentence instead of a traceback, exit codes, and help that comes at once."""

from __future__ import annotations

import ast
import errno
import importlib
import os
import re
import sys
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from pipelines.common.command_line import DONE, INTERRUPTED, REFUSED, describe, run_command
from pipelines.common.settings import Between, rules

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class _Arguments:
    """Nothing but a number."""

    number: int = 3
    """Any number."""
    fast: bool = False
    """Whether to hurry."""


def _run(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    return run_command(_Arguments, main, "pipelines.program")


def _raise(error):
    raise error


def test_exit_codes_of_the_design():
    assert (DONE, REFUSED, INTERRUPTED) == (0, 2, 130)


def test_arguments_reach_the_program(monkeypatch):
    seen = []
    assert _run(monkeypatch, lambda parsed: seen.append(parsed) or 7, "--number", "5", "--fast", "True") == 7
    assert seen == [_Arguments(5, True)]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("steps=0: choose\n  1 or more"), "steps=0: choose 1 or more"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "there"), "no such file or directory: there"),
        (PermissionError(errno.EACCES, "Permission denied", "/secret"), "permission denied: /secret"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "is a directory"),
        (OSError("it could not be written"), "it could not be written"),
    ],
)
def test_a_refusal_is_one_sentence_on_stderr(monkeypatch, capsys, error, sentence):
    assert _run(monkeypatch, lambda _: _raise(error)) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {sentence}\n"
    assert captured.out == ""


@pytest.mark.parametrize("where", [None, "runs/mine/model.safetensors"])
def test_a_full_disk_says_what_to_do(where):
    sentence = describe(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where))
    assert sentence.startswith("the disk is full")
    assert "free some space" in sentence
    assert (where in sentence) if where else ("None" not in sentence)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(), OSError()])
def test_an_error_without_words_still_gets_some(error):
    assert describe(error).strip()


TRIED = {"train": ("--seed", 0), "sample run": ("--num-images", 1), "evaluate run": ("--steps", 1), "publish a b": ("--ema", 1)}


@pytest.mark.parametrize("program", TRIED)
def test_what_is_no_such_number_is_refused_with_the_range(command, program):
    name, *words = program.split()
    flag, least = TRIED[program]
    for number, given in enumerate(["1e400", "nan", "1.5", "two", "9" * 5000, "-1", str(2**64)]):
        asked = [f"{flag}={given}"] if number % 2 else [flag, given]
        refusal = command(f"pipelines.{name}", *words, *asked).refused_in_one_sentence()
        if (flag, given) == ("--steps", str(2**64)):  # how many there may be is for the model to say
            assert "run" in refusal
            continue
        assert refusal.replace("_", "-").removeprefix("--").startswith(flag.removeprefix("--"))
        assert given[:100] in refusal
        assert f": choose a whole number from {least} to" in refusal or f": choose a whole number of {least} or more" in refusal


@pytest.mark.parametrize("program", ["train Train", "sample Sample", "evaluate Evaluate", "publish Publish"])
def test_every_whole_number_has_a_range(program):
    """So that none reaches a library that cannot hold it."""
    module, kind = program.split()

    def unbounded(settings):
        for name, hint in get_type_hints(settings, include_extras=True).items():
            if isinstance(hint, type) and is_dataclass(hint):
                yield from unbounded(hint)
            elif (
                re.search(r"\bint\b", str(hint))
                and "Suppress" not in str(hint)
                and not isinstance(rules(settings).get(name), Between)
            ):
                yield name

    assert list(unbounded(getattr(importlib.import_module(f"pipelines.{module}"), kind))) == []


@dataclass(frozen=True)
class _Paths:
    """Paths."""

    out: Path
    """Where to write."""
    runs: tuple[Path, ...] = ()
    """What to read."""
    mask: Path | None = None
    """May be left out."""


def test_a_path_may_begin_with_the_home_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~odd").touch()
    seen = []
    arguments = ["--out=~/a b", "--runs", "~/x", "~", "c/~/d", "~odd"]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    assert run_command(_Paths, lambda parsed: seen.append(parsed) or 0, "pipelines.program") == 0
    assert seen == [_Paths(tmp_path / "a b", (tmp_path / "x", tmp_path, Path("c/~/d"), Path("~odd")))]
    monkeypatch.setattr(sys, "argv", ["program", "--out=~nobody-here/x"])
    assert run_command(_Paths, _raise, "pipelines.program") == 2
    assert "there is no user 'nobody-here' with a home folder" in capsys.readouterr().err


def test_an_interruption_is_130(monkeypatch):
    assert _run(monkeypatch, lambda _: _raise(KeyboardInterrupt())) == 130


@pytest.mark.parametrize("arguments", [["--number", "many"], ["--colour", "red"], ["--number"], ["extra"]])
def test_a_wrong_command_line_is_2(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        _run(monkeypatch, lambda _: 0, *arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.err
    assert captured.out == ""


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        _run(monkeypatch, lambda _: 1 // 0)


HEAVY = ("torch", "torchvision", "datasets", "accelerate", "transformers", "diffusers", "streamlit")
HELP = """
import sys, importlib, runpy
rooms = ("common.command_line", "common.images", "storage.config", "storage.runs", "datasets.image_sets", "sampling.queue")
for name in (*rooms, "runs", "sample", "train"):
    importlib.import_module(f"pipelines.{name}")
sys.argv = ["program", "--help"]
for program in ("pipelines.train", "pipelines.sample"):
    del sys.modules[program]
    try:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        assert not stop.code, stop.code
print("LOADED", [name for name in %r if name in sys.modules])
"""


def test_help_and_imports_do_not_load_torch(shell):
    done = shell("-c", HELP % (HEAVY,))
    assert done.code == 0, done.error
    assert "LOADED []" in done.output
    for flag in ("--resume", "--time-limit", "--tracker", "--unet", "--precision", "--num-images", "--sampler", "--spacing"):
        assert flag in done.output
    assert "image-shape" not in done.output  # written by training, not asked for


@pytest.mark.parametrize("folder", ["pipelines", "unets", "diffusion_core"])
def test_imports_run_one_way(folder):
    above = {
        "pipelines": {"pages"},
        "unets": {"pages", "pipelines", "diffusion_core"},
        "diffusion_core": {"pages", "pipelines", "unets"},
    }
    for file in sorted((ROOT / folder).rglob("*.py")):
        imported = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.split(".")[0])
        assert not imported & (above[folder] | {"streamlit"}), file
