"""Which images are held out, while training and afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_pictures import first_pixels, flat, pictures_config, write_picture
from PIL import Image

from pipelines.datasets.image_sets import load_images
from pipelines.datasets.sources import open_dataset, resolve
from pipelines.storage.config import DataConfig


@pytest.mark.parametrize("held_out_images", [1, 3, 1000])
def test_held_out_images_never_train(tmp_path, held_out_images):
    for number in range(50):
        write_picture(tmp_path, f"{number}.png", flat("L", number))
    config = pictures_config(tmp_path, held_out_images=held_out_images)
    train, held_out = load_images(config)
    assert sorted(first_pixels(train) + first_pixels(held_out)) == list(range(50))
    assert len(held_out) == min(held_out_images, 5)
    again, held_out_again = load_images(config)
    assert torch.equal(train.images, again.images)
    assert torch.equal(held_out.images, held_out_again.images)


def test_rows_are_arrays_even_of_one(tmp_path):
    """A tensor of one number once indexed them as a number would."""
    for number in range(8):
        write_picture(tmp_path, f"{number}.png", flat("L", number))
    train, held_out = load_images(pictures_config(tmp_path))
    assert (train.rows.shape, held_out.rows.shape) == ((7,), (1,))
    assert sorted([*train.rows, *held_out.rows]) == list(range(8))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_test_split_is_held_out_instead(tmp_path, split):
    for number in range(12):
        write_picture(tmp_path / "train", f"{number:02d}.png", flat("L", number))
        write_picture(tmp_path / split, f"{number:02d}.png", flat("L", 100 + number))
    train, held_out = load_images(pictures_config(tmp_path, held_out_images=5))
    assert sorted(first_pixels(train)) == list(range(12))
    assert first_pixels(held_out) == [100, 101, 102, 103, 104]
    swapped, _ = load_images(pictures_config(tmp_path, train_split=split))
    assert min(first_pixels(swapped)) >= 100


@pytest.mark.parametrize("count", [3, 6, 17, 18, 1000])
def test_of_a_test_split_sorted_by_class_every_class_is_held_out(tmp_path, count):
    """The first of them would be of one class."""
    for shade, name in enumerate("abc"):
        for number in range(6):
            write_picture(tmp_path / "train" / name, f"{number}.png", flat("L", 50 * shade + number))
            write_picture(tmp_path / "test" / name, f"{number}.png", flat("L", 50 * shade + number))
    _, held_out = load_images(pictures_config(tmp_path, held_out_images=count))
    labels = open_dataset(str(tmp_path))["test"]["label"]
    assert [labels[row] for row in held_out.rows] == [value // 50 for value in first_pixels(held_out)]
    assert len(set(held_out.rows)) == len(held_out) == min(count, 18)
    if count == 18:
        assert len({labels[row] for row in held_out.rows[:6]}) == 3, "nor are the first of these"
    shares = np.bincount([labels[row] for row in held_out.rows], minlength=3)
    assert shares.max() - shares.min() <= 1


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a")])
def test_so_is_every_one_of_some_classes_in_any_order(tmp_path, order):
    for split in ("train", "test"):
        for number, name in enumerate("abc"):
            (tmp_path / split / name).mkdir(parents=True)
            for image in range(12):
                Image.new("L", (4, 4), 80 * number + image).save(tmp_path / split / name / f"{image}.png")
    config = resolve(DataConfig(data=str(tmp_path), image_size=4, held_out_images=8, only_classes=order))
    _, held_out = load_images(config)
    found = {int(image.float().mean()) // 80 for image in held_out.images}
    assert found == {"abc".index(name) for name in order}


@pytest.mark.parametrize("measured", [1, 4, 1000])
def test_images_that_were_trained_on_are_not_measured_as_held_out(tmp_path, measured):
    for number in range(100):
        write_picture(tmp_path, f"{number}.png", flat("L", number))
    config = pictures_config(tmp_path, held_out_images=4)
    seen, _ = load_images(config)
    train, held_out = load_images(config, measured)
    assert torch.equal(train.images, seen.images)
    assert not set(first_pixels(train)) & set(first_pixels(held_out))
    assert len(held_out) == min(measured, 4)


def test_more_of_a_test_split_may_be_measured_than_while_training(tmp_path):
    for number in range(12):
        write_picture(tmp_path / "train", f"{number:02d}.png", flat("L", number))
        write_picture(tmp_path / "test", f"{number:02d}.png", flat("L", 100 + number))
    assert len(load_images(pictures_config(tmp_path, held_out_images=5), 9)[1]) == 9


def test_fewer_images_are_trained_on_and_the_same_are_held_out(tmp_path):
    """Of the images that are left, evenly spaced, so that folders of classes keep their shares."""
    for number in range(50):
        write_picture(tmp_path, f"{number:02d}.png", flat("L", number))
    every, held_out = load_images(pictures_config(tmp_path))
    for count in (1, 2, 7, 45, 1000):
        train, same = load_images(pictures_config(tmp_path, train_images=count))
        assert same.digest() == held_out.digest()
        assert len(train) == min(count, len(every))
        assert sorted({*train.rows} | {*train.surplus}) == every.rows.tolist()
        gaps = np.diff(np.flatnonzero(np.isin(every.rows, train.rows)))
        assert not len(gaps) or gaps.max() - gaps.min() <= 1
