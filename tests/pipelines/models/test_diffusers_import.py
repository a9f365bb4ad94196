"""Models of diffusers as runs: the same numbers as diffusers, and a sentence for what cannot be read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    UNet2DModel,
)

from diffusion_core.samplers import ddim
from diffusion_core.schedules import sampling_timesteps
from pipelines.models.latents import decode, encode, prepare_autoencoder, read_autoencoder
from pipelines.models.loading import load_model
from pipelines.sampling.generation import Comparison
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.run import Run


@pytest.fixture(scope="module")
def unet():
    """Small, with random weights, of all the kinds of block that the examples use."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(32, 32),
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()


@pytest.fixture
def imported(command, unet, tmp_path):
    """Import a pipeline with the U-Net and a scheduler; the run."""

    def run(scheduler, pipeline=DDPMPipeline):
        pipeline(unet, scheduler).save_pretrained(tmp_path / "pipeline")
        done = command("pipelines.import_diffusers", tmp_path / "pipeline", "--out", tmp_path / "runs" / "theirs")
        assert done.code == 0, done.error
        return Run(tmp_path / "runs" / "theirs")

    return run


def test_the_network_computes_what_diffusers_computes(imported, unet):
    model = load_model(imported(DDPMScheduler()))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for t in (torch.tensor([500]), torch.tensor([0, 400, 999])):
        with torch.no_grad():
            expected = unet(x, t.expand(3), return_dict=False)[0]
            torch.testing.assert_close(model.denoiser.network(x, t.float()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        {"prediction_type": "sample", "num_train_timesteps": 500, "beta_start": 2e-4, "beta_end": 0.04},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
    ids=lambda settings: ", ".join(settings) or "default",
)
def test_the_scheduler_says_how_it_was_trained(imported, settings):
    scheduler = DDPMScheduler(**settings)
    model = load_model(imported(scheduler))
    expected = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}[settings.get("prediction_type", "epsilon")]
    assert model.config.diffusion.prediction == expected
    found = model.schedule.alpha.square()
    torch.testing.assert_close(found, scheduler.alphas_cumprod.double(), rtol=1e-3, atol=1e-6)


def test_sampling_makes_the_same_images_as_its_pipeline(imported, unet):
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing")
    model = load_model(imported(scheduler, DDIMPipeline))
    scheduler.set_timesteps(10)
    x = noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(x, t, return_dict=False)[0]
            x = scheduler.step(output, t, x, use_clipped_model_output=True).prev_sample
    timesteps = sampling_timesteps(model.schedule, 10, "trailing")
    assert timesteps.tolist() == scheduler.timesteps.tolist()
    *_, step = ddim(model.denoiser, noise, timesteps, model.schedule)
    torch.testing.assert_close(step.x, x, rtol=0, atol=1e-4)


def test_it_is_compared_with_ours_on_the_same_noise(imported, train, tmp_path, wait_for):
    theirs, ours = imported(DDPMScheduler()), train(tmp_path / "ours", image_size=16, steps=2)
    request = SamplingRequest(2, steps=3)
    comparison = GenerationQueue().submit(Comparison.of([(theirs, request), (ours, request)]))
    wait_for(lambda: not comparison.active, 60)
    assert comparison.status == "done", comparison.error
    first, second = (column.frames[0].x for column in comparison.columns)
    assert np.array_equal(first, second)


def test_a_bare_network_needs_to_be_told_how_it_was_trained(command, unet, tmp_path):
    unet.save_pretrained(tmp_path / "unet")
    arguments = ("pipelines.import_diffusers", tmp_path / "unet", "--out", tmp_path / "run")
    assert "--schedule and --prediction" in command(*arguments).refused_in_one_sentence()
    assert command(*arguments, "--schedule", "linear", "--prediction", "epsilon", "--data", "fashion_mnist").code == 0
    config = Run(tmp_path / "run").config
    assert (config.diffusion.schedule, config.diffusion.prediction) == ("linear", "epsilon")
    assert (config.data.data, config.image_shape) == ("fashion_mnist", (3, 16, 16))


