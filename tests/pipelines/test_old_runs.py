"""Runs that earlier versions wrote are read for ever: one small run of each format is kept in ``runs/``.

Beside each lies what that version made of it: the fingerprint, and the samples of one request.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipelines.publish import Publish, main
from pipelines.runs import Run
from pipelines.sample import SamplingRequest, load_model, sample
from pipelines.storage.config import FORMAT
from pipelines.storage.weights import read_tensors

RUNS = Path(__file__).parent / "runs"
OLD = sorted(path for path in RUNS.iterdir() if path.is_dir())


@pytest.fixture(params=OLD, ids=[path.name for path in OLD])
def old(request):
    """An old run, and what was recorded of it."""
    return Run(request.param), json.loads(request.param.with_name(f"{request.param.name}-samples.json").read_text())


def _samples(path, request) -> torch.Tensor:
    *_, step = sample(load_model(path, dtype=torch.float32, device="cpu"), SamplingRequest(**request))
    return step.x.flatten()


def test_there_are_old_runs():
    assert OLD


def test_an_old_run_samples_what_it_always_did(old, tmp_path):
    run, recorded = old
    assert run.fingerprint == recorded["fingerprint"]
    assert not run.metrics().empty
    assert run.samples()
    lone_file = Run(shutil.copyfile(run.model_path, tmp_path / "alone.safetensors"))
    assert lone_file.config == run.config
    torch.testing.assert_close(_samples(run, recorded["request"]), torch.tensor(recorded["samples"]), atol=1e-4, rtol=0)


def test_an_old_run_is_published_in_the_format_of_today(old, tmp_path):
    run, recorded = old
    assert main(Publish(run.path, tmp_path / "published")) == 0
    published = Run(tmp_path / "published")
    assert published.config == run.config
    assert json.loads((published.path / "config.json").read_text())["format"] == FORMAT
    weights, original = read_tensors(published.model_path)[0], read_tensors(run.model_path)[0]
    assert all(torch.equal(weights[name], original[name].bfloat16()) for name in original)
    assert "--unet class" in (published.path / "README.md").read_text()
    rounded = _samples(published, recorded["request"]) - torch.tensor(recorded["samples"])
    assert rounded.abs().max() < 0.1
