"""Captured sampling on a GPU: replays make the images of eager calls, and give way where they must."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_core.samplers import SAMPLERS
from pipelines.common.images import png_bytes, to_uint8
from pipelines.models import captured
from pipelines.models.captured import CALLS_BEFORE, GRAPHS, Graph
from pipelines.models.loading import load_model, loaded_model
from pipelines.sampling.generation import Comparison
from pipelines.sampling.origins import FROM_NOISE, BetweenSeeds, FromInversion, FromPicture
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import trajectory

pytestmark = pytest.mark.gpu
CLOSE = {"rtol": 0, "atol": 1e-3}
PLAIN = SamplingRequest(num_images=4, seed=3, steps=10)
CLASS = replace(PLAIN, label="all", guidance=2.5)
TEXT = replace(PLAIN, prompt=("a red cat", "a wild dog"), guidance=3.0)
Y, X = np.mgrid[0:30, 0:50]
PICTURE = png_bytes(np.stack([X * 5, Y * 8, (X + Y) * 3], axis=-1).astype(np.uint8))
MASK = png_bytes(np.where(X < 25, 255, 0).astype(np.uint8)[..., None].repeat(3, -1))

REQUESTS = {sampler: replace(TEXT, sampler=sampler) for sampler in SAMPLERS} | {
    "ddim with fresh noise": replace(TEXT, sampler="ddim", eta=0.7),
    "without guidance": replace(TEXT, guidance=1.0),
    "a negative prompt in an interval": replace(
        TEXT, negative_prompt="blue", guidance_interval=(0.3, 0.7), guidance_rescale=0.5
    ),
}
ORIGINS = {
    "between seeds": BetweenSeeds(8, (0.0, 0.3, 0.5, 1.0)),
    "a picture": FromPicture(PICTURE, 0.9),
    "inpainting": FromPicture(PICTURE, 1.0, MASK),
    "reconstruction guidance": FromPicture(PICTURE, 1.0, MASK, guided=True),
    "RePaint": FromPicture(PICTURE, 0.8, MASK, resamplings=3),
    "an inversion": FromInversion(PICTURE, prompt="a red cat"),
}


@pytest.fixture(autouse=True)
def _no_graphs_yet(accelerator_device):
    if accelerator_device.type != "cuda":
        pytest.skip("only CUDA has graphs")
    GRAPHS.clear()
    yield
    GRAPHS.clear()


@pytest.fixture
def replays(monkeypatch):
    """The shapes of the states of all replays, in order."""
    shapes, replay = [], Graph.replay

    def counted(self, x_t, t, condition):
        shapes.append(tuple(x_t.shape))
        return replay(self, x_t, t, condition)

    monkeypatch.setattr(Graph, "replay", counted)
    return shapes


def eager(model):
    """Return a model without captures."""
    del vars(model.denoiser.network)["forward"]
    return model


def states(model, request, origin=FROM_NOISE, images=None):
    return [torch.stack([step.x, step.x0]) for step in sample(model, request, images, origin)]


def assert_same(own, expected):
    for one, other in zip(own, expected, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.fixture(scope="module")
def lively_attention_run(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "lively-attention", unet="attention", steps=96, lr=1e-2)


@pytest.fixture(scope="module")
def lively_baseline_run(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "lively-baseline", unet="baseline", steps=96, lr=1e-2)


@pytest.fixture(scope="module")
def lively_class_run(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "lively-class", unet="class", steps=96, lr=1e-2)


@pytest.fixture(params=["baseline", "attention", "class", "text", "latent"])
def variant(request):
    """A run of each kind of network, and a request for it."""
    asked = {"class": CLASS, "latent": CLASS, "text": TEXT}.get(request.param, PLAIN)
    return request.getfixturevalue(f"lively_{request.param}_run"), asked


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_network_makes_its_eager_images(variant, replays, dtype):
    run, request = variant
    expected = states(eager(load_model(run, dtype=dtype)), request)
    model = load_model(run, dtype=dtype)
    assert_same(states(model, request), expected)
    assert len(replays) == 1 + request.steps - CALLS_BEFORE  # one of them compares
    replays.clear()
    assert_same(states(model, request), expected)
    assert len(replays) == request.steps
    other = replace(request, seed=9)
    assert_same(states(model, other), states(eager(load_model(run, dtype=dtype)), other))


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_every_sampler_makes_its_eager_images(lively_text_run, replays, request_):
    expected = states(eager(load_model(lively_text_run)), request_)
    model = load_model(lively_text_run)
    for _ in range(2):
        assert_same(states(model, request_), expected)
    assert len(replays) > CALLS_BEFORE


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS.keys())
def test_every_origin_makes_its_eager_images(lively_text_run, replays, origin):
    expected = states(eager(load_model(lively_text_run)), TEXT, origin)
    model = load_model(lively_text_run)
    for _ in range(2):
        assert_same(states(model, TEXT, origin), expected)
    assert bool(replays) == (not getattr(origin, "guided", False))


def test_a_last_batch_that_is_smaller(lively_class_run, replays):
    request = replace(CLASS, num_images=10)
    model, plain = load_model(lively_class_run), eager(load_model(lively_class_run))
    for images in (range(4), range(4, 8), range(8, 10)):
        assert_same(states(model, request, images=images), states(plain, request, images=images))
    assert {shape[0] for shape in replays} == {8, 4}  # guidance doubles batches
    few = replace(request, steps=CALLS_BEFORE)
    replays.clear()
    assert_same(states(model, few, images=[3]), states(plain, few, images=[3]))
    assert replays == []  # too few calls for a graph


def test_two_models_in_turns(lively_text_run, lively_class_run, replays):
    asked = [(lively_text_run, TEXT), (lively_class_run, CLASS), (lively_text_run, replace(TEXT, seed=5))]
    expected = [states(eager(load_model(run)), request) for run, request in asked]
    models = {run.name: load_model(run) for run, _ in asked}
    for _ in range(2):
        streams = [sample(models[run.name], request) for run, request in asked]
        turns = zip(*streams, strict=True)
        made = [[torch.stack([step.x, step.x0]) for step in steps] for steps in turns]
        for own, other in zip(zip(*made, strict=True), expected, strict=True):
            assert_same(own, other)
    assert replays
    assert len(GRAPHS) == 2


def test_attention_is_recorded_beside_replays(lively_text_run, replays):
    request = replace(TEXT, num_images=2, prompt=("a red cat",), guidance=1.0)
    expected = trajectory(eager(load_model(lively_text_run)), request)
    model = load_model(lively_text_run)
    for _ in range(2):
        own = trajectory(model, request)
        np.testing.assert_allclose(own.attention, expected.attention, rtol=0, atol=2e-3)
        assert np.abs(own.change.astype(int) - expected.change).max() <= 1
    assert replays


def test_the_queue_makes_the_same_and_stops_between_replays(lively_text_run, replays, wait_for):
    loaded_model.cache_clear()
    request = replace(TEXT, steps=30)
    *_, last = sample(eager(load_model(lively_text_run)), request)
    queue = GenerationQueue()
    try:
        comparison = queue.submit(Comparison.of([(lively_text_run, request)]))
        wait_for(lambda: not comparison.active)
        assert comparison.status == "done", comparison.error
        [column] = comparison.columns
        assert np.abs(column.frames[-1].x.astype(int) - to_uint8(last.x)).max() <= 1
        assert column.peak_memory > 0
        assert replays
        long = queue.submit(Comparison.of([(lively_text_run, replace(request, steps=1000, seed=1))]))
        wait_for(lambda: long.steps_done > 2 * CALLS_BEFORE)
        long.cancel()
        wait_for(lambda: not queue)
        count = len(replays)
        assert long.status == "cancelled"
        assert not long.columns[0].finished
        assert len(replays) == count
    finally:
        queue.close()
        loaded_model.cache_clear()


def test_a_capture_that_fails_leaves_the_eager_images(lively_class_run, replays, caplog):
    """A network that asks the device for a number, which no graph can do."""
    expected = states(eager(load_model(lively_class_run)), CLASS)
    model = load_model(lively_class_run)
    stem = model.denoiser.network.stem
    handle = stem.register_forward_hook(lambda module, given, output: output * float(output.abs().max() >= 0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(states(model, CLASS), expected)
    handle.remove()
    assert replays == []
    assert len(caplog.records) == 1
    assert len(GRAPHS) == 0
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    gc.collect()
    torch.cuda.empty_cache()
    assert {segment["segment_pool_id"] for segment in torch.cuda.memory_snapshot()} == {(0, 0)}  # none is a capture's
    other = replace(CLASS, num_images=3)  # the device goes on, and other shapes can be captured
    for _ in range(2):
        assert_same(states(model, other), states(eager(load_model(lively_class_run)), other))
    assert replays


def test_a_graph_that_computes_something_else_is_refused(lively_class_run, monkeypatch, caplog):
    expected = states(eager(load_model(lively_class_run)), CLASS)
    model = load_model(lively_class_run)
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(Graph, "replay", lambda self, *given: torch.full_like(given[0], 7.0))
    assert_same(states(model, CLASS), expected)
    assert "something else" in caplog.text
    assert torch.cuda.CUDAGraph.replay is replay
    assert len(GRAPHS) == 0


def test_old_graphs_are_evicted_and_made_again(lively_class_run, replays, monkeypatch):
    monkeypatch.setattr(captured, "MOST_GRAPHS", 2)
    model, plain = load_model(lively_class_run), eager(load_model(lively_class_run))
    for _ in range(2):
        for count in (1, 2, 3):
            request = replace(CLASS, num_images=count)
            assert_same(states(model, request), states(plain, request))
            assert len(GRAPHS) <= 2
    assert {shape[0] for shape in replays} == {2, 4, 6}


def test_graphs_give_back_their_memory(lively_class_run):
    model = load_model(lively_class_run)
    request = replace(CLASS, num_images=64)
    states(model, request)
    assert len(GRAPHS) == 1
    held = GRAPHS.nbytes
    assert 0 < held <= captured.MOST_BYTES
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    assert GRAPHS.clear()
    torch.cuda.empty_cache()
    assert before - torch.cuda.memory_reserved() >= held // 2
    assert_same(states(model, request), states(eager(load_model(lively_class_run)), request))


def test_a_dropped_model_takes_its_graphs_along(lively_class_run):
    model = load_model(lively_class_run)
    states(model, CLASS)
    assert len(GRAPHS) == 1
    del model
    assert len(GRAPHS) == 0


def test_memory_beyond_the_bound_stays_eager(lively_class_run, replays, monkeypatch, caplog):
    monkeypatch.setattr(captured, "MOST_BYTES", 1)
    model, plain = load_model(lively_class_run), eager(load_model(lively_class_run))
    for _ in range(2):
        assert_same(states(model, CLASS), states(plain, CLASS))
    assert len(caplog.records) == 1
    assert len(replays) == 1  # the comparison
