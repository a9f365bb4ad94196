"""Trajectories: the same pixels as sampling, distances, pictures of a frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from diffusion_core.process import noise_from_x0
from diffusion_core.samplers import SAMPLERS
from pipelines.common.images import to_uint8
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import MAX_FRAMES, sample
from pipelines.sampling.trajectory import NOISE_RANGE, trajectory

REQUEST = SamplingRequest(num_images=4, seed=3, steps=6)


@pytest.fixture(scope="module")
def model(tiny_run):
    """In float32, where the sums of a batch differ least."""
    return load_model(tiny_run, dtype=torch.float32)


def _rms(a, b) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_from_noise_it_is_what_sampling_passes_through(model, sampler):
    request = SamplingRequest(num_images=4, seed=3, sampler=sampler, steps=6)
    expected = list(sample(model, request, [2]))
    way = trajectory(model, request, [2])
    assert way.steps.tolist() == [step.index for step in expected]
    assert way.timesteps.tolist() == [step.timestep for step in expected]
    assert way.nfe.tolist() == [step.nfe for step in expected]
    assert np.array_equal(way.x, [to_uint8(step.x) for step in expected])
    assert np.array_equal(way.x0, [to_uint8(step.x0) for step in expected])
    assert np.array_equal(way.x[-1], way.x0[-1])
    for step, noise in zip(expected[:-1], way.noise, strict=False):
        alpha, sigma = (level.item() for level in model.schedule.at(step.timestep))
        assert np.array_equal(noise, to_uint8(noise_from_x0(step.x0, step.x, alpha, sigma) / NOISE_RANGE))
    for index, (before, after) in enumerate(pairwise(expected)):
        assert way.moved[index, 0] == pytest.approx(_rms(after.x, before.x), rel=1e-5)
    for index, (before, after) in enumerate(pairwise(expected[:-1])):
        assert way.moved_x0[index, 0] == pytest.approx(_rms(after.x0, before.x0), rel=1e-5)
    assert way.moved.shape == (6, 1)
    assert way.moved_x0.shape == (5, 1)


def test_the_sample_is_clean_and_has_no_noise(model):
    way = trajectory(model, REQUEST)
    assert (way.timesteps[-1], way.alpha[-1], way.sigma[-1], way.log_snr[-1]) == (0, 1, 0, np.inf)
    assert (way.noise[-1] == 128).all()
    assert way.labels[0] == "t = 999"
    assert way.labels[-1] == "sample"
    assert len(way.labels) == len(way.steps) == 7
    assert (np.diff(way.log_snr) > 0).all()


@pytest.mark.parametrize("schedule", ["flow", "linear"])
def test_pure_noise_has_a_finite_prediction(train, tmp_path, schedule):
    """alpha is 0 at the first timestep."""
    run = train(tmp_path / "run", schedule=schedule, zero_terminal_snr=True, steps=2)
    model = load_model(run)
    way = trajectory(model, REQUEST)
    assert way.alpha[0] == 0
    assert way.log_snr[0] == -np.inf
    assert np.isfinite(way.moved).all()
    assert way.noise[0].std() > 10


def test_a_batch_is_what_its_images_are_alone(model):
    batch = trajectory(model, REQUEST)
    for number in range(4):
        alone = trajectory(model, REQUEST, [number])
        assert np.abs(batch.x[:, number].astype(int) - alone.x[:, 0]).max() <= 1
        assert np.abs(batch.x0[:, number].astype(int) - alone.x0[:, 0]).max() <= 1
        assert np.allclose(batch.moved[:, number], alone.moved[:, 0], atol=1e-4)


def test_one_step_is_a_trajectory(model):
    request = SamplingRequest(steps=1)
    way = trajectory(model, request, [0])
    assert way.x.shape[:2] == (2, 1)
    assert way.moved.shape == (1, 1)
    assert way.moved_x0.shape == (0, 1)


def test_many_steps_keep_a_bounded_number_of_frames_and_every_distance(model):
    request = SamplingRequest(steps=250, sampler="ddim")
    way = trajectory(model, request, [0])
    assert len(way.steps) == len(way.x) == MAX_FRAMES
    assert way.steps[0] == 0
    assert way.steps[-1] == 250
    assert way.moved.shape == (250, 1)


def test_pictures_are_state_estimate_and_noise(model):
    way = trajectory(model, REQUEST)
    assert np.array_equal(way.pictures(1), np.stack([way.x[:, 1], way.x0[:, 1], way.noise[:, 1]], axis=1))


def test_the_distance_left_is_that_of_the_estimate_from_the_sample(model):
    way = trajectory(model, REQUEST)
    left = way.distance_left(2)
    first, third = (way.x0[frame, 2].astype(float) - way.x0[-1, 2] for frame in (0, 2))
    assert (left[0], left[-1]) == (1, 0)
    assert left[2] == pytest.approx(np.linalg.norm(third) / np.linalg.norm(first))
    way.x0[:, 2] = way.x0[-1, 2]
    assert not way.distance_left(2).any()
