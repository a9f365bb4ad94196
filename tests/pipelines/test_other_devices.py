"""Accelerators that are not at hand: the same samples and losses as on the CPU, and neither float64 nor mixed devices there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from pretended_device import MEMORY, pretending

from diffusion_core.choices import SAMPLERS
from diffusion_core.process import add_noise
from diffusion_core.schedules import make_schedule
from pipelines.common.devices import process_state
from pipelines.models.loading import load_model
from pipelines.sample import SamplingRequest, sample
from pipelines.storage.run import Run
from pipelines.training.reading import open_training
from pipelines.training.rehearsal import peak_memory


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_the_pretended_device_is_as_strict_as_a_real_one(monkeypatch, kind):
    """Without this, the tests below could not fail."""
    with pretending(monkeypatch, kind) as device:
        here, there = torch.ones(3), torch.ones(3, device=device)
        assert (there.device.type, (there * 2 + here.to(device)).tolist()) == (kind, [3, 3, 3])
        for make in (there.double, lambda: here.double().to(device), lambda: torch.ones(3, dtype=torch.float64, device=device)):
            with pytest.raises(TypeError, match="no float64"):
                make()
        for mix in (lambda: there + here, lambda: there * torch.tensor(2.0, dtype=torch.float64)):
            with pytest.raises(RuntimeError, match=f"on {kind} and one of"):
                mix()
        assert here.double().to(device, torch.float32).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_noise_is_added_there_whatever_the_timesteps_are(monkeypatch, kind):
    schedule, x0, noise = make_schedule("cosine"), torch.ones(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    t = torch.tensor([3.5, 800.0])
    expected = [add_noise(schedule, x0, noise, given) for given in (3.5, t, t)]
    with pretending(monkeypatch, kind) as device:
        for given, right in zip((3.5, t, t.to(device)), expected, strict=True):
            found = add_noise(schedule, x0.to(device), noise.to(device), given)
            assert torch.allclose(found.cpu(), right, atol=1e-6)


@pytest.mark.parametrize(("kind", "samplers"), [("mps", SAMPLERS), ("xpu", ["dpmpp_2m"])], ids=["mps", "xpu"])
def test_samples_are_those_of_the_cpu(monkeypatch, class_run, kind, samplers):
    def samples(device):
        model = load_model(class_run, device, torch.float32)
        for sampler in samplers:
            request = SamplingRequest(num_images=2, sampler=sampler, steps=3, label="all", guidance=2.0)
            *_, last = sample(model, request)
            yield sampler, last.x.cpu()

    expected = dict(samples("cpu"))
    with pretending(monkeypatch, kind) as device:
        for sampler, found in samples(device):
            assert torch.allclose(found, expected[sampler], atol=1e-5), sampler


DIFFUSION = {"unet": "class", "dropout": 0.2, "augment": 0.5, "weighting": "learned", "prediction": "edm", "accumulation": 2}
AUTOENCODER = {"model": "autoencoder", "image_size": 32, "feature_weight": 0.1, "adversarial_weight": 0.1}


@pytest.mark.parametrize("settings", [DIFFUSION, AUTOENCODER], ids=["diffusion", "autoencoder"])
def test_training_has_the_losses_of_the_cpu(monkeypatch, train, small_config, logged, tmp_path, settings):
    """Also its validation, its sample grids and, from the saved state, the steps after a resume."""
    config = small_config(steps=2, log_every=1, eval_every=2, sample_every=2, sample_images=1, **settings)
    expected = logged(train(tmp_path / "cpu", config).path)
    with pretending(monkeypatch, "mps") as device:
        for steps in (1, 2):
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
            monkeypatch.setattr(process_state(), "device", device)  # which outlives the test
            run = Run(tmp_path / "there")
            now = run.config if steps == 2 else config
            loop = open_training(run, replace(now, optimizer=replace(config.optimizer, steps=steps)))
            assert loop.task.device == device
            assert next(loop.network.parameters()).device == device
            loop.fit()
            assert peak_memory(device) == MEMORY // 2
    found = logged(run.path)
    assert [row["step"] for row in found] == [1, 2]
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert found[-1]["val_loss"] == pytest.approx(expected[-1]["val_loss"], rel=1e-3)
