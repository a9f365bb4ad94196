"""Images of every kind become uint8 in memory; what cannot be read is named, and the rest is used."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from made_pictures import MODES, bomb_png, flat, pictures_config, saved, write_picture
from PIL import Image

from pipelines.datasets.decoding import fit_image
from pipelines.datasets.files.inventory import Unused
from pipelines.datasets.image_sets import load_images, preview_images, read_images
from pipelines.datasets.sources import PRESETS, image_column, open_dataset, resolve
from pipelines.storage.config import DataConfig

# --- one image


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(4, 4), (30, 20), (20, 30), (8, 8), (1, 50), (300, 7), (1, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_every_shape_becomes_the_same_square(fit, size, mode):
    result = fit_image(Image.new(mode, size, "white"), 8, fit)
    assert result.size == (8, 8)
    assert result.mode == mode
    pixels = np.asarray(result)
    if fit == "crop" or size[0] == size[1] >= 8:
        assert (pixels == 255).all()
    else:
        assert (pixels[0, 0] == 0).all()  # a black frame
        assert (pixels == 255).any()  # around all of the image, however thin


def test_padding_keeps_small_images_pixel_by_pixel_in_the_middle():
    image = Image.fromarray(np.random.default_rng(0).integers(1, 255, (28, 28), dtype=np.uint8))
    padded = np.asarray(fit_image(image, 32, "pad"))
    assert np.array_equal(padded[2:30, 2:30], np.asarray(image))
    assert padded.sum() == np.asarray(image).sum()


def test_cropping_keeps_the_middle():
    image = np.zeros((8, 24), np.uint8)
    image[:, 8:16] = 200
    assert (np.asarray(fit_image(Image.fromarray(image), 8, "crop")) == 200).all()


# --- folders


def test_a_grey_folder_has_one_channel_and_a_mixed_one_three(tmp_path):
    for number in range(4):
        write_picture(tmp_path / "grey", f"{number}.png", flat("L", 10 * number))
        write_picture(tmp_path / "mixed", f"{number}.png", flat("L", 10 * number) if number else flat("RGB", (9, 8, 7)))
    grey = read_images(open_dataset(str(tmp_path / "grey"))["train"], pictures_config(tmp_path / "grey"))
    mixed = read_images(open_dataset(str(tmp_path / "mixed"))["train"], pictures_config(tmp_path / "mixed"))
    assert grey.images.shape == (4, 1, 8, 8)
    assert mixed.images.shape == (4, 3, 8, 8)
    assert grey.images.dtype == mixed.images.dtype == torch.uint8
    assert sorted(image[0, 0, 0].item() for image in grey.images) == [0, 10, 20, 30]
    assert sorted(tuple(image[:, 0, 0].tolist()) for image in mixed.images) == [
        (9, 8, 7),
        (10, 10, 10),
        (20, 20, 20),
        (30, 30, 30),
    ]


def test_a_preview_shows_every_second_image_mirrored_where_training_does(tmp_path):
    corner = np.zeros((8, 8), np.uint8)
    corner[0, :3] = 255  # at the top, on the left
    for number in range(4):
        write_picture(tmp_path, f"{number}.png", Image.fromarray(corner))
    mirrored, plain = (preview_images(replace(pictures_config(tmp_path), flip=flip))[..., 0] for flip in (True, False))
    assert (plain == corner).all()
    assert (mirrored[::2] == corner).all()
    assert (mirrored[1::2] == corner[:, ::-1]).all()


def test_a_preview_is_full_where_most_pictures_are_damaged(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.png").write_bytes(b"x")
    for number in (3, 21, 30):
        write_picture(tmp_path, f"{number:02}.png", flat("L", number))
    assert [image[0, 0, 0] for image in preview_images(pictures_config(tmp_path), 2)] == [3, 30]
    assert len(preview_images(pictures_config(tmp_path), 16)) == 3


def test_grey_training_and_coloured_held_out_images_agree_on_channels(tmp_path):
    for number in range(20):
        write_picture(tmp_path, f"{number}.png", flat("L", number) if number % 10 else flat("RGB", (number, 0, 9)))
    train, held_out = load_images(pictures_config(tmp_path))
    assert train.images.shape[1:] == held_out.images.shape[1:] == (3, 8, 8)
    assert len(train) == 18
    assert len(held_out) == 2


def test_every_mode_can_lie_in_one_folder(tmp_path):
    for number, (image, picture_format, options, _) in enumerate(MODES.values()):
        suffix = {"TIFF": "tif", "WEBP": "webp", "BMP": "bmp"}.get(picture_format, "png")
        write_picture(tmp_path, f"{number:02d}.{suffix}", saved(image, picture_format, **options))
    images = read_images(open_dataset(str(tmp_path))["train"], pictures_config(tmp_path))
    assert images.images.shape == (len(MODES), 3, 8, 8)
    assert images.skipped == ()


def test_broken_files_are_named_and_the_good_ones_used(tmp_path):
    for number in range(6):
        write_picture(tmp_path, f"good-{number}.png", flat("RGB", (number, 0, 0)))
    write_picture(tmp_path, "text.png", b"this is not a picture")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    write_picture(tmp_path, "torn.png", saved(Image.fromarray(noise))[:900])
    write_picture(tmp_path, "huge.png", bomb_png(60_000, pixels=False))
    write_picture(tmp_path, "empty.jpg", b"")
    for name, picture_format in (("avif.jpg", "AVIF"), ("dds.png", "DDS")):  # errors that are no OSError end no training
        write_picture(tmp_path, name, saved(flat("RGB", (1, 2, 3)), picture_format)[:-20])
    write_picture(tmp_path, "script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n")
    images = read_images(open_dataset(str(tmp_path))["train"], pictures_config(tmp_path))
    assert len(images) == 6
    assert len(images.skipped) == 7
    for name in ("text.png", "torn.png", "huge.png", "empty.jpg", "avif.jpg", "dds.png", "script.png"):
        said = [str(each) for each in images.skipped if each.path == name]
        assert len(said) == 1
        assert "\n" not in said[0]
    assert "too large" in next(each.reason for each in images.skipped if each.path == "huge.png")


def test_one_broken_file_never_spoils_a_folder(tmp_path):
    for number in range(11):
        write_picture(tmp_path, f"{number}.png", flat("RGB", (number, 0, 0)))
    write_picture(tmp_path, "broken.png", b"this is not a picture")
    train, held_out = load_images(pictures_config(tmp_path))
    assert len(train) + len(held_out) == 11
    assert len(held_out) >= 1
    assert len(train.skipped) + len(held_out.skipped) == 1


def test_a_folder_of_broken_files_is_refused_with_an_example(tmp_path):
    for number in range(3):
        write_picture(tmp_path, f"{number}.png", b"this is not a picture")
    with pytest.raises(ValueError, match="no readable image in") as refusal:
        load_images(pictures_config(tmp_path))
    assert str(tmp_path) in str(refusal.value)
    assert ".png: not a readable image" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["empty", "only a text"])
def test_a_folder_without_images_is_refused(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    if name != "empty":
        (folder / "readme.md").write_text("nothing to see")
    with pytest.raises(ValueError, match=r"the folder is empty|1 that only describe") as refusal:
        load_images(pictures_config(folder))
    assert "\n" not in str(refusal.value)


def test_a_single_image_is_too_few(tmp_path):
    write_picture(tmp_path, "one.png", flat("RGB", (1, 2, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        load_images(pictures_config(tmp_path))


@pytest.mark.parametrize("name", ["flowers", "/no/such/folder", "a/b/c"])
def test_an_unknown_dataset_is_refused_with_what_is_allowed(name):
    with pytest.raises(ValueError, match="unknown dataset") as refusal:
        open_dataset(name)
    for allowed in (*PRESETS, "hub id", "local folder", repr(name)):
        assert allowed in str(refusal.value)


def test_a_file_that_holds_no_pictures_is_not_called_unknown(tmp_path):
    file = tmp_path / "photos.txt"
    file.write_text("one.png")
    with pytest.raises(ValueError, match=r"photos\.txt is neither an archive .* nor a table .* of pictures: give one of these"):
        open_dataset(str(file))


def test_a_hub_dataset_that_cannot_be_reached_is_refused():
    with pytest.raises(ValueError, match="'noisescope/does-not-exist' could not be loaded") as refusal:
        open_dataset("noisescope/does-not-exist")
    assert "\n" not in str(refusal.value)


def test_an_unknown_split_and_column_are_refused_with_what_is_there(image_folder):
    with pytest.raises(ValueError, match=r"no split 'training'.*choose --train-split from train"):
        load_images(pictures_config(image_folder, train_split="training"))
    with pytest.raises(ValueError, match=r"no image column 'label'.*\['image'\]"):
        load_images(pictures_config(image_folder, image_column="label"))


def test_of_two_image_columns_one_must_be_chosen():
    pictures = [flat("RGB", (number, 0, 0)) for number in range(3)]
    features = datasets.Features({"before": datasets.Image(), "after": datasets.Image(), "n": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"before": pictures, "after": pictures, "n": [1, 2, 3]}, features=features)
    with pytest.raises(ValueError, match="2 image columns"):
        image_column(table)
    assert image_column(table, "after") == "after"
    config = resolve(DataConfig("x/y", 8, image_column="after"))
    assert read_images(table, config).images.shape == (3, 3, 8, 8)


def test_a_row_without_an_image_is_skipped():
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict({"image": [flat("L", 1), None, flat("L", 2)]}, features=features)
    images = read_images(table, resolve(DataConfig("x/y", 8)))
    assert len(images) == 2
    assert images.skipped == (Unused("row 1", "no image in this row"),)


def test_a_short_name_resolves_to_the_local_folder(tmp_path, monkeypatch):
    for number in range(12):
        write_picture(tmp_path / "fashion_mnist" / "train", f"{number}.png", flat("L", number, 28))
        write_picture(tmp_path / "fashion_mnist" / "test", f"{number}.png", flat("L", 100 + number, 28))
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path))
    config = resolve(DataConfig("fashion_mnist"))
    assert (config.image_size, config.fit, config.flip) == (32, "pad", False)
    train, held_out = load_images(config)
    assert train.images.shape == held_out.images.shape == (12, 1, 32, 32)
    assert (train.images[:, :, :2] == 0).all()
    with pytest.raises(ValueError, match="could not be loaded from nelorth/oxford-flowers"):
        open_dataset("oxford_flowers")
    monkeypatch.delenv("NOISESCOPE_DATA")
    with pytest.raises(ValueError, match="set NOISESCOPE_DATA to a folder that contains it as fashion_mnist"):
        open_dataset("fashion_mnist")


def test_resolving_fills_only_what_is_open():
    assert resolve(DataConfig("some/folder")) == DataConfig("some/folder", 64, "crop", True)
    chosen = DataConfig("fashion_mnist", 28, "crop", True, "picture", "test", 3)
    assert resolve(chosen) == chosen
    assert resolve(replace(chosen, fit=None)).fit == "pad"
    for name in ("zalando-datasets/fashion_mnist", "/a/folder/fashion_mnist", "fashion_mnist"):
        assert resolve(DataConfig(name)) == DataConfig(name, 32, "pad", False)
    assert resolve(resolve(DataConfig("tiny_imagenet"))) == resolve(DataConfig("tiny_imagenet"))
