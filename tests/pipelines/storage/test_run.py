"""The run folder: whole files or none, torn logs read, and nothing ever unpickled."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.common.command_line import describe
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import RunConfig
from pipelines.storage.files import atomic, write_text
from pipelines.storage.run import NEWEST, Run
from pipelines.storage.runs import find_run
from pipelines.storage.weights import read_tensors, write_tensors
from pipelines.train import Train, choose_run

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}


@contextmanager
def _file_size_limit(size: int):
    """Let no file grow beyond ``size`` bytes: the operating system itself then refuses to write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _no_space(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _pixels(model) -> torch.Tensor:
    *_, last = sample(model, SamplingRequest(num_images=3, steps=4))
    return last.x


# --- whole or not at all


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def stop_half_way():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stop_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new folder" / "file.txt"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_it_is_flushed_to_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("replace"), replace(self, target))[1])
    write_text(tmp_path / "file", "text")
    assert events[:2] == ["fsync", "replace"]


def test_a_full_disk_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left") as full:
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    sentence = describe(full.value)
    assert sentence.startswith("the disk is full")
    assert "free some space" in sentence
    assert "\n" not in sentence


def test_a_full_disk_leaves_the_old_weights(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_tensors(path, WEIGHTS, {"config": "old"})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left") as refusal:
        write_tensors(path, WEIGHTS, {"config": "new"})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert describe(refusal.value).startswith(f"the disk is full while writing {path}")


def test_a_refusal_by_the_operating_system_leaves_the_old_files(tmp_path):
    run = Run(tmp_path / "run")
    run.write_config(RunConfig())
    run.write_model(WEIGHTS, RunConfig())
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    large = {"a": torch.zeros(100_000)}
    with _file_size_limit(4096):
        with pytest.raises(OSError, match="too large") as tensors:
            run.write_model(large, RunConfig())
        with pytest.raises(OSError, match="too large") as text:
            write_text(run.path / "config.json", "x" * 100_000)
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before
    for error in (tensors.value, text.value):
        assert "\n" not in describe(error)
        assert "too large" in describe(error)


def test_a_log_line_on_a_full_disk_is_one_sentence(tmp_path):
    run = Run(tmp_path)
    run.append_metrics({"step": 1, "loss": 1.0})
    with _file_size_limit((tmp_path / "metrics.jsonl").stat().st_size), pytest.raises(OSError, match="too large") as refusal:
        run.append_metrics({"step": 2, "loss": 1.0})
    assert "\n" not in describe(refusal.value)
    assert run.metrics()["step"].tolist() == [1]


def test_weights_can_be_read_by_whoever_can_read_the_configuration(tmp_path):
    run = Run(tmp_path)
    run.write_config(RunConfig())
    run.write_model(WEIGHTS, RunConfig())
    assert oct(run.model_path.stat().st_mode) == oct((tmp_path / "config.json").stat().st_mode)


# --- the log


def test_metrics_of_a_run_without_a_log_are_empty(tmp_path):
    assert Run(tmp_path).metrics().empty
    assert Run(tmp_path / "nowhere").metrics().empty
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1')
    assert Run(tmp_path).metrics().empty


def test_metrics_come_back_with_their_values(tmp_path):
    rows = [{"step": step, "loss": 1 / (step + 3), "loss_by_timestep": [0.1, 1 / 3]} for step in range(5)]
    run = Run(tmp_path)
    for row in rows:
        run.append_metrics(row)
    table = run.metrics()
    assert table["step"].tolist() == list(range(5))
    np.testing.assert_allclose(table["loss"], [row["loss"] for row in rows], rtol=1e-12)
    assert table["loss_by_timestep"].tolist()[2] == pytest.approx([0.1, 1 / 3])


def test_the_newest_metrics_are_those_of_the_whole_log(tmp_path):
    """Also of a long log, of which only the end is read, and among lines that are none."""
    run = Run(tmp_path)
    assert run.newest_metrics() == {}
    rows = ({"step": step, "loss": step / 3} | ({"val_loss": step / 7} if step % 10 == 0 else {}) for step in range(30_000))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '42\nnull\n{"step": 1')
    assert (tmp_path / "metrics.jsonl").stat().st_size > NEWEST
    table, newest = run.metrics(), run.newest_metrics()
    assert newest == {"step": 29_999, "loss": table["loss"].iloc[-1], "val_loss": table["val_loss"].dropna().iloc[-1]}


@pytest.mark.parametrize("torn", [b'{"step": 3', b'{"step": 3, "loss": 0.1}', b"\xe2\x80", b"{"])
def test_a_torn_last_line_is_skipped(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n' + torn)
    assert Run(tmp_path).metrics()["step"].tolist() == [1, 2]


GARBAGE = [b"garbage", b"", b"42", b"[1, 2]", b"null", b'"text"', b"NaN", b"\xff\xfe", b"\x00" * 40, b'{"step": 3{"step": 4}']


@pytest.mark.parametrize("garbage", GARBAGE)
def test_foreign_lines_are_skipped(tmp_path, garbage):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 0.5}\n' + garbage + b'\n{"step": 2, "loss": 0.25}\n')
    table = Run(tmp_path).metrics()
    assert table["loss"].tolist() == [0.5, 0.25]
    assert table["step"].tolist() == [1, 2]


@pytest.mark.parametrize("garbage", [*GARBAGE, b'{"step": 9', b'{"step": null}', b'{"step": "9"}'])
def test_truncating_drops_later_steps_and_unreadable_lines(tmp_path, garbage):
    rows = [{"step": step, "loss": 1 / (step + 3)} for step in range(1, 6)]
    lines = [json.dumps(row).encode() for row in rows]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*lines[:2], garbage, *lines[2:], b'{"step": 3, "lo']))
    run = Run(tmp_path)
    run.truncate_metrics(3)
    kept = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in kept if row in rows] == rows[:3]
    assert len(kept) == 3
    run.append_metrics(rows[3])
    assert run.metrics()["step"].tolist() == [1, 2, 3, 4]


