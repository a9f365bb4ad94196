"""Compiled networks: which calls are compiled, and that nothing but the time changes.

Most tests replace the compiler by one that runs what it is given, call by call; the last one compiles.
"""

from __future__ import annotations

import copy
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.common.images import png_bytes
from pipelines.common.memory import TensorMemory
from pipelines.models import captured
from pipelines.models.captured import CALLS_BEFORE, GRAPHS
from pipelines.models.compiled import compile_calls, is_compiled
from pipelines.models.loading import load_model
from pipelines.sampling.origins import FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from unets.baseline import BaselineUNet

CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def shapes(monkeypatch):
    """Stands for the compiler; the shapes of the states that it was given, one for each compilation."""
    given = []

    def backend(graph, inputs):
        given.extend(tuple(each.shape) for each in inputs if each.shape[1:] == (3, 8, 8))
        return graph.forward

    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=backend))
    return given


@pytest.fixture
def no_compiler(monkeypatch):
    """A machine on which compilation fails."""

    def backend(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=backend))


@pytest.fixture
def load():
    """Loads a run in float32, perhaps compiled for batches of some size."""

    def load_it(run, compiled=0):
        model = load_model(run, dtype=torch.float32)
        if compiled:
            compile_calls(model.denoiser.network, compiled)
        return model

    return load_it


def images(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "images").iterdir())]).astype(int)


def last(model, request, numbers=None, **options):
    *_, step = sample(model, request, numbers, **options)
    return step.x


def test_whole_batches_are_compiled_once_and_a_smaller_last_one_is_not(class_run, command, tmp_path, shapes):
    request = (
        "--num-images",
        11,
        "--batch-size",
        4,
        "--steps",
        6,
        "--label",
        "all",
        "--guidance",
        2,
        "--guidance-interval",
        0.3,
        0.8,
    )
    plain = command("pipelines.sample", class_run.path, *request, "--out", tmp_path / "plain")
    assert not shapes
    made = command("pipelines.sample", class_run.path, *request, "--compile", True, "--out", tmp_path / "compiled")
    assert plain.code == made.code == 0, made.error
    assert sorted(shapes) == [(4, 3, 8, 8), (8, 3, 8, 8)]  # without guidance and with it
    assert made.output.count("compiled the network in") == 2
    assert np.array_equal(images(tmp_path / "plain"), images(tmp_path / "compiled"))


def test_without_a_compiler_a_line_says_so_and_images_are_made_all_the_same(tiny_run, command, tmp_path, no_compiler):
    request = "--num-images", 5, "--batch-size", 2, "--steps", 3
    command("pipelines.sample", tiny_run.path, *request, "--out", tmp_path / "plain")
    made = command("pipelines.sample", tiny_run.path, *request, "--compile", True, "--out", tmp_path / "compiled")
    assert made.code == 0, made.error
    assert made.output.count("could not be compiled and is used uncompiled") == 1
    assert "no compiler here" in made.output
    assert np.array_equal(images(tmp_path / "plain"), images(tmp_path / "compiled"))


def test_what_is_watched_and_what_has_a_timestep_per_image_is_not_compiled(load, tiny_run, shapes, capsys):
    model = load(tiny_run, 2)
    x = torch.zeros(2, *model.state_shape)
    with torch.no_grad():
        model.denoiser(x, torch.tensor([3.0, 5.0]))
        with TensorMemory():
            model.denoiser(x, 3.0)
        assert not shapes
        assert "compiled" not in capsys.readouterr().out
        model.denoiser(x, 3.0)
        model.denoiser(x, 5.0)
    assert shapes == [(2, 3, 8, 8)]


def test_gradients_go_through_a_compiled_network(load, tiny_run, shapes):
    plain, compiled = (load(tiny_run, size) for size in (0, 2))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    mask = np.where(np.arange(8)[:, None, None] < 4, 255, 0).astype(np.uint8).repeat(8, 1)
    origin = FromPicture(png_bytes(pixels), 1.0, png_bytes(mask), guided=True)
    request = SamplingRequest(2, steps=4)
    torch.testing.assert_close(*(last(model, request, origin=origin) for model in (plain, compiled)), **CLOSE)
    assert shapes


def test_another_network_is_compiled_for_itself(load, tiny_run, class_run, shapes):
    from torch._dynamo import config

    request = SamplingRequest(2, steps=2)
    with config.patch(recompile_limit=1):
        for run in (tiny_run, tiny_run, class_run):
            plain, compiled = (load(run, size) for size in (0, 2))
            torch.testing.assert_close(last(compiled, request), last(plain, request), **CLOSE)
            assert is_compiled(compiled.denoiser.network)
    assert len(shapes) == 3


def test_the_compiled_call_is_what_is_captured(load, tiny_run, shapes, monkeypatch):
    class Graph:  # as of tests/pipelines/models/test_capturing.py
        nbytes, made = 1, 0

        def __init__(self, call, stream, *inputs):
            type(self).made += 1
            self.replay = call

    monkeypatch.setattr(captured, "Graph", Graph)
    monkeypatch.setattr(captured, "new_stream", lambda device: None)
    monkeypatch.setattr(captured, "can_replay", lambda x_t: not torch.is_grad_enabled())
    model = load(tiny_run)
    captured.capture_calls(model.denoiser.network)
    compile_calls(model.denoiser.network, 3)
    request = SamplingRequest(3, steps=CALLS_BEFORE + 3)
    made = last(model, request)
    assert is_compiled(model.denoiser.network)
    assert Graph.made == len(GRAPHS) == 1
    assert shapes == [(3, 3, 8, 8)]
    torch.testing.assert_close(made, last(load(tiny_run), request), **CLOSE)
    GRAPHS.clear()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_networks_make_the_same_images_up_to_rounding(load, tiny_run, monkeypatch):
    """The network has one level, and no processes share the work: together this takes a third of the time."""
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    plain, compiled = load(tiny_run), load(tiny_run)
    plain.denoiser.network = BaselineUNet(3, channels=(8,)).eval()
    compiled.denoiser.network = copy.deepcopy(plain.denoiser.network)
    compile_calls(compiled.denoiser.network, 2)
    request = SamplingRequest(2, steps=3)
    made = last(compiled, request)
    assert is_compiled(compiled.denoiser.network)
    torch.testing.assert_close(made, last(plain, request), **CLOSE)
