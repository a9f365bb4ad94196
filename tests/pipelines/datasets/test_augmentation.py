"""Augmentation: what is done is what is told, and nothing is told when nothing is done."""

import math

import pytest
import torch

from pipelines.datasets.augmentation import AUGMENT_DIM, SCALE, SHIFT, augment, draw_augmentations

MIRROR, FLIP, SIZE, COS, SIN, STRETCH_COS, STRETCH_SIN, RIGHT, DOWN = range(AUGMENT_DIM)


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def change(count=4, **columns):
    changes = torch.zeros(count, AUGMENT_DIM)
    for column, value in columns.items():
        changes[:, globals()[column]] = value
    return changes


def test_nothing_leaves_every_bit(images):
    assert torch.equal(augment(images, change()), images)


def test_an_image_does_not_depend_on_the_others(images):
    changes = draw_augmentations(4, 0.7, torch.Generator().manual_seed(1))
    together = augment(images, changes)
    for number in range(4):
        alone = augment(images[number : number + 1], changes[number : number + 1])
        torch.testing.assert_close(together[number : number + 1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MIRROR": 1}, lambda x: x.flip(-1)),
        ({"FLIP": 1}, lambda x: x.flip(-2)),
        ({"COS": -2}, lambda x: x.flip(-1, -2)),
        ({"COS": -1, "SIN": 1}, lambda x: x.rot90(1, (-2, -1))),
        ({"MIRROR": 1, "FLIP": 1, "COS": -2}, lambda x: x),
    ],
)
def test_mirrors_and_right_angles_are_exact(images, changes, expected):
    torch.testing.assert_close(augment(images, change(**changes)), expected(images), rtol=0, atol=1e-5)


def test_shifts_move_whole_pixels(images):
    pixels = 2
    units = pixels / 16 / SHIFT
    moved = augment(images, change(RIGHT=units))
    torch.testing.assert_close(moved[..., pixels:], images[..., :-pixels], rtol=0, atol=1e-5)
    moved = augment(images, change(DOWN=units))
    torch.testing.assert_close(moved[..., pixels:, :], images[..., :-pixels, :], rtol=0, atol=1e-5)


def test_sizes_and_stretches_are_powers_of_two():
    """A ramp that is zoomed by a factor rises as much more slowly; a stretch keeps the area."""
    ramp = (torch.arange(32) - 15.5).expand(1, 1, 32, 32) / 16
    middle = (slice(None), slice(None), slice(12, 20), slice(12, 20))
    zoomed = augment(ramp, change(1, SIZE=1 / SCALE))
    torch.testing.assert_close(zoomed[middle], ramp[middle] / 2, rtol=0, atol=1e-5)
    stretched = augment(ramp, change(1, STRETCH_COS=1 / SCALE))
    torch.testing.assert_close(stretched[middle], ramp[middle] / 2, rtol=0, atol=1e-5)
    across = augment(ramp.mT.contiguous(), change(1, STRETCH_COS=1 / SCALE))
    torch.testing.assert_close(across[middle], ramp.mT[middle] * 2, rtol=0, atol=1e-5)


def test_probabilities_are_kept():
    changes = draw_augmentations(20_000, 0.3, torch.Generator().manual_seed(0))
    share = (changes != 0).double().mean(0)
    assert share[[MIRROR, FLIP]].tolist() == pytest.approx([0.15, 0.15], abs=0.01)
    assert share[[SIZE, SIN, STRETCH_COS, RIGHT, DOWN]].tolist() == pytest.approx([0.3] * 5, abs=0.015)
    assert not draw_augmentations(50, 0.0, torch.Generator().manual_seed(0)).any()
    angles = torch.atan2(changes[:, SIN], changes[:, COS] + 1)
    assert angles.abs().max().item() == pytest.approx(math.pi, abs=0.01)
    assert changes[:, SIZE][changes[:, SIZE] != 0].std().item() == pytest.approx(1, abs=0.03)


def test_outside_is_the_mirror_image(images):
    flat = torch.full_like(images, 0.4)
    changes = draw_augmentations(4, 1.0, torch.Generator().manual_seed(2))
    torch.testing.assert_close(augment(flat, changes), flat)
