"""Networks whose numbers overflow end with a sentence that names the model and the step, and make no black images."""

from __future__ import annotations

import shutil

import pytest
import torch

from diffusion_core.denoiser import clip
from diffusion_core.samplers import Step
from pipelines.common.finite import NotFiniteError
from pipelines.evaluation.judges import judge_for
from pipelines.evaluation.measurements import likelihood, measure_samples
from pipelines.evaluation.real_images import RealImages
from pipelines.evaluation.results import Evaluation
from pipelines.models.loading import load_model
from pipelines.sampling.divergence import refuse_divergence
from pipelines.sampling.generation import Comparison
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.trajectory import TrajectoryJob
from pipelines.storage.run import Run
from pipelines.storage.weights import read_tensors, write_tensors


def magnified(run, folder, chosen=lambda name: True):
    """Return a copy of a run with some of its weights 1e20 times as large."""
    copy = Run(shutil.copytree(run.path, folder))
    weights, metadata = read_tensors(copy.model_path)
    write_tensors(copy.model_path, {name: part * (1e20 if chosen(name) else 1) for name, part in weights.items()}, metadata)
    return copy


@pytest.fixture
def broken(tiny_run, tmp_path):
    """A run whose weights are 1e20 times too large."""
    return magnified(tiny_run, tmp_path / "broken")


def test_samples_and_measurements_of_broken_weights_are_refused(command, broken, judge, tmp_path):
    done = command("pipelines.sample", broken.path, "--num-images", 2, "--steps", 3, "--out", tmp_path / "samples")
    assert done.refused_in_one_sentence().startswith("broken computed NaN or infinite numbers in step 1 of 3: its weights are")
    assert not (tmp_path / "samples").exists()
    limits = ("--num-images", 10, "--held-out-images", 10, "--reference-images", 30)
    sentence = command("pipelines.evaluate", broken.path, "--features", judge, *limits).refused_in_one_sentence()
    assert "broken computed NaN or infinite numbers on noisy held-out images" in sentence
    assert Evaluation(broken).results == []
    model = load_model(broken)
    real = RealImages(model.config, judge_for(model.config, judge), 30, 10)
    with pytest.raises(NotFiniteError, match="in the bound on the likelihood"):
        likelihood(model, real, 2, 20, 0, 2)
    with pytest.raises(NotFiniteError, match="in step 1 of 3"):
        measure_samples(model, real, SamplingRequest(num_images=10, steps=3), {}, 10)


def test_the_dashboard_says_so_too(broken, wait_for):
    queue = GenerationQueue()
    request = SamplingRequest(num_images=2, steps=3)
    jobs = [queue.submit(Comparison.of([(broken, request)])), queue.submit(TrajectoryJob(broken, request, (0,)))]
    for job in jobs:
        wait_for(lambda job=job: not job.active)
        assert job.status == "failed"
        assert "broken computed NaN or infinite numbers in step 1 of 3" in job.error
    queue.close()


def test_an_autoencoder_that_overflows_is_named(latent_run, tmp_path):
    model = load_model(magnified(latent_run, tmp_path / "latent", lambda name: name.startswith("autoencoder.")))
    with pytest.raises(NotFiniteError, match="the autoencoder of latent computed NaN or infinite numbers from latents"):
        model.decode(torch.zeros(1, *model.state_shape))
    with pytest.raises(NotFiniteError, match="the autoencoder of latent computed NaN or infinite numbers from an image"):
        model.encode(torch.zeros(1, *model.image_shape))


def test_infinite_estimates_do_not_pass_for_black_or_white():
    estimate = torch.tensor([0.5, 7.0, -torch.inf, torch.inf, torch.nan])
    assert clip(estimate, -1, 1).nan_to_num(9).tolist() == [0.5, 1.0, 9.0, 9.0, 9.0]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_accelerator_is_asked_once_at_the_end(device):
    """A meta tensor has no numbers: asking it for one is an error, which shows when it is asked."""
    steps = [Step(index, 0.0, torch.zeros(1, device=device), torch.zeros(1, device=device), index) for index in range(4)]
    steps[2] = Step(2, 0.0, steps[2].x, torch.full((1,), torch.nan, device=device), 2)
    checked = refuse_divergence(iter(steps), 3, "model")
    good = 2 if device == "cpu" else 3  # up to the sample
    assert [next(checked).index for _ in range(good)] == list(range(good))
    with pytest.raises((NotFiniteError, RuntimeError)):
        next(checked)


def test_finite_steps_pass_unchanged(tiny_run):
    model = load_model(tiny_run)
    from pipelines.sampling.sample import sample

    steps = list(sample(model, SamplingRequest(num_images=2, steps=3)))
    assert [step.index for step in steps] == [0, 1, 2, 3]
    again = list(refuse_divergence(iter(steps), 3, "model"))
    assert all(one is other for one, other in zip(steps, again, strict=True))