def test_truncating_a_run_without_a_log_does_nothing(tmp_path):
    Run(tmp_path).truncate_metrics(3)
    assert list(tmp_path.iterdir()) == []


def test_sample_grids_are_listed_by_step(tmp_path):
    for name in ("step-00000010.png", "step-00000002.png", "step-00000002-raw.png", "notes.png", "step-x.png"):
        write_text(tmp_path / "samples" / name, "")
    assert Run(tmp_path).samples() == {
        2: tmp_path / "samples" / "step-00000002.png",
        10: tmp_path / "samples" / "step-00000010.png",
    }
    assert list(Run(tmp_path).samples()) == [2, 10]


# --- the fingerprint


def test_the_fingerprint_does_not_change_while_the_weights_do_not(tmp_path):
    seen = set()
    for number in range(20):
        run = Run(tmp_path / str(number))
        run.write_model(WEIGHTS, RunConfig())
        seen.add(run.fingerprint)
        assert run.fingerprint == Run(str(run.path)).fingerprint == Run(run.model_path).fingerprint
    assert len(seen) == 1
    assert len(next(iter(seen))) == 16


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_fingerprint_changes_with_the_smallest_change_of_a_weight(tmp_path, name):
    run = Run(tmp_path)
    run.write_model(WEIGHTS, RunConfig())
    before = run.fingerprint
    changed = {key: value.clone() for key, value in WEIGHTS.items()}
    changed[name].view(-1)[-1] = torch.nextafter(changed[name].view(-1)[-1], torch.tensor(9.0))
    run.write_model(changed, RunConfig())
    assert run.fingerprint != before


def test_a_run_without_weights_has_no_fingerprint(tmp_path):
    with pytest.raises(ValueError, match="no weights yet"):
        _ = Run(tmp_path).fingerprint


# --- names


def test_a_trailing_slash_does_not_change_the_name(tmp_path, monkeypatch):
    write_text(tmp_path / "mine" / "config.json", "{}")
    monkeypatch.chdir(tmp_path / "mine")
    assert Run(f"{tmp_path}/mine/").name == Run(".").name == "mine"


# --- the weights


def test_a_single_file_rebuilds_the_model(tiny_run, tmp_path):
    lonely = Path(shutil.copy(tiny_run.model_path, tmp_path / "elsewhere.safetensors"))
    model = load_model(lonely)
    assert Run(lonely).name == "elsewhere"
    assert model.config == tiny_run.config
    assert model.fingerprint == tiny_run.fingerprint
    assert torch.equal(_pixels(model), _pixels(load_model(tiny_run.path)))


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _refused(run: Run) -> str:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        load_model(run.path)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert str(run.path) in sentence
    return sentence


