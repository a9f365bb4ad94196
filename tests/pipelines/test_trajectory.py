"""Trajectories: the same pixels as sampling, exact ends between two seeds, and strength as a distance from the image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from diffusion_core.process import noise_from_x0
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SPACINGS
from pipelines.images import to_uint8
from pipelines.sample import SamplingRequest, load_model, sample
from pipelines.starts import fit_to_model, start_between_seeds, start_from_image, start_from_noise, start_inside_image
from pipelines.trajectory import MAX_FRAMES, NOISE_RANGE, trajectory

REQUEST = SamplingRequest(num_images=4, seed=3, steps=6)


@pytest.fixture(scope="module")
def model(tiny_run):
    """In float32, where the sums of a batch differ least."""
    return load_model(tiny_run, dtype=torch.float32)


@pytest.fixture(scope="module")
def picture():
    """A colourful image with structure, larger than the model's and not square."""
    y, x = np.mgrid[0:30, 0:50]
    return np.stack([x * 5, y * 8, (x + y) * 3], axis=-1).astype(np.uint8)


def _rms(a, b) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_from_noise_it_is_what_sampling_passes_through(model, sampler):
    request = SamplingRequest(num_images=4, seed=3, sampler=sampler, steps=6)
    expected = list(sample(model, request, [2]))
    way = trajectory(model, request, start_from_noise(model, request, [2]))
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
    way = trajectory(model, REQUEST, start_from_noise(model, REQUEST))
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
    way = trajectory(model, REQUEST, start_from_noise(model, REQUEST))
    assert way.alpha[0] == 0
    assert way.log_snr[0] == -np.inf
    assert np.isfinite(way.moved).all()
    assert way.noise[0].std() > 10


def test_a_batch_is_what_its_images_are_alone(model):
    batch = trajectory(model, REQUEST, start_from_noise(model, REQUEST))
    for number in range(4):
        alone = trajectory(model, REQUEST, start_from_noise(model, REQUEST, [number]))
        assert np.abs(batch.x[:, number].astype(int) - alone.x[:, 0]).max() <= 1
        assert np.abs(batch.x0[:, number].astype(int) - alone.x0[:, 0]).max() <= 1
        assert np.allclose(batch.moved[:, number], alone.moved[:, 0], atol=1e-4)


def test_one_step_is_a_trajectory(model):
    request = SamplingRequest(steps=1)
    way = trajectory(model, request, start_from_noise(model, request, [0]))
    assert way.x.shape[:2] == (2, 1)
    assert way.moved.shape == (1, 1)
    assert way.moved_x0.shape == (0, 1)


def test_many_steps_keep_a_bounded_number_of_frames_and_every_distance(model):
    request = SamplingRequest(steps=250, sampler="ddim")
    way = trajectory(model, request, start_from_noise(model, request, [0]))
    assert len(way.steps) == len(way.x) == MAX_FRAMES
    assert way.steps[0] == 0
    assert way.steps[-1] == 250
    assert way.moved.shape == (250, 1)


def test_progress_is_told_after_every_step_and_may_stop_it(model):
    told = []
    trajectory(model, REQUEST, start_from_noise(model, REQUEST, [0]), told.append)
    assert told == pytest.approx([index / 6 for index in range(7)])

    def stop(share):
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trajectory(model, REQUEST, start_from_noise(model, REQUEST, [0]), stop)
    trajectory(model, REQUEST, start_from_noise(model, REQUEST, [0]))  # and the next one has its turn


def test_pictures_hold_state_estimate_and_noise_side_by_side(model):
    way = trajectory(model, REQUEST, start_from_noise(model, REQUEST))
    side = model.image_shape[1]
    for frame, picture in enumerate(way.pictures(1, background=7)):
        assert picture.shape == (side, 3 * side + 4, 3)
        assert np.array_equal(picture[:, :side], way.x[frame, 1])
        assert np.array_equal(picture[:, side + 2 : 2 * side + 2], way.x0[frame, 1])
        assert np.array_equal(picture[:, -side:], way.noise[frame, 1])
        assert (picture[:, side : side + 2] == 7).all()


# --- between two seeds


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])  # ddpm adds noise on the way, which must be interpolated as well
def test_weights_0_and_1_are_the_seeds_themselves(model, sampler):
    first, second = (SamplingRequest(seed=seed, sampler=sampler, steps=6) for seed in (3, 8))
    start = start_between_seeds(model, first, 8, [0.0, 0.5, 1.0], image=5)
    assert torch.equal(start.x[[0]], start_from_noise(model, first, [5]).x)
    assert torch.equal(start.x[[2]], start_from_noise(model, second, [5]).x)
    way = trajectory(model, first, start)
    for place, request in ((0, first), (2, second)):
        *_, expected = sample(model, request, [5])
        assert np.abs(way.x[-1, place].astype(int) - to_uint8(expected.x)[0]).max() <= 1
    assert not np.array_equal(way.x[-1, 1], way.x[-1, 0])


