"""Our U-Nets in diffusers: read back by its loader, and sampled from by its pipelines, with the same numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.samplers import ddim
from diffusion_core.schedules import sampling_timesteps
from pipelines.models.diffusers_export import ExportedUNet
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample


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


def export(command, run, folder):
    done = command("pipelines.export_diffusers", run.path, "--out", folder)
    assert done.code == 0, done.error
    return done.output


SCHEDULERS = {
    "table": DDIMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear", clip_sample_range=1.5),
    "zero": DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, clip_sample=False),
    "flow": FlowMatchEulerDiscreteScheduler(shift=2.0),
    "edm": EDMEulerScheduler(sigma_max=50.0, num_train_timesteps=100),
}
SCRIPT = """
import sys, torch, diffusers
from safetensors.torch import save_file
for folder in sys.argv[1:]:
    unet = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet")
    kind = diffusers.DDIMScheduler.load_config(folder, subfolder="scheduler")["_class_name"]
    scheduler = getattr(diffusers, kind).from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(11 if "EDM" in kind else 10)
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    x = noise * scheduler.sigmas[0] if "EDM" in kind else noise
    start = x / (1 + scheduler.sigmas[0] ** 2) ** 0.5 if "EDM" in kind else noise
    levels = scheduler.timesteps if "DDIM" in kind else scheduler.sigmas[:-1]
    more = {"use_clipped_model_output": True} if "DDIM" in kind else {}
    with torch.no_grad():
        for t in scheduler.timesteps:
            taken = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            x = scheduler.step(unet(taken, t).sample, t, x, **more).prev_sample
    save_file({"samples": x.contiguous(), "levels": levels.float(), "noise": start.contiguous()}, folder + ".safetensors")
    if "EDM" not in kind:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        assert len(pipeline(batch_size=2, num_inference_steps=2).images) == 2
assert "pipelines" not in sys.modules
"""


def test_diffusers_alone_runs_what_was_imported(small_unet, import_it, command, tmp_path, forked):
    """Our run, diffusers without code of ours, and an import of the export make the same samples of the same noise."""
    runs = {}
    for name, scheduler in SCHEDULERS.items():
        DDPMPipeline(small_unet, scheduler).save_pretrained(tmp_path / name)
        runs[name], _ = import_it(tmp_path / name, name=name)
        said = export(command, runs[name], tmp_path / "exported" / name)
        assert "diffusers alone reads the UNet2DModel" in said
        assert type(scheduler).__name__ in said
    folders = [str(tmp_path / "exported" / name) for name in runs]
    subprocess.run([sys.executable, "-c", SCRIPT, *folders], cwd=tmp_path, check=True)
    for name, run in runs.items():
        theirs = load_file(tmp_path / "exported" / f"{name}.safetensors")
        again, _ = import_it(tmp_path / "exported" / name, name=f"{name}-again")
        for model in (load_model(run, "cpu", torch.float32), load_model(again, "cpu", torch.float32)):
            *_, last = ddim(model.denoiser, theirs["noise"], places(name, theirs["levels"], model.schedule), model.schedule)
            torch.testing.assert_close(last.x, theirs["samples"], rtol=0, atol=2e-4)


def places(name, levels, schedule):
    """Our timesteps at diffusers' ones, or at its noise levels."""
    if name in ("table", "zero"):
        return levels.double()
    own = schedule.sigma if name == "flow" else (schedule.sigma / schedule.alpha).log()
    levels = levels.double() if name == "flow" else levels.double().log()
    return torch.from_numpy(np.interp(levels, own, np.arange(schedule.num_timesteps)))


@torch.no_grad()
def test_classes_survive_an_export(make_unet, import_it, command, tmp_path):
    unet = make_unet(num_class_embeds=3)
    DDPMPipeline(unet, DDIMScheduler()).save_pretrained(tmp_path / "pipeline")
    (tmp_path / "pipeline" / "README.md").write_text("---\nclass_names: [ant, none, bee]\n---\n")
    run, _ = import_it(tmp_path / "pipeline", "--null-class", 1)
    said = export(command, run, tmp_path / "exported")
    assert "call the network with class_labels" in said
    again, _ = import_it(tmp_path / "exported", name="again")
    assert again.config.condition.classes == run.config.condition.classes == ("ant", "bee")
    assert again.config.network.null_class == 1
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 900])
    expected = UNet2DModel.from_pretrained(tmp_path / "exported" / "unet")(x, t, torch.tensor([0, 2])).sample
    model = load_model(again, "cpu", torch.float32)
    found = model.denoiser.network(x, t.float(), Condition(labels=torch.tensor([0, 1])))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_an_export_of_ours_is_imported_as_the_run_it_was(tiny_run, latent_run, import_it, refused, command, tmp_path):
    export(command, tiny_run, tmp_path / "exported")
    again, said = import_it(tmp_path / "exported")
    assert "it is a network of Noisescope" in said
    models = (load_model(run, "cpu", torch.float32) for run in (tiny_run, again))
    expected, found = (list(sample(model, SamplingRequest(2, steps=3)))[-1].x for model in models)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    export(command, latent_run, tmp_path / "latents")
    assert "an exported network of latents, without their autoencoder" in refused(tmp_path / "latents")


@torch.no_grad()
def test_an_imported_autoencoder_is_exported_to_diffusers_alone(import_it, command, tmp_path):
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16).eval()
    vae.save_pretrained(tmp_path / "vae")
    run, _ = import_it(tmp_path / "vae")
    assert "diffusers alone reads the AutoencoderKL" in export(command, run, tmp_path / "exported")
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    theirs = AutoencoderKL.from_pretrained(tmp_path / "exported" / "vae")
    torch.testing.assert_close(theirs(x).sample, vae(x).sample, rtol=0, atol=0)