@pytest.mark.parametrize("lonely", [False, True], ids=["with config.json", "alone"])
def test_a_renamed_pickle_is_refused_and_not_run(copied_run, tmp_path, lonely):
    trap = tmp_path / "trap"
    if lonely:
        (copied_run.path / "config.json").unlink()
    for write in (
        lambda path: torch.save({"weight": torch.ones(3), "trap": _Malicious(trap)}, path),
        lambda path: torch.save({"trap": _Malicious(trap)}, path, _use_new_zipfile_serialization=False),
        lambda path: path.write_bytes(pickle.dumps(_Malicious(trap))),
    ):
        write(copied_run.model_path)
        assert "never unpickles" in _refused(copied_run)
        assert not trap.exists()
    pickle.loads(pickle.dumps(_Malicious(trap)))  # noqa: S301  (one of its own)
    assert trap.exists()  # the trap does work


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 2000, 0.5, -1])
def test_truncated_weights_are_refused(copied_run, keep):
    content = copied_run.model_path.read_bytes()
    copied_run.model_path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    assert "truncated" in _refused(copied_run)
    (copied_run.path / "config.json").unlink()
    assert "truncated" in _refused(copied_run)


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x00" * 64, b"GIF89a" * 20, b"<html>not found</html>" * 9])
def test_other_files_under_that_name_are_refused(copied_run, content):
    copied_run.model_path.write_bytes(content)
    _refused(copied_run)


def test_weights_of_another_network_are_refused_by_name_and_shape(copied_run):
    weights, _ = read_tensors(copied_run.model_path)
    name = "stem.weight"
    for change, expected in (
        ({name: weights[name][:, :, :2]}, f"{name} should be (8, 3, 3, 3) and is (8, 3, 2, 3)"),
        ({"extra.weight": torch.ones(2)}, "extra.weight should be absent and is (2,)"),
    ):
        copied_run.write_model(weights | change, copied_run.config)
        assert expected in _refused(copied_run)
    copied_run.write_model({key: value for key, value in weights.items() if key != name}, copied_run.config)
    assert f"{name} should be (8, 3, 3, 3) and is absent" in _refused(copied_run)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(copied_run, value):
    weights, _ = read_tensors(copied_run.model_path)
    weights["stem.bias"][3] = value
    copied_run.write_model(weights, copied_run.config)
    assert "NaN or infinite numbers (first in stem.bias)" in _refused(copied_run)


def test_another_programs_safetensors_is_refused(tmp_path):
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.ones(2)}, tmp_path / "theirs.safetensors", metadata)
        with pytest.raises(ValueError, match="another program's file"):
            load_model(tmp_path / "theirs.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "theirs.safetensors", {"config": '{"model_type": "bert"}'})
    with pytest.raises(ValueError, match=r"theirs\.safetensors: model_type") as refusal:
        load_model(tmp_path / "theirs.safetensors")
    assert "\n" not in str(refusal.value)


def test_a_run_without_weights_or_configuration_says_what_is_missing(copied_run, tmp_path):
    copied_run.model_path.unlink()
    with pytest.raises(ValueError, match="run 'copied' has no weights yet"):
        load_model(copied_run)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="no run at"):
        load_model(Run(tmp_path / "nothing"))


def test_a_damaged_configuration_is_named(copied_run):
    (copied_run.path / "config.json").write_text('{"network": {"unet": "baseline"')
    assert "config.json" in _refused(copied_run)


def test_a_configuration_that_is_not_text_is_named(copied_run):
    (copied_run.path / "config.json").write_bytes(b"\xff\xfe\x00garbage")
    assert "config.json" in _refused(copied_run)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"baseline"', '"transformer"'),
        ('"flow",\n    "timesteps"', '"flaw",\n    "timesteps"'),
        ('"timesteps": 1000', '"timesteps": 0'),
        ('"prediction": "flow"', '"prediction": "score"'),
        ('"blocks_per_level": 1', '"blocks_per_level": 0'),
        ('"attention_levels": null', '"attention_levels": [0]'),
        ('"image_shape": [\n    3,', '"image_shape": [\n    0,'),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(copied_run, old, new):
    file = copied_run.path / "config.json"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"\w") as refusal:
        load_model(copied_run.path)
    assert "\n" not in str(refusal.value)


def test_the_header_carries_the_configuration(tiny_run):
    tensors, metadata = read_tensors(tiny_run.model_path)
    assert json.loads(metadata["config"]) == json.loads((tiny_run.path / "config.json").read_text())
    assert tensors.keys() == load_file(tiny_run.model_path).keys()
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())


def test_deleting_removes_the_folder(copied_run):
    copied_run.delete()
    assert not copied_run.path.exists()


def test_a_file_of_weights_is_one_whatever_the_case_of_its_name(tiny_run, tmp_path):
    file = Path(shutil.copy(tiny_run.model_path, tmp_path / "Mine.SAFETENSORS"))
    assert find_run(file).config == tiny_run.config
    assert (Run(file).name, Run(file).has_weights, Run(file).fingerprint) == ("Mine", True, tiny_run.fingerprint)
    with pytest.raises(ValueError, match="would be taken for a weights file"):
        choose_run(Train(out=tmp_path / "new.SafeTensors"))