def test_the_middle_of_the_arc_is_standard_normal(model):
    start = start_between_seeds(model, REQUEST, 4, [0.5] * 32)
    ends = start_between_seeds(model, REQUEST, 4, [0.0, 1.0])
    assert start.x.std() == pytest.approx(ends.x.std().item(), rel=0.1)


@pytest.mark.parametrize("weight", [-0.1, 1.01, float("nan")])
def test_a_weight_off_the_arc_is_refused(model, weight):
    with pytest.raises(ValueError, match="choose numbers from 0"):
        start_between_seeds(model, REQUEST, 4, [0.5, weight])


# --- from an image


def test_more_strength_leads_further_from_the_image(model, picture):
    request = SamplingRequest(steps=20, sampler="ddim")
    clean = fit_to_model(model, picture)
    distances = []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        *_, step = sample(model, request, start=start_from_image(model, request, picture, strength, [0]))
        distances.append(_rms(step.x, clean))
    assert distances == sorted(distances)
    assert distances[0] < 0.2
    assert distances[-1] > 2 * distances[0]


@pytest.mark.parametrize("spacing", list(SPACINGS))
def test_strength_chooses_the_timesteps(model, picture, spacing):
    request = SamplingRequest(steps=20, spacing=spacing)
    everything = start_from_noise(model, request, [0]).timesteps
    assert torch.equal(start_from_image(model, request, picture, 1.0).timesteps, everything)
    half = start_from_image(model, request, picture, 0.5).timesteps
    assert torch.equal(half, everything[everything <= 500])
    assert torch.equal(start_from_image(model, request, picture, 0.0).timesteps, everything[-1:])


def test_the_state_at_the_start_is_the_noised_image(model, picture):
    request = SamplingRequest(seed=9, steps=20)
    start = start_from_image(model, request, picture, 0.5, [4])
    alpha, sigma = model.schedule.at(start.timesteps[0])
    noise = start_from_noise(model, request, [4]).x
    assert torch.allclose(start.x, alpha.item() * fit_to_model(model, picture) + sigma.item() * noise, atol=1e-6)
    way = trajectory(model, request, start)
    assert way.timesteps[0] == start.timesteps[0]
    assert np.array_equal(way.x[0], to_uint8(start.x))


def test_as_many_variations_as_images(model, picture):
    *_, together = sample(model, REQUEST, start=start_from_image(model, REQUEST, picture, 0.6))
    *_, alone = sample(model, REQUEST, [2], start=start_from_image(model, REQUEST, picture, 0.6, [2]))
    assert len(together.x) == REQUEST.num_images
    torch.testing.assert_close(together.x[2:3], alone.x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_out_of_range_is_refused(model, picture, strength):
    with pytest.raises(ValueError, match="choose a number from 0"):
        start_from_image(model, REQUEST, picture, strength)


# --- with part of an image known


@pytest.fixture(scope="module")
def left_half(picture):
    """White where the picture is made anew."""
    mask = np.zeros((*picture.shape[:2], 1), np.uint8)
    mask[:, : picture.shape[1] // 2] = 255
    return mask


@pytest.mark.parametrize(("sampler", "resamplings"), [(name, 1) for name in SAMPLERS] + [("ddpm", 3)])
def test_what_is_known_stays_and_the_rest_is_made(model, picture, left_half, sampler, resamplings):
    request = SamplingRequest(num_images=2, sampler=sampler, steps=6)
    start = start_inside_image(model, request, picture, left_half, resamplings=resamplings)
    *_, step = sample(model, request, start=start)
    clean = fit_to_model(model, picture)
    assert torch.equal(step.x[..., 4:], clean[..., 4:].expand(2, -1, -1, -1))
    assert (step.x[..., :4] - clean[..., :4]).abs().mean() > 0.05
    assert step.nfe == (5 * resamplings + 1 if resamplings > 1 else step.nfe)


def test_a_mask_without_white_is_refused(model, picture):
    with pytest.raises(ValueError, match="nothing to make"):
        start_inside_image(model, REQUEST, picture, np.zeros((30, 50, 1), np.uint8))
    with pytest.raises(ValueError, match="resamplings=0"):
        start_inside_image(model, REQUEST, picture, np.full((30, 50, 1), 255, np.uint8), resamplings=0)


@pytest.mark.parametrize("shape", [(30, 50, 3), (7, 7, 1), (200, 90, 1), (8, 8, 3)])
def test_any_image_fits_the_model(model, shape):
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    x = fit_to_model(model, picture)
    assert x.shape == (1, *model.image_shape)
    assert -1 <= x.min() <= x.max() <= 1
    if shape == (8, 8, 3):
        assert np.array_equal(to_uint8(x)[0], picture)
