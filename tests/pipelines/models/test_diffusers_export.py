"""Our U-Nets in diffusers: read back by its loader, and sampled from by its pipelines, with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, FlowMatchEulerDiscreteScheduler

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.samplers import ddim
from diffusion_core.schedules import sampling_timesteps
from pipelines.models.diffusers_export import ExportedUNet
from pipelines.models.loading import load_model


@pytest.fixture
def exported(command, tmp_path):
    """Exports a run; its folder, and the model as we have it."""

    def make(run):
        done = command("pipelines.export_diffusers", run.path, "--out", tmp_path / "exported")
        assert done.code == 0, done.error
        return tmp_path / "exported", load_model(run, "cpu", torch.float32)

    return make


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tiny", "class", "latent"])
def test_the_network_is_read_back_whole_without_a_script(exported, tiny_run, class_run, latent_run, kind):
    folder, model = exported({"tiny": tiny_run, "class": class_run, "latent": latent_run}[kind])
    assert not list(folder.rglob("*.py"))
    unet = ExportedUNet.from_pretrained(folder / "unet")
    x = torch.randn(2, *model.state_shape, generator=torch.Generator().manual_seed(0))
    labels = None if kind == "tiny" else torch.tensor([0, 1])
    condition = None if labels is None else Condition(labels)
    for t in (torch.tensor([500]), torch.tensor([3, 999])):
        expected = model.denoiser.network(x, t.float(), condition)
        theirs = t + unet.first_timestep
        torch.testing.assert_close(unet(x, theirs, class_labels=labels).sample, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(unet(x, theirs, class_labels=labels, return_dict=False)[0], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_network_that_reads_is_told_in_diffusers_words(exported, text_run):
    folder, model = exported(text_run)
    unet = ExportedUNet.from_pretrained(folder / "unet")
    x = torch.randn(2, *model.state_shape, generator=torch.Generator().manual_seed(0))
    words = torch.randn(2, 5, model.config.condition.text_dim, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = model.denoiser.network(x, torch.tensor([500.0]), Condition(tokens=words, mask=mask.bool()))
    t = 500 + unet.first_timestep
    found = unet(x, t, encoder_hidden_states=words, encoder_attention_mask=mask).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    all_words = model.denoiser.network(x, torch.tensor([500.0]), Condition(tokens=words, mask=torch.ones_like(mask).bool()))
    torch.testing.assert_close(unet(x, t, encoder_hidden_states=words).sample, all_words, rtol=0, atol=1e-5)


def test_a_pipeline_of_diffusers_makes_the_same_images(exported, train, tmp_path):
    folder, model = exported(train(tmp_path / "v", schedule="cosine", prediction="v", steps=20))
    unet = ExportedUNet.from_pretrained(folder / "unet")
    pipeline = DDIMPipeline(unet, DDIMScheduler.from_pretrained(folder / "scheduler"))
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(3)
    images = pipeline(2, generator=generator, num_inference_steps=10, use_clipped_model_output=True, output_type="numpy").images
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    *_, last = ddim(model.denoiser, noise, sampling_timesteps(model.schedule, 10, "trailing"), model.schedule)
    ours = (last.x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(images, ours, atol=1e-4)


def test_flow_matching_of_diffusers_takes_the_same_steps(exported, train, tmp_path):
    folder, model = exported(train(tmp_path / "flow", schedule="flow", prediction="flow", patch_size=2, steps=20))
    unet = ExportedUNet.from_pretrained(folder / "unet")
    theirs = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    theirs.set_timesteps(10)
    noise = x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    for t in theirs.timesteps:
        with torch.no_grad():
            x = theirs.step(unet(x, t).sample, t, x).prev_sample
    free = Denoiser(model.denoiser.network, model.schedule, "flow", data_range=None)  # theirs clips nothing
    *_, last = ddim(free, noise, torch.linspace(999, 0, 10, dtype=torch.float64), model.schedule)
    torch.testing.assert_close(last.x, x, rtol=0, atol=1e-4)


def test_what_diffusers_does_not_know_is_refused_and_nothing_is_written(command, train, tmp_path):
    for schedule, prediction in (("flow", "v"), ("cosine", "edm")):
        run = train(tmp_path / schedule, schedule=schedule, prediction=prediction, steps=1)
        said = command("pipelines.export_diffusers", run.path, "--out", tmp_path / "out").refused_in_one_sentence()
        assert f"predicts {prediction} on the schedule {schedule}" in said
        assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_not_overwritten(command, tiny_run, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    assert "already exists" in command("pipelines.export_diffusers", tiny_run.path, "--out", tmp_path).refused_in_one_sentence()


def test_an_autoencoder_is_refused(command, autoencoder_run, tmp_path):
    said = command("pipelines.export_diffusers", autoencoder_run.path, "--out", tmp_path / "out").refused_in_one_sentence()
    assert "is an autoencoder" in said