def test_nothing_that_is_there_is_overwritten(command, unet, tiny_run, tmp_path):
    """A file of weights alone is a run too."""
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    (tmp_path / "mine").mkdir()
    mine = Run(shutil.copy(tiny_run.model_path, tmp_path / "mine")).fingerprint
    told = command("pipelines.import_diffusers", tmp_path / "pipeline", "--out", tmp_path / "mine").refused_in_one_sentence()
    assert "already exists" in told
    assert Run(tmp_path / "mine").fingerprint == mine


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--schedule", "cosin", "--prediction", "epsilon"), "unknown schedule 'cosin'"),
        (("--schedule", "linear", "--prediction", "eps"), "unknown prediction 'eps'"),
        (("--schedule", "flow", "--prediction", "epsilon"), "epsilon-prediction cannot start"),
        (("--schedule", "linear", "--prediction", "edm"), "take x_t as it is"),
    ],
)
def test_what_could_not_be_sampled_is_not_imported(command, unet, tmp_path, given, sentence):
    unet.save_pretrained(tmp_path / "unet")
    arguments = ("pipelines.import_diffusers", tmp_path / "unet", "--out", tmp_path / "run", *given)
    assert sentence in command(*arguments).refused_in_one_sentence()
    assert not (tmp_path / "run").exists()


def test_a_pipeline_whose_parts_lie_side_by_side(command, unet, tmp_path):
    """As google/ddpm-cat-256 and its kind on the hub."""
    DDPMPipeline(unet, DDPMScheduler(prediction_type="v_prediction")).save_pretrained(tmp_path / "theirs")
    for part in ("unet", "scheduler"):
        for file in (tmp_path / "theirs" / part).iterdir():
            file.rename(tmp_path / "theirs" / file.name)
        (tmp_path / "theirs" / part).rmdir()
    assert command("pipelines.import_diffusers", tmp_path / "theirs", "--out", tmp_path / "run").code == 0
    assert Run(tmp_path / "run").config.diffusion.prediction == "v"


