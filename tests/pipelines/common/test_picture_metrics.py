"""Differences between columns: aligned by noise level, and the numbers that everybody else computes."""

import math

import numpy as np
import pytest
import torch

from pipelines.common.picture_metrics import difference_map, mean_squared_error, structural_similarity
from pipelines.sampling.alignment import frame_at, shared_log_snrs
from pipelines.sampling.generation import Frame, Generation
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import RunConfig
from pipelines.storage.run import Run


def generation(*log_snrs):
    empty = np.zeros((1, 2, 2, 1), np.uint8)
    frames = [Frame(i, 0.0, level, empty, empty, i, 0.0) for i, level in enumerate(log_snrs)]
    return Generation(Run("nowhere"), SamplingRequest(), "", RunConfig(image_shape=(1, 2, 2)), frames)


def pictures(seed, shape=(3, 16, 20, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_levels_of_all_columns_are_merged_and_nearly_equal_ones_are_one():
    one, two = generation(-math.inf, -4.0, 0.0, math.inf), generation(-7.0, -4.01, 3.0, math.inf)
    assert shared_log_snrs([one, two]) == [-math.inf, -7.0, -4.01, 0.0, 3.0, math.inf]
    assert shared_log_snrs([generation()]) == []


@pytest.mark.parametrize(("level", "index"), [(-math.inf, 0), (-5.0, 1), (-1.9, 2), (100.0, 2), (math.inf, 3)])
def test_the_nearest_frame_is_shown(level, index):
    assert frame_at(generation(-math.inf, -4.0, 0.0, math.inf).frames, level).index == index


def test_every_frame_is_reached_by_its_own_level():
    frames = generation(-8.0, -2.0, 1.0, math.inf).frames
    assert [frame_at(frames, frame.log_snr).index for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [0, 5, 60])
def test_ssim_agrees_with_torchmetrics(channels, noise):
    from torchmetrics.functional.image import structural_similarity_index_measure

    a = pictures(0, (4, 17, 24, channels))
    b = np.clip(a + np.random.default_rng(1).normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(part).permute(0, 3, 1, 2).double() / 255 for part in (a, b)]
    _, everywhere = structural_similarity_index_measure(*tensors, data_range=1.0, return_full_image=True)
    inside = everywhere[..., 5:-5, 5:-5]  # torchmetrics also averages over windows that lie half in a mirrored border
    assert structural_similarity(a, b) == pytest.approx(inside.mean().item(), abs=1e-9)


def test_equal_pictures_do_not_differ():
    a = pictures(0)
    assert mean_squared_error(a, a) == 0
    assert structural_similarity(a, a) == pytest.approx(1)
    assert not difference_map(a, a).any()


def test_black_and_white_differ_most():
    black, white = np.zeros((2, 12, 12, 3), np.uint8), np.full((2, 12, 12, 3), 255, np.uint8)
    assert mean_squared_error(black, white) == 1
    assert (difference_map(black, white) == 255).all()
    assert difference_map(black, white).shape == (2, 12, 12, 1)


def test_differences_do_not_depend_on_the_order():
    a, b = pictures(0), pictures(1)
    assert np.array_equal(difference_map(a, b), difference_map(b, a))
    assert structural_similarity(a, b) == pytest.approx(structural_similarity(b, a))


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="images of 8×8 pixels: SSIM needs at least 11×11"):
        structural_similarity(pictures(0, (1, 8, 8, 1)), pictures(1, (1, 8, 8, 1)))
