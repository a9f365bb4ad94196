"""The same weights, noise and timesteps give the same samples in diffusers and here, whatever the scheduler."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS
from pipelines.models.foreign.diffusers_scheduler import VARIANCE_PRESERVING, read_scheduler
from pipelines.models.loading import load_model
from pipelines.models.networks import make_diffusion_schedule

NOISE = SeededNoise(0, (3, 8, 8), range(2))
SHORT = {"num_train_timesteps": 200}
TRAILING = {"timestep_spacing": "trailing"}
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
V = {"prediction_type": "v_prediction"}
ZERO = {"rescale_betas_zero_snr": True}
CLIPPED = {"use_clipped_model_output": True}
FINAL = {"final_sigmas_type": "zero"}
# The scheduler, its options, our sampler, and options of their step.
FAMILIES = [
    ("DDIM", TRAILING, "ddim", CLIPPED),
    ("DDIM", TRAILING | SCALED | {"clip_sample": False}, "ddim", {}),
    ("DDIM", TRAILING | V | ZERO | {"clip_sample_range": 1.5}, "ddim", CLIPPED),
    ("DDIM", TRAILING | {"trained_betas": np.linspace(1e-3, 0.03, 200).tolist(), "clip_sample": False}, "ddim", {}),
    ("DDIM", TRAILING | V | {"thresholding": True, "sample_max_value": 2.0}, "ddim", CLIPPED),
    ("DDPM", TRAILING | {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}, "ddpm", {}),
    ("DDPM", TRAILING | {"beta_schedule": "sigmoid"}, "ddpm", {}),
    ("DDPM", TRAILING | {"beta_schedule": "laplace", "prediction_type": "v_prediction"}, "ddpm", {}),
    ("EulerDiscrete", TRAILING | V, "ddim", {}),
    ("EulerDiscrete", TRAILING | SCALED | V | ZERO, "ddim", {}),
    ("EulerAncestralDiscrete", TRAILING | V, "euler_ancestral", {}),
    ("HeunDiscrete", TRAILING | V | {"beta_schedule": "linear", "beta_start": 1e-3, "beta_end": 0.02}, "heun", {}),
    ("DPMSolverMultistep", TRAILING | V | FINAL, "dpmpp_2m", {}),
    ("DPMSolverMultistep", {"use_flow_sigmas": True, "flow_shift": 2.0, "prediction_type": "flow_prediction"}, "dpmpp_2m", {}),
    ("FlowMatchEulerDiscrete", {}, "ddim", {}),
    ("FlowMatchEulerDiscrete", {"shift": 3.0}, "ddim", {}),
    ("EDMEuler", {}, "ddim", {}),
]


def named(family):
    return "-".join([family[0], *(key for key in family[1] if key != "timestep_spacing")])


def their_samples(scheduler, unet, options, monkeypatch):
    """Sample as a pipeline of diffusers does; the sample, the timesteps and the noise levels sigma that were visited."""
    calls = iter(range(len(scheduler.timesteps)))
    module = type(scheduler).__module__
    if hasattr(__import__(module, fromlist=["_"]), "randn_tensor"):
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *a, **k: NOISE.at_step(next(calls)))
    x = NOISE.initial() * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else NOISE.initial()
    with torch.no_grad():
        for t in scheduler.timesteps:
            taken = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            x = scheduler.step(unet(taken, t, return_dict=False)[0], t, x, return_dict=False, **options)[0]
    return x


def our_timesteps(scheduler, schedule):
    """The timesteps of ours with the noise levels that their scheduler visits."""
    times = scheduler.timesteps.double().unique().flip(0)
    if "Flow" in type(scheduler).__name__ or getattr(scheduler.config, "use_flow_sigmas", False):
        levels = times / scheduler.config.num_train_timesteps  # sigma
        return torch.from_numpy(np.interp(levels, schedule.sigma, np.arange(schedule.num_timesteps)))
    if "EDM" in type(scheduler).__name__:
        return torch.linspace(schedule.num_timesteps - 1, 0, len(times), dtype=torch.float64)
    return times


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_the_same_samples(family, small_unet, import_it, tmp_path, monkeypatch):
    name, options, sampler, step = family
    kind = getattr(diffusers, f"{name}Scheduler")
    scheduler = kind(**SHORT | options)
    diffusers.DDPMPipeline(small_unet, scheduler).save_pretrained(tmp_path / "pipeline")
    model = load_model(import_it(tmp_path / "pipeline")[0], "cpu", torch.float32)
    steps = 11 if name == "EDMEuler" else 10
    scheduler.set_timesteps(steps)
    if getattr(scheduler.config, "use_flow_sigmas", False):  # they cut the fraction off what the network takes
        scheduler.timesteps = scheduler.sigmas[:-1] * scheduler.config.num_train_timesteps
    timesteps = our_timesteps(scheduler, model.schedule)
    assert len(timesteps) == steps
    theirs = their_samples(scheduler, small_unet, step, monkeypatch)
    start = NOISE.initial()
    if name != "FlowMatchEulerDiscrete" and hasattr(scheduler, "sigmas") and scheduler.init_noise_sigma != 1:
        # They start from noise of the standard deviation sqrt(1 + sigma²) in x/alpha, or sigma; we from that of the state.
        start = start * scheduler.init_noise_sigma * model.schedule.at(timesteps[0])[0].item()
    *_, last = SAMPLERS[sampler](model.denoiser, start, timesteps, model.schedule, noise=NOISE)
    scale = theirs.abs().max().clamp(min=1)
    torch.testing.assert_close(last.x / scale, theirs / scale, rtol=0, atol=1e-4)


def test_schedulers_of_samplers_that_we_lack_say_how_the_model_was_trained():
    """What is imported is the schedule and the prediction, so any scheduler of diffusers made from the same file agrees."""
    expected = diffusers.DDIMScheduler(**SHORT | SCALED).alphas_cumprod
    tested = {f"{name}Scheduler" for name, *_ in FAMILIES}
    for name in sorted(set(VARIANCE_PRESERVING) - tested):
        notes = []
        found = read_scheduler({"_class_name": name} | SHORT | SCALED, Path("scheduler_config.json"), notes)
        kept = make_diffusion_schedule(found).alphas_cumprod.float()
        torch.testing.assert_close(kept, expected, rtol=1e-6, atol=0)
        assert (found.prediction, found.schedule_name) == ("epsilon", "scaled_linear"), name
        assert "the noise schedule scaled_linear is kept as a table of 200 betas" in notes


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_is_exact_to_the_timestep(shift, small_unet, import_it, tmp_path):
    """At every timestep, and between them, the network is asked as diffusers asks it: at T·sigma."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    diffusers.DDPMPipeline(small_unet, scheduler).save_pretrained(tmp_path / "pipeline")
    model = load_model(import_it(tmp_path / "pipeline")[0], "cpu", torch.float32)
    torch.testing.assert_close(model.schedule.sigma.flip(0).float(), scheduler.sigmas, rtol=1e-6, atol=0)
    x = NOISE.initial()
    for t in (0.0, 1.0, 499.5, 998.25, 999.0):
        sigma = model.schedule.at(t)[1].item()
        with torch.no_grad():
            expected = x - sigma * small_unet(x, torch.tensor(1000 * sigma), return_dict=False)[0]
            torch.testing.assert_close(model.denoiser(x, t), expected, rtol=0, atol=1e-5)
            torch.testing.assert_close(model.denoiser(x, torch.tensor([t, t])), expected, rtol=0, atol=1e-5)
