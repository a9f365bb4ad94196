"""Compiled sampling on a GPU: the compiled calls are captured, and make the images of eager calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipelines.models.captured import GRAPHS, Graph
from pipelines.models.compiled import compile_calls, is_compiled
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample

pytestmark = pytest.mark.gpu
CLOSE = {"rtol": 0, "atol": 1e-3}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_compiled_calls_are_captured_and_make_the_eager_images(lively_text_run, accelerator_device, monkeypatch, guidance):
    if accelerator_device.type != "cuda":
        pytest.skip("only CUDA has graphs")
    GRAPHS.clear()
    replayed, replay = [], Graph.replay

    def counted(graph, *inputs):
        replayed.append(graph)
        return replay(graph, *inputs)

    monkeypatch.setattr(Graph, "replay", counted)
    request = SamplingRequest(4, 3, steps=10, prompt=("a red cat", "a wild dog"), guidance=guidance)
    eager, compiled = load_model(lively_text_run), load_model(lively_text_run)
    del vars(eager.denoiser.network)["forward"]
    compile_calls(compiled.denoiser.network, 4)
    for seed in (3, 4):
        steps = [sample(model, replace(request, seed=seed)) for model in (eager, compiled)]
        for one, other in zip(*steps, strict=True):
            torch.testing.assert_close(other.x0, one.x0, **CLOSE)
    assert is_compiled(compiled.denoiser.network)
    assert len(set(replayed)) == 1
    assert len(replayed) > request.steps