def test_attention_by_its_older_names(command, vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, tensor in safetensors.torch.load_file(file).items():
        for new, old in older.items():
            name = name.replace(f".{new}.", f".{old}.")
        weights[name] = tensor
    assert any("proj_attn" in name for name in weights)
    safetensors.torch.save_file(weights, file)
    assert command("pipelines.import_diffusers", tmp_path / "vae", "--out", tmp_path / "run").code == 0
    own = Run(tmp_path / "run")
    vae.save_pretrained(tmp_path / "newer")
    assert command("pipelines.import_diffusers", tmp_path / "newer", "--out", tmp_path / "same").code == 0
    same = safetensors.torch.load_file(Run(tmp_path / "same").model_path)
    assert all(torch.equal(tensor, same[name]) for name, tensor in safetensors.torch.load_file(own.model_path).items())


def _no_safetensors(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")


def _edited(name, **changes):
    def edit(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _flow(**changes):
    return _edited("scheduler/scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler", **changes)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_no_safetensors, "from safetensors only, never from pickles"),
        (_edited("unet/config.json", _class_name="UNet2DConditionModel"), "holds UNet2DConditionModel"),
        (_edited("unet/config.json", sample_size=None), "sample_size=None"),
        (_edited("unet/config.json", num_class_embeds=10), "1 missing: unet.class_embedding.weight"),
        (_edited("unet/config.json", class_embed_type="timestep", num_class_embeds=10), "class_embed_type='timestep'"),
        (_edited("unet/config.json", sample_size=[8, 16]), "sample_size=[8, 16]: only models of square images"),
        (_edited("unet/config.json", out_channels=6), "3 input and 6 output channels"),
        (_edited("unet/config.json", block_out_channels=[32, 64]), "do not fit the network"),
        (_edited("scheduler/scheduler_config.json", beta_schedule="wavy"), "beta_schedule 'wavy' cannot be imported"),
        (_edited("scheduler/scheduler_config.json", beta_end=1.5), "cannot be imported with these beta_start, beta_end"),
        (_edited("scheduler/scheduler_config.json", trained_betas=[0.1, 0.2]), "trained_betas has 2 values for"),
        (
            _edited("scheduler/scheduler_config.json", predict_epsilon=False),
            "predict_epsilon=False contradicts prediction_type",
        ),
        (_edited("scheduler/scheduler_config.json", _class_name="KarrasVeScheduler"), "_class_name KarrasVeScheduler cannot"),
        (_edited("scheduler/scheduler_config.json", _class_name="LCMScheduler"), "_class_name LCMScheduler cannot"),
        (_edited("scheduler/scheduler_config.json", rescale_betas_zero_snr=True), "'epsilon' cannot be imported on a schedule"),
        (_edited("unet/config.json", time_embedding_type="fourier"), "time_embedding_type='fourier'"),
        (lambda folder: shutil.rmtree(folder / "unet"), "no config.json in"),
        (_flow(use_dynamic_shifting=True), "use_dynamic_shifting=True cannot be imported"),
        (_flow(shift=0.0), "shift=0.0: choose a finite number above 0"),
        (_edited("scheduler/scheduler_config.json", prediction_type="flow"), "prediction_type 'flow'"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "is not valid JSON"),
        (_edited("unet/config.json", _class_name=["UNet2DModel"]), "holds ['UNet2DModel']"),
        (_edited("unet/config.json", freq_shift="0"), "freq_shift='0' in the settings of UNet2DModel: it should be like 0"),
        (_edited("unet/config.json", act_fn="nothing"), "diffusers cannot build a UNet2DModel with these settings"),
        (_edited("unet/config.json", layers_per_block=10_000_000), "layers_per_block=10000000: choose a whole number from 1"),
        (_edited("unet/config.json", downsample_padding=-40), "cannot run on images of"),
        (_edited("scheduler/scheduler_config.json", num_train_timesteps=0), "num_train_timesteps=0: choose a whole number"),
        (
            _edited("scheduler/scheduler_config.json", beta_schedule=["linear"]),
            "beta_schedule: ['linear'] is not allowed: give a text",
        ),
        (shutil.rmtree, "give a folder written by diffusers' save_pretrained"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_nothing_is_written(command, unet, tmp_path, damage, sentence):
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    damage(tmp_path / "pipeline")
    refusal = command("pipelines.import_diffusers", tmp_path / "pipeline", "--out", tmp_path / "run").refused_in_one_sentence()
    assert sentence in refusal
    assert not (tmp_path / "run").exists()


def test_an_imported_network_is_not_trained(command, imported, image_folder, tmp_path):
    run = imported(DDPMScheduler())
    arguments = ("--data", image_folder, "--init-from", run.path, "--steps", 2, "--out", tmp_path / "more")
    assert "diffusers" in command("pipelines.train", *arguments).refused_in_one_sentence()


@pytest.fixture(scope="module")
def vae():
    """A small autoencoder of diffusers with random weights; latents of 4×8×8."""
    torch.manual_seed(0)
    made = AutoencoderKL(
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 32),
        norm_num_groups=8,
        latent_channels=4,
        scaling_factor=0.5,
    )
    return made.eval()


@pytest.fixture
def imported_autoencoder(command, vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    done = command("pipelines.import_diffusers", tmp_path / "vae", "--out", tmp_path / "runs" / "their-vae")
    assert done.code == 0, done.error
    return Run(tmp_path / "runs" / "their-vae")


@torch.no_grad()
def test_an_autoencoder_computes_what_diffusers_computes(imported_autoencoder, vae):
    assert imported_autoencoder.config.kind == "Autoencoder"
    autoencoder = prepare_autoencoder(*read_autoencoder(imported_autoencoder), torch.device("cpu"))
    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    z = encode(autoencoder, x)
    torch.testing.assert_close(z, vae.encode(x).latent_dist.mean * vae.config.scaling_factor, rtol=0, atol=1e-5)
    expected = vae.decode(z / vae.config.scaling_factor).sample.clamp(-1, 1)
    torch.testing.assert_close(decode(autoencoder, z), expected, rtol=0, atol=1e-5)


def test_the_latents_of_an_imported_autoencoder_are_diffused(imported_autoencoder, train, tmp_path):
    run = train(tmp_path / "latent", image_size=16, latent=str(imported_autoencoder.path), steps=2)
    model = load_model(run)
    assert model.state_shape == (4, 8, 8)
    *_, last = sample(model, SamplingRequest(2, steps=2))
    assert model.decode(last.x).shape == (2, 3, 16, 16)


def test_an_autoencoder_that_shifts_its_latents_is_refused(command, vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    refused = {"shift_factor=0.1": {"shift_factor": 0.1}, "latents_mean=": {"latents_mean": [0.1] * 4}}
    for sentence, change in (refused | {"3 input and 1 output channels": {"out_channels": 1}}).items():
        _edited("config.json", **change)(tmp_path / "vae")
        told = command("pipelines.import_diffusers", tmp_path / "vae", "--out", tmp_path / "run").refused_in_one_sentence()
        assert sentence in told
        _edited("config.json", shift_factor=None, latents_mean=None, out_channels=3)(tmp_path / "vae")
