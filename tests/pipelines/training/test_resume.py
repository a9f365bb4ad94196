"""Exact resume: a run that was stopped or killed logs what one that never stopped logs, bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from dataclasses import replace
from functools import cache

import pytest
import torch

from pipelines.storage.config import Change, config_from_json, config_to_json
from pipelines.storage.publishing import model_card
from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors, write_tensors

KILLS = 2  # of the test with kill -9: before anything has been saved, and later
KILL_SETTINGS = {"steps": 180, "log_every": 1, "eval_every": 60, "sample_every": 90, "save_every": 60, "schedule": "linear"}


def _assert_same_weights(one: Run, other: Run) -> None:
    mine, theirs = read_tensors(one.model_path)[0], read_tensors(other.model_path)[0]
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def _files(run: Run) -> set[str]:
    """The files of a run, but for what a command leaves: its outcome for whoever launched it, and curves."""
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    return names - {"state/progress.json", "state/outcome.json", "curves.png"}


def _assert_equal_runs(resumed: Run, whole: Run, logged) -> None:
    assert logged(resumed.path) == logged(whole.path)
    _assert_same_weights(resumed, whole)
    assert _files(resumed) == _files(whole)
    assert resumed.config == whole.config
    for step, path in whole.samples().items():
        assert _pixels(resumed.samples()[step]) == _pixels(path)


def _pixels(path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return image.tobytes()


@pytest.fixture
def interrupted(make_trainer, small_config):
    """Trains until SIGTERM arrives in the middle of the given steps, resuming after each."""

    def run_it(out, stops, **changes):
        config = small_config(**changes)
        for stop in [*stops, None]:
            trainer = make_trainer(out, Run(out).config if (out / "config.json").exists() else config)
            step_once = trainer.train_step

            def step_and_signal(trainer=trainer, step_once=step_once, stop=stop):
                step_once()
                if trainer.step == stop:
                    signal.raise_signal(signal.SIGTERM)

            trainer.train_step = step_and_signal
            assert trainer.fit() is (stop is None)
            assert trainer.interrupted is (stop is not None)
            assert stop is None or trainer.step == stop
        return trainer.run

    return run_it


VARIANTS = {
    "bf16": {"precision": "bf16"},
    "attention, accumulated": {"unet": "attention", "attention_levels": (0, 1), "accumulation": 4},
    "EDM, learned weights, a density": {
        **{"prediction": "edm", "weighting": "learned", "timestep_density": "log_normal", "accumulation": 2},
    },
    "flow, constant rate, logs that straddle saves, a batch larger than the data": {
        **{"schedule": "flow", "prediction": "flow", "lr_schedule": "constant"},
        **{"log_every": 5, "save_every": 3, "eval_every": 7, "sample_every": 11},
        "batch_size": 50,
    },
}


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """Return a function that returns a run of these settings that never stopped, trained once for all tests."""

    @cache
    def make(**changes):
        return train(tmp_path_factory.mktemp("whole") / "run", **changes)

    return make


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_stopping_between_saves_and_resuming_changes_nothing(train, interrupted, logged, tmp_path, changes):
    settings = {"steps": 14} | changes  # grids after 11 or 12; the stops are before, at and after lines of the log
    whole = train(tmp_path / "whole", **settings)
    resumed = interrupted(tmp_path / "resumed", [1, 9, 10], **settings)
    _assert_equal_runs(resumed, whole, logged)


def test_more_steps_and_another_rate_hold_from_the_resume_on(command, train, logged, whole, tmp_path):
    """With a constant rate, more steps alone continue as if they had been asked for at first; both changes are recorded."""
    settings = {"lr_schedule": "constant", "steps": 12}
    run = train(tmp_path / "run", **settings)
    assert command("pipelines.train", "--resume", run.path, "--steps", 18).code == 0
    longer = whole(**settings | {"steps": 18})
    assert [row["loss"] for row in logged(run.path)] == [row["loss"] for row in logged(longer.path)]
    assert command("pipelines.train", "--resume", run.path, "--steps", 20, "--lr", 1e-4).code == 0
    assert logged(run.path)[-1]["lr"] == 1e-4
    assert run.config.optimizer == replace(longer.config.optimizer, steps=20, lr=1e-4)
    assert run.config.changes == (Change(12, "steps", 12, 18), Change(18, "steps", 18, 20), Change(18, "lr", 1e-3, 1e-4))
    assert "- lr was changed from 0.001 to 0.0001 after step 18" in model_card(run, "run", 1)
    assert config_from_json(config_to_json(run.config)) == run.config


def test_a_signal_in_the_last_step_still_finishes_the_run(make_trainer, whole, logged, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    write_samples = trainer.write_samples

    def write_and_signal():
        write_samples()
        if trainer.step == 12:
            signal.raise_signal(signal.SIGINT)

    trainer.write_samples = write_and_signal
    assert trainer.fit()
    _assert_equal_runs(trainer.run, whole(), logged)


def test_weights_without_a_state_are_not_trained_over(command, copied_run, logged):
    """A regression: resuming a run without a state, as published runs are, deleted its log and weights."""
    shutil.rmtree(copied_run.path / "state")
    log, weights = logged(copied_run.path), copied_run.fingerprint
    done = command("pipelines.train", "--resume", copied_run.path)
    assert done.code == 2
    assert "has weights but no state/state.safetensors to continue from" in done.error
    assert (logged(copied_run.path), copied_run.fingerprint) == (log, weights)


def test_resuming_a_finished_run_changes_nothing(train, copied_run, tiny_run, logged):
    before = copied_run.fingerprint
    resumed = train(copied_run.path, copied_run.config)
    assert resumed.fingerprint == before
    assert logged(resumed.path) == logged(tiny_run.path)


@pytest.mark.parametrize("last_save", [False, True], ids=["in the middle", "at the end"])
def test_a_kill_between_the_state_and_the_weights_of_one_save_loses_nothing(
    make_trainer, train, whole, logged, tmp_path, monkeypatch, last_save
):
    trainer = make_trainer(tmp_path / "run")
    write_model = Run.write_model

    class _Killed(BaseException):
        pass

    def killed_before_the_weights(self, weights, config):
        if trainer.step == (12 if last_save else 8):
            raise _Killed
        write_model(self, weights, config)

    monkeypatch.setattr(Run, "write_model", killed_before_the_weights)
    with pytest.raises(_Killed):
        trainer.fit()
    monkeypatch.undo()
    resumed = train(tmp_path / "run", Run(tmp_path / "run").config)
    _assert_equal_runs(resumed, whole(), logged)


@pytest.mark.parametrize("call", range(7))
def test_a_kill_around_any_file_that_is_written_loses_nothing(make_trainer, train, whole, logged, tmp_path, monkeypatch, call):
    """This run writes seven files whole: state and weights twice, its configuration or grids between them."""
    settings = {"steps": 8, "save_every": 4, "sample_every": 8}
    written = []

    class _Killed(BaseException):
        pass

    fsync = os.fsync

    def killed_before_the_rename(descriptor):
        written.append(descriptor)
        if len(written) == call + 1:
            raise _Killed
        fsync(descriptor)

    trainer = make_trainer(tmp_path / "run", **settings)
    monkeypatch.setattr(os, "fsync", killed_before_the_rename)
    with contextlib.suppress(_Killed):
        trainer.fit()
    monkeypatch.undo()
    resumed = train(tmp_path / "run", Run(tmp_path / "run").config)
    _assert_equal_runs(resumed, whole(**settings), logged)


def test_what_was_logged_after_the_last_save_is_written_anew(train, whole, logged, tmp_path):
    half = Run(shutil.copytree(whole().path, tmp_path / "resumed"))
    rows = (half.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half.path / "metrics.jsonl").write_text("".join([*rows, '{"step": 14, "loss": 0.1}\n', '{"step": 16, "lo']))
    resumed = train(half.path, half.config)
    assert logged(resumed.path) == logged(whole().path)


def test_kill_minus_nine_at_any_moment_loses_nothing(start, train, flags, wait_for, logged, tmp_path, forked, usual_grids):
    whole = train(tmp_path / "whole", **KILL_SETTINGS)
    run = Run(tmp_path / "killed")
    log = run.path / "metrics.jsonl"
    moments = random.Random(0)
    for kill in range(KILLS):
        resumable = (run.path / "config.json").is_file()
        arguments = ["--resume", run.path] if resumable else [*flags(**KILL_SETTINGS), "--out", run.path]
        lines = log.read_text().count("\n") if log.is_file() else 0
        process = start("-m", "pipelines.train", *arguments)

        def has_logged(process=process, lines=lines):
            return process.poll() is not None or (log.is_file() and log.read_text().count("\n") not in (0, lines))

        wait_for(has_logged)
        if kill > 0:  # the first one comes before anything has been saved
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0, 0.8))
        process.kill()
        process.communicate()
        if kill == 0:
            assert not run.has_weights
        if run.has_weights:
            assert all(bool(tensor.isfinite().all()) for tensor in read_tensors(run.model_path)[0].values())
        if (run.path / "state" / "state.safetensors").is_file():
            progress = json.loads(read_tensors(run.path / "state" / "state.safetensors")[1]["progress"])
            assert progress["step"] % KILL_SETTINGS["save_every"] == 0
        run.metrics()
    resumed = train(run.path, run.config)
    _assert_equal_runs(resumed, whole, logged)


HALF_WRITTEN = """
import os, resource, signal, sys
from pathlib import Path
import torch
from pipelines.storage.layout import STATE
from pipelines.storage.run import Run
from pipelines.storage.weights import write_tensors
run = Run(sys.argv[1])
tensors = {"x": torch.zeros(30_000)}
for path in (run.path / STATE, run.model_path):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel then kills whoever writes beyond the limit
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        write_tensors(path, tensors, {})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGXFSZ
"""


def test_a_kill_in_the_middle_of_writing_a_file_leaves_no_litter(shell, train, whole, logged, tmp_path, forked):
    run = Run(shutil.copytree(whole().path, tmp_path / "killed"))
    done = shell("-c", HALF_WRITTEN, run.path)
    assert done.code == 0, done.error
    assert len(_files(run)) > len(_files(whole()))  # what the kills left behind
    resumed = train(run.path, run.config)
    _assert_equal_runs(resumed, whole(), logged)


# --- a state that cannot be used


def _cast(name):
    return lambda tensors: tensors.update({name: tensors[name].bfloat16()})


DAMAGES = {
    "a NaN in the average": lambda tensors: tensors["ema.stem.weight"].view(-1)[0].fill_(torch.nan),
    "an infinite number in the network": lambda tensors: tensors["network.stem.bias"].fill_(torch.inf),
    "a NaN in the optimiser": lambda tensors: tensors["optimizer.exp_avg_sq.stem.weight"].fill_(torch.nan),
    "no average of a weight": lambda tensors: tensors.pop("ema.stem.weight"),
    "no weight": lambda tensors: tensors.pop("network.stem.weight"),
    "no step of the optimiser": lambda tensors: tensors.pop("optimizer.step.stem.weight"),
    "no moment of the optimiser": lambda tensors: tensors.pop("optimizer.exp_avg.stem.weight"),
    "one tensor more": lambda tensors: tensors.update(more=torch.ones(2)),
    "another shape": lambda tensors: tensors.update({"network.stem.weight": torch.ones(2, 2)}),
    "another shape of a moment": lambda tensors: tensors.update({"optimizer.exp_avg.stem.weight": torch.ones(2, 2)}),
    "another type": _cast("ema.stem.weight"),
    "another type of a moment": _cast("optimizer.exp_avg_sq.stem.weight"),
}
POINTS = ["", "[]", "{}", "[" * 20_000]
REST = '"seconds": 0, "losses": [1], "grad_norms": [1]}'
POINTS += ['{"step": null, ' + REST, '{"step": -1, ' + REST, '{"step": 3, ' + REST.replace("[1]", "[NaN]")]


def test_a_damaged_state_is_refused_in_one_sentence_and_nothing_is_lost(make_trainer, copied_run):
    """A regression: the weights were written before they were checked, and a finished run ended without any check."""
    from safetensors.torch import save

    state = copied_run.path / "state" / "state.safetensors"
    whole, (tensors, metadata) = state.read_bytes(), read_tensors(state)
    torch.save({"step": 3}, state)
    damaged = {"truncated": whole[:-1000], "empty": b"", "pickle": state.read_bytes()}
    for name, damage in DAMAGES.items():
        changed = {key: tensor.clone() for key, tensor in tensors.items()}
        damage(changed)
        damaged[name] = save(changed, metadata)
    damaged |= {point[:60]: save(tensors, {"progress": point}) for point in POINTS}
    damaged["another program's"] = save({"x": torch.ones(2)})
    others = {name: (copied_run.path / name).read_bytes() for name in _files(copied_run) - {"state/state.safetensors"}}
    for name, content in damaged.items():
        state.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.safetensors cannot be resumed from: ") as refusal:
            make_trainer(copied_run.path, copied_run.config)
        assert f"train a new run (--init-from {copied_run.path} starts from its weights)" in str(refusal.value), name
        assert "\n" not in str(refusal.value), name
        assert state.read_bytes() == content, name
        assert {name: (copied_run.path / name).read_bytes() for name in others} == others, name
    state.write_bytes(whole)
    assert make_trainer(copied_run.path, copied_run.config).step == 24


def test_the_way_forward_from_a_damaged_state_works(command, flags, copied_run, tmp_path):
    tensors, metadata = read_tensors(copied_run.path / "state" / "state.safetensors")
    tensors["ema.stem.weight"].fill_(torch.nan)
    write_tensors(copied_run.path / "state" / "state.safetensors", tensors, metadata)
    sentence = command("pipelines.train", "--resume", copied_run.path).refused_in_one_sentence()
    assert "ema.stem.weight contains NaN or infinite numbers" in sentence
    assert f"--init-from {copied_run.path}" in sentence
    settings = {"data": copied_run.config.data.data, "steps": 1, "batch_size": 8, "precision": "no"}
    arguments = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = command("pipelines.train", *arguments, "--init-from", copied_run.path, "--out", tmp_path / "new")
    assert done.code == 0, done.error
    weights, metadata = read_tensors(copied_run.model_path)
    not_finite = weights | {"stem.weight": weights["stem.weight"] * torch.nan}
    broken = {"contain NaN": not_finite, "do not fit": {"stem": weights["stem.bias"]}}
    for words, tensors in broken.items():
        write_tensors(copied_run.model_path, tensors, metadata)
        done = command("pipelines.train", *arguments, "--init-from", copied_run.path, "--out", tmp_path / "another")
        assert words in done.refused_in_one_sentence()
        assert not (tmp_path / "another").exists()


def test_damaged_weights_of_a_finished_run_are_restored_from_its_state(command, copied_run):
    fingerprint = copied_run.fingerprint
    weights, metadata = read_tensors(copied_run.model_path)
    write_tensors(copied_run.model_path, {name: tensor * torch.nan for name, tensor in weights.items()}, metadata)
    assert command("pipelines.train", "--resume", copied_run.path).code == 0
    assert copied_run.fingerprint == fingerprint


def test_resume_from_the_command_line(command, whole, flags, logged, tmp_path):
    first = command("pipelines.train", *flags(), "--out", tmp_path / "run", "--time-limit", 0)
    assert first.code == 0
    assert "stopped at step 1;" in first.output
    again = command("pipelines.train", "--resume", tmp_path / "run")
    assert again.code == 0, again.error
    assert "finished" in again.output
    _assert_equal_runs(Run(tmp_path / "run"), whole(), logged)
