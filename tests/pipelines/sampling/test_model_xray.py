"""The X-ray of a model's sampling, in numbers, words and a figure; and samplers and spacings at equal calls."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gaussian_data import ALL_SCHEDULES, gaussian_denoiser, noise_for

from diffusion_core.choices import SAMPLERS, SPACINGS
from diffusion_core.fine_solution import fine_solution
from diffusion_core.samplers import SAMPLERS as FUNCTIONS
from diffusion_core.samplers import Move
from diffusion_core.schedules import sampling_timesteps
from diffusion_core.xray import rms, x_ray
from pipelines.common.images import png_bytes
from pipelines.figures.paper import file_content
from pipelines.figures.screen import changes, on_screen
from pipelines.figures.xray import standings_chart, xray_chart
from pipelines.models.loading import load_model
from pipelines.sampling.diagnosis import best_and_worst, diagnosis
from pipelines.sampling.equal_calls import StandingsJob, found_at, requests_at
from pipelines.sampling.origins import FROM_NOISE, FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import TrajectoryJob
from pipelines.sampling.xray import reports, xray, xray_of
from pipelines.storage.run import Run
from pipelines.storage.spacing import LearnedSpacing

REQUEST = SamplingRequest(num_images=2, seed=3, steps=5, sampler="dpmpp_2m")


@pytest.fixture(scope="module")
def model(tiny_run):
    return load_model(tiny_run, dtype=torch.float32)


def test_it_is_of_the_very_steps_that_sampling_takes(model):
    for sampler, spacing in (("dpmpp_2m", "leading"), ("ddpm", "trailing")):
        request = replace(REQUEST, sampler=sampler, spacing=spacing)
        steps, found = list(sample(model, request)), xray(model, request)
        assert found.timesteps.tolist() == [step.timestep for step in steps]
        assert found.orders.tolist() == [step.move.order if step.move else 0 for step in steps]
        assert np.allclose(found.rms, [rms(step.x).mean() for step in steps])
        assert (found.noise[1:-1] > 0).all() == (sampler == "ddpm")
        assert np.isfinite(found.global_error).all()
    assert xray(model, replace(REQUEST, spacing="leading")).global_error[0] > 0


def test_of_a_picture_the_fine_solution_starts_where_the_sampler_does(model):
    picture = png_bytes(np.full((8, 8, 3), 90, np.uint8))
    found = xray(model, replace(REQUEST, spacing="leading"), FromPicture(picture, 0.5))
    assert found.timesteps[0] <= 500
    assert found.global_error[0] == 0
    assert not any("noisiest" in sentence for sentence in diagnosis(found, "dpmpp_2m"))


def test_inpainting_is_refused_in_one_sentence(model):
    picture = png_bytes(np.full((8, 8, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="without a mask"):
        next(reports(model, REQUEST, origin=FromPicture(picture, 0.5, mask=png_bytes(np.full((8, 8), 255, np.uint8)))))


def examined(sampler, steps, spacing="trailing", schedule="flow", fault=None):
    """The X-ray of a sampler on data N(m, s²)."""
    schedule, noise = ALL_SCHEDULES[schedule], noise_for(1)
    denoise, x, timesteps = gaussian_denoiser(schedule), noise.initial(), sampling_timesteps(schedule, steps, spacing)
    taken = list(FUNCTIONS[sampler](denoise, x, timesteps, schedule, noise=noise))
    if fault is not None:
        taken[-1] = fault(taken[-1])
    found = x_ray(iter(taken), denoise, schedule, noise=noise, start=x, data_range=(-1.0, 1.0))
    return xray_of(SimpleNamespace(schedule=schedule, autoencoder=None), FROM_NOISE, list(found))


def said(found, sampler):
    return " ".join(diagnosis(found, sampler))


def adds_noise(step):
    x = step.x + 0.3 * torch.randn(step.x.shape, generator=torch.Generator().manual_seed(0))
    return replace(step, x=x, move=Move(x, noise=0.3))


def test_a_wrong_last_step_is_the_highest_stem_and_the_first_sentence():
    sound, wrong = examined("dpmpp_2m", 20), examined("dpmpp_2m", 20, fault=adds_noise)
    assert "stays in the sample" not in said(sound, "dpmpp_2m")
    assert diagnosis(wrong, "dpmpp_2m")[0] == "The last step adds noise of 0.3, which stays in the sample."
    assert "The last step (t = 49 to the sample) has the largest local error, 0.3" in said(wrong, "dpmpp_2m")
    assert "The last step jumps by 0.3" in said(wrong, "dpmpp_2m")
    stems = next(mark for mark in xray_chart(wrong).panels[0].marks if getattr(mark, "name", "").startswith("local"))
    assert max(stems.y) == stems.y[-1] > 10 * max(stems.y[:-1])


def test_each_sentence_needs_its_numbers():
    assert "The first timestep is 950, not 999: the noisiest part is never seen" in said(
        examined("ddim", 20, "leading"), "ddim"
    )
    assert "never seen" not in said(examined("ddim", 20), "ddim")
    assert "falls back from 3 to 1 (t = 50)" in said(examined("dpmpp_3m", 20, "leading"), "dpmpp_3m")
    assert "falls back" not in said(examined("ddim", 20, "leading"), "ddim")
    assert "falls back" not in said(examined("unipc", 20, "log_snr"), "unipc")
    assert "All steps but the last add fresh noise" in said(examined("ddpm", 10), "ddpm")
    assert "fresh noise" not in said(examined("ddim", 10), "ddim")
    assert "is of order 3, but no step here is of a higher order than 2" in said(examined("dpmpp_3m", 4), "dpmpp_3m")
    straight = examined("heun", 20)
    assert "almost straight" in said(straight, "heun")
    assert "clipped" not in said(replace(straight, clipped=straight.clipped * 0), "heun")
    assert "Up to 50% of the values" in said(replace(straight, clipped=np.full(21, 0.5)), "heun")
    assert diagnosis(examined("ddim", 1), "ddim")


def test_it_says_where_most_of_the_error_comes_from():
    found = examined("ddim", 4)
    late = replace(found, global_error=np.array([0.0, 0.7, 0.3, 0.6, 1.0]), local_error=np.array([0, 0.01, 0.01, 0.01, 0.3]))
    told = said(late, "ddim")
    assert "At least half of the error is there from step 3 (t = 499 to 249) on." in told
    assert "but before it the global error was already 0.6" in told
    early = replace(late, global_error=np.array([0.6, 0.6, 0.6, 0.6, 1.0]))
    assert "At least half of the error is there from the start." in said(early, "ddim")
    only = replace(late, global_error=np.array([0.0, 0.1, 0.1, 0.1, 1.0]))
    assert "At least half of the error is there from the last step (t = 249 to the sample) on." in said(only, "ddim")
    assert "already" not in said(only, "ddim")


def test_both_renderers_draw_it_and_the_mark_follows_the_player():
    found = examined("dpmpp_3m", 20, "leading")
    charts = [xray_chart(found, step) for step in range(found.steps + 1)]
    names = {trace.get("name") for trace in on_screen(charts[0])["data"]}
    assert {"global error", "local error", "order lower than before", "never seen"} <= names
    moved = [change["layout"]["shapes[0].x0"] for change in changes(charts)]
    assert moved == sorted(moved)
    assert file_content(charts[0], "svg").count(b"order lower than before") == 1
    assert "order lower than before" not in {mark.get("name") for mark in on_screen(xray_chart(examined("ddim", 5)))["data"]}


def test_standings_are_the_distances_from_the_fine_solution_at_equal_calls(model):
    found = found_at(model, REQUEST, calls=6)
    asked = requests_at(model.run, REQUEST, 6)
    assert [(row.sampler, row.spacing, row.steps) for row in found.rows] == [(r.sampler, r.spacing, r.steps) for r in asked]
    assert len(found.rows) == len(SPACINGS) * sum(bool(choice.order) for choice in SAMPLERS.values())
    assert all(row.nfe <= 6 for row in found.rows)
    start = FROM_NOISE.start(model, REQUEST, range(2))
    *_, exact = fine_solution(model.denoiser, start.x, start.timesteps, model.schedule)
    *_, made = sample(model, replace(REQUEST, sampler="heun", steps=3))
    row = next(row for row in found.rows if (row.sampler, row.spacing) == ("heun", "trailing"))
    assert row.error == pytest.approx(rms(made.x - exact.x).mean().item(), rel=0.1)
    best = min(found.rows, key=lambda row: row.error)
    assert best_and_worst(found).startswith(f"Closest: {SAMPLERS[best.sampler].title}")
    assert len(on_screen(standings_chart(found))["data"]) == len(SPACINGS)
    assert max(row.steps for row in found_at(model, replace(REQUEST, num_images=1), calls=1).rows) == 1


def test_standings_include_the_learned_spacing_where_it_is_learned(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run.path, tmp_path / "run"))
    learned = LearnedSpacing(run.fingerprint, "ddim", 1.0, 1, 0, ((999.0,), (999.0, 300.0)))
    job = partial(StandingsJob, run, REQUEST, 2, (0,), run.fingerprint)
    without = job()
    learned.write(run)
    with_learned = job()
    request = replace(REQUEST, spacing="learned", steps=2)
    way = TrajectoryJob(run, request, (0,))
    assert way.is_of(run, request, (0,), FROM_NOISE)
    assert not without.is_of(with_learned)
    asked = {(request.sampler, request.steps) for request in requests_at(run, REQUEST, 4) if request.spacing == "learned"}
    assert asked == {("heun", 2), ("dpmpp_2s", 2)}  # the others take 4 steps, for which none are learned
    found = found_at(load_model(run, dtype=torch.float32), replace(REQUEST, num_images=1), calls=2)
    spacings = [row.spacing for row in found.rows if row.sampler == "ddim"]
    assert len(spacings) == len(SPACINGS) + 1
    assert "Learned" in {trace.get("name") for trace in on_screen(standings_chart(found))["data"]}
    replace(learned, timesteps=((999.0,), (999.0, 500.0))).write(run)
    assert not job().is_of(with_learned)
    assert not way.is_of(run, request, (0,), FROM_NOISE)
    replace(learned, fingerprint="0" * 16).write(run)
    assert job().is_of(without)
