"""The queue of the pages on the accelerator: sampling's own images, and smaller parts where memory is short."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from pipelines.common.images import to_uint8
from pipelines.models.loading import load_model, loaded_model
from pipelines.sampling import generation
from pipelines.sampling.generation import Comparison
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample

pytestmark = pytest.mark.gpu


@pytest.fixture
def computed(wait_for):
    """What the queue makes of columns; the status must be "done"."""
    queue = GenerationQueue()

    def compute(*columns):
        comparison = queue.submit(Comparison.of(columns))
        wait_for(lambda: not comparison.active)
        assert comparison.status == "done", comparison.error
        return comparison.columns

    yield compute
    queue.close()


@pytest.fixture(autouse=True)
def _no_models_kept():
    loaded_model.cache_clear()
    yield
    loaded_model.cache_clear()


def assert_same_pictures(column, steps):
    for frame, step in zip(column.frames, steps, strict=True):
        assert np.abs(frame.x.astype(int) - to_uint8(step.x)).max() <= 1


def test_columns_side_by_side_are_what_sampling_makes(computed, accelerator_device, lively_text_run, tiny_run):
    requests = [
        (lively_text_run, SamplingRequest(5, seed=4, steps=6, prompt=("a red cat",), guidance=2.0)),
        (tiny_run, SamplingRequest(5, seed=4, steps=4, sampler="heun")),
    ]
    columns = computed(*requests)
    for column, (run, request) in zip(columns, requests, strict=True):
        model = load_model(run)
        assert model.device.type == accelerator_device.type
        assert_same_pictures(column, sample(model, request))
        assert column.peak_memory > 2 * model.num_parameters
        assert column.seconds > 0


def test_short_of_memory_smaller_parts_make_the_same_images(computed, accelerator_device, train, tmp_path, monkeypatch):
    if accelerator_device.type != "cuda":
        pytest.skip("only CUDA's memory can be limited")
    run = train(tmp_path / "wide", channels=(64, 64), image_size=32, steps=2)
    request = SamplingRequest(num_images=512, seed=1, steps=3)
    model = load_model(run)
    next(sample(model, SamplingRequest(num_images=1, steps=1)))  # what libraries keep for themselves from their first call on
    released()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    expected = [to_uint8(step.x) for step in sample(model, request)]
    taken = torch.cuda.max_memory_allocated() - before
    del model
    released()
    sizes = []

    def counted(model, request, images, origin):
        sizes.append(len(images))
        return sample(model, request, images, origin)

    monkeypatch.setattr(generation, "sample", counted)
    limit = torch.cuda.memory_reserved() + 0.6 * taken
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(accelerator_device).total_memory)
    try:
        [column] = computed((run, request))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] == 512
    assert sizes[-1] < 512
    for frame, images in zip(column.frames, expected, strict=True):
        assert np.abs(frame.x.astype(int) - images).max() <= 1


def released():
    """Give back what nobody holds any more."""
    gc.collect()
    torch.cuda.empty_cache()
