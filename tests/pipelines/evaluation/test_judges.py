"""Judges of several sizes: which one sees a run's images, and what it sees that a smaller one cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.judges import blurred, chequered, noisy, without_details
from pipelines.common.images import as_input, split_montage
from pipelines.evaluation.judges import PHOTOGRAPHS, judge_for, shipped_classifiers
from pipelines.storage.files import CLASSIFIERS, ROOT

FLOWERS = "oxford_flowers"


@pytest.fixture
def of_images(small_config):
    """The configuration of a run on a dataset's images of a size."""

    def config(data, height, width):
        usual = small_config()
        return replace(usual, data=replace(usual.data, data=data), image_shape=(3, height, width))

    return config


@pytest.mark.parametrize(
    ("data", "size", "name"),
    [
        (FLOWERS, (32, 32), "oxford-flowers classifier"),
        (FLOWERS, (48, 64), "oxford-flowers classifier, images made 32×32"),
        (FLOWERS, (64, 64), "oxford-flowers-64 classifier"),
        (FLOWERS, (96, 96), "oxford-flowers-64 classifier, images made 64×64"),
        (FLOWERS, (128, 128), "oxford-flowers-128 classifier"),
        (FLOWERS, (256, 256), "oxford-flowers-128 classifier, images made 128×128"),
        (PHOTOGRAPHS, (64, 64), "tiny-imagenet-64 classifier"),
        ("holidays", (32, 32), "tiny-imagenet classifier"),
        ("holidays", (64, 64), "tiny-imagenet-64 classifier"),
    ],
)
def test_images_are_seen_at_their_own_size_or_the_next_smaller_one(of_images, data, size, name):
    judge = judge_for(of_images(data, *size))
    assert judge.name == name
    assert (judge.classifier is None) == (data == "holidays")
    assert judge.features(torch.zeros(2, 3, *size)).shape == (2, 256)


@pytest.fixture(scope="module")
def pictures():
    """64×64 pictures of flowers, as pixels of a shipped run's samples, (36, 3, 64, 64) in [−1, 1]."""
    grid = np.asarray(Image.open(ROOT / "checkpoints/flowers-class-64/samples/step-00011180.png"))
    return as_input(torch.from_numpy(split_montage(grid, 64, 64, 36)).permute(0, 3, 1, 2))


def moved(judge, x, changed):
    """Return how far features move, in units of the distance between different pictures."""
    seen = judge.features(x)
    return float((judge.features(changed) - seen).norm(dim=1).mean() / torch.pdist(seen).mean())


@pytest.mark.parametrize("data", [FLOWERS, PHOTOGRAPHS])
def test_a_judge_of_64_pixels_sees_what_one_of_32_cannot(pictures, data):
    """What is lost when images are made smaller, and a pattern that leaves the smaller ones as they are."""
    large, small = (judge for _, judge in shipped_classifiers(data, (3, 64, 64)))
    for changed in (without_details(pictures, 32), chequered(pictures, 0.1)):
        assert moved(small, pictures, changed) < 1e-3
        assert moved(large, pictures, changed) > 0.03


@pytest.mark.parametrize("disturb", [blurred, noisy])
def test_what_is_disturbed_more_is_farther_away(pictures, disturb):
    for _, judge in shipped_classifiers(FLOWERS, (3, 64, 64)):
        distances = [moved(judge, pictures, disturb(pictures, strength)) for strength in (0.0, 0.1, 0.5, 1.0, 2.0)]
        assert distances == sorted(distances)
        assert distances[0] < 1e-4 < distances[-1]


def test_classifiers_are_small():
    """Those of larger images are kept in half precision."""
    sizes = {path.stem: path.stat().st_size / 2**20 for path in CLASSIFIERS.glob("*.safetensors")}
    assert all(size < (4 if name.endswith(("-64", "-128")) else 5) for name, size in sizes.items())
