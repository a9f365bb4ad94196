"""Images of every kind become uint8 in memory; what cannot be read is named, and the rest is used."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.datasets.decoding import fit_image, open_image, to_8_bit
from pipelines.datasets.image_sets import load_images, preview_images, read_images
from pipelines.datasets.sources import PRESETS, image_column, open_dataset, resolve
from pipelines.storage.config import DataConfig


def _saved(image: Image.Image, picture_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _huge_png(side: int = 60_000) -> bytes:
    """A well-formed file of a few hundred bytes whose header promises side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side + 1))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _write(folder, name: str, content: bytes | Image.Image):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else _saved(content))


def _config(folder, **changes) -> DataConfig:
    return resolve(DataConfig(str(folder), **({"image_size": 8} | changes)))


def _flat(mode: str, colour, side: int = 8) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def _palette(colour) -> Image.Image:
    return _flat("RGB", colour).quantize(4)


def _transparent_palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 1
    return image


# --- one image


RAMP = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)

MODES = {
    "L": (_flat("L", 70), "PNG", {}, 70),
    "RGB": (_flat("RGB", (200, 100, 50)), "PNG", {}, (200, 100, 50)),
    "RGB of greys": (_flat("RGB", (90, 90, 90)), "PNG", {}, 90),
    "P of greys": (_palette((90, 90, 90)), "PNG", {}, 90),
    "RGB as BMP": (_flat("RGB", (200, 100, 50)), "BMP", {}, (200, 100, 50)),
    "RGBA opaque": (_flat("RGBA", (200, 100, 50, 255)), "PNG", {}, (200, 100, 50)),
    "RGBA transparent": (_flat("RGBA", (200, 100, 50, 0)), "PNG", {}, 255),
    "RGBA half transparent": (_flat("RGBA", (255, 0, 0, 128)), "PNG", {}, (255, 127, 127)),
    "RGBA of greys": (_flat("RGBA", (90, 90, 90, 255)), "PNG", {}, 90),
    "P": (_palette((200, 100, 50)), "PNG", {}, (200, 100, 50)),
    "P transparent": (_transparent_palette(), "PNG", {}, 255),
    "LA opaque": (_flat("LA", (70, 255)), "PNG", {}, 70),
    "LA transparent": (_flat("LA", (70, 0)), "PNG", {}, 255),
    "CMYK": (_flat("CMYK", (0, 255, 255, 0)), "TIFF", {}, (255, 0, 0)),
    "1 white": (_flat("1", 1), "PNG", {}, 255),
    "1 black": (_flat("1", 0), "PNG", {}, 0),
    "I;16 black": (Image.fromarray(np.zeros((8, 8), np.uint16)), "PNG", {}, 0),
    "I;16 white": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), "PNG", {}, 255),
    "I;16 grey": (Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)), "PNG", {}, 128),
    "I;16 as TIFF": (Image.fromarray(np.full((8, 8), 65535, np.uint16)), "TIFF", {}, 255),
    "WebP": (_flat("RGB", (0, 0, 255)), "WEBP", {"lossless": True}, (0, 0, 255)),
}


@pytest.mark.parametrize(("image", "picture_format", "options", "expected"), MODES.values(), ids=MODES.keys())
def test_every_mode_becomes_grey_or_colour_of_8_bits(image, picture_format, options, expected):
    result = to_8_bit(open_image(_saved(image, picture_format, **options)))
    assert result.mode == ("L" if isinstance(expected, int) else "RGB")
    assert result.size == (8, 8)
    pixels = np.asarray(result).reshape(64, -1)
    assert (np.abs(pixels.astype(int) - np.array(expected)) <= 1).all(), pixels[0]


def test_floating_point_pictures_are_from_0_to_1_or_to_255():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for picture in (ramp, 255 * ramp):
        assert np.array_equal(np.asarray(to_8_bit(Image.fromarray(picture))).ravel(), np.arange(256))


def test_a_16_bit_ramp_keeps_its_greys():
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    result = np.asarray(to_8_bit(open_image(_saved(image)))).astype(int)
    assert np.abs(result - RAMP).max() <= 1


def test_a_rotated_photograph_stands_upright():
    image = Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    result = np.asarray(to_8_bit(open_image(_saved(image, "PNG", exif=exif))))
    assert np.array_equal(result, np.rot90(RAMP, -1))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it could not read
def test_damaged_exif_spoils_no_picture():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    whole = _saved(image, "JPEG", exif=exif)
    start = whole.index(b"Exif")
    end = start - 2 + int.from_bytes(whole[start - 2 : start], "big")
    for place in range(start + 6, end):
        for value in range(0, 256, 5):
            assert open_image(whole[:place] + bytes([value]) + whole[place + 1 :]).size in ((4, 3), (3, 4))


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(picture_format):
    frames = [_flat("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if picture_format == "WEBP" else {}
    content = _saved(frames[0], picture_format, save_all=True, append_images=frames[1:], duration=50, **options)
    assert (np.asarray(to_8_bit(open_image(content))) == (255, 0, 0)).all()


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


# --- files that are not what they say


def test_a_huge_image_is_refused_without_decoding_it():
    with pytest.raises(ValueError, match="too large") as refusal:
        open_image(_huge_png())
    assert "3600000000 pixels" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", bytes(2000)])
def test_an_unreadable_file_is_refused_in_one_sentence(content):
    with pytest.raises(ValueError, match="not a readable image") as refusal:
        open_image(content)
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_damaged_files_are_read_or_refused_but_never_crash(picture_format):
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if picture_format in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    whole = _saved(Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)), picture_format, **options)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(0, 6)):
            damaged[place] = random.integers(0, 256)
        if random.random() < 0.5:
            del damaged[random.integers(0, len(whole)) :]
        try:
            image = fit_image(to_8_bit(open_image(bytes(damaged))), 8, "crop")
        except ValueError:
            continue
        assert image.size == (8, 8)


# --- folders


def test_a_grey_folder_has_one_channel_and_a_mixed_one_three(tmp_path):
    for number in range(4):
        _write(tmp_path / "grey", f"{number}.png", _flat("L", 10 * number))
        _write(tmp_path / "mixed", f"{number}.png", _flat("L", 10 * number) if number else _flat("RGB", (9, 8, 7)))
    grey = read_images(open_dataset(str(tmp_path / "grey"))["train"], _config(tmp_path / "grey"))
    mixed = read_images(open_dataset(str(tmp_path / "mixed"))["train"], _config(tmp_path / "mixed"))
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
        _write(tmp_path, f"{number}.png", Image.fromarray(corner))
    mirrored, plain = (preview_images(replace(_config(tmp_path), flip=flip))[..., 0] for flip in (True, False))
    assert (plain == corner).all()
    assert (mirrored[::2] == corner).all()
    assert (mirrored[1::2] == corner[:, ::-1]).all()


@pytest.mark.parametrize("seed", range(4))
def test_grey_training_and_coloured_held_out_images_agree_on_channels(tmp_path, seed):
    for number in range(20):
        _write(tmp_path, f"{number}.png", _flat("L", number) if number % 10 else _flat("RGB", (number, 0, 9)))
    train, held_out = load_images(_config(tmp_path), seed)
    assert train.images.shape[1:] == held_out.images.shape[1:] == (3, 8, 8)
    assert len(train) == 18
    assert len(held_out) == 2


def test_every_mode_can_lie_in_one_folder(tmp_path):
    for number, (image, picture_format, options, _) in enumerate(MODES.values()):
        suffix = {"TIFF": "tif", "WEBP": "webp", "BMP": "bmp"}.get(picture_format, "png")
        _write(tmp_path, f"{number:02d}.{suffix}", _saved(image, picture_format, **options))
    images = read_images(open_dataset(str(tmp_path))["train"], _config(tmp_path))
    assert images.images.shape == (len(MODES), 3, 8, 8)
    assert images.skipped == ()


def test_broken_files_are_named_and_the_good_ones_used(tmp_path):
    for number in range(6):
        _write(tmp_path, f"good-{number}.png", _flat("RGB", (number, 0, 0)))
    _write(tmp_path, "text.png", b"this is not a picture")
    _write(
        tmp_path, "torn.png", _saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)))[:900]
    )
    _write(tmp_path, "huge.png", _huge_png())
    _write(tmp_path, "empty.jpg", b"")
    images = read_images(open_dataset(str(tmp_path))["train"], _config(tmp_path))
    assert len(images) == 6
    assert len(images.skipped) == 4
    for name in ("text.png", "torn.png", "huge.png", "empty.jpg"):
        said = [sentence for sentence in images.skipped if name in sentence]
        assert len(said) == 1
        assert "\n" not in said[0]
    assert "too large" in next(sentence for sentence in images.skipped if "huge.png" in sentence)


@pytest.mark.parametrize("seed", range(12))
def test_one_broken_file_never_spoils_a_folder(tmp_path, seed):
    for number in range(11):
        _write(tmp_path, f"{number}.png", _flat("RGB", (number, 0, 0)))
    _write(tmp_path, "broken.png", b"this is not a picture")
    train, held_out = load_images(_config(tmp_path), seed)
    assert len(train) + len(held_out) == 11
    assert len(held_out) >= 1
    assert len(train.skipped) + len(held_out.skipped) == 1


def test_a_folder_of_broken_files_is_refused_with_an_example(tmp_path):
    for number in range(3):
        _write(tmp_path, f"{number}.png", b"this is not a picture")
    with pytest.raises(ValueError, match="no readable image in") as refusal:
        load_images(_config(tmp_path))
    assert str(tmp_path) in str(refusal.value)
    assert ".png: not a readable image" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["empty", "only a text"])
def test_a_folder_without_images_is_refused(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    if name != "empty":
        (folder / "readme.md").write_text("nothing to see")
    with pytest.raises(ValueError, match=r"could not be loaded|image columns") as refusal:
        load_images(_config(folder))
    assert "\n" not in str(refusal.value)


def test_a_single_image_is_too_few(tmp_path):
    _write(tmp_path, "one.png", _flat("RGB", (1, 2, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        load_images(_config(tmp_path))


@pytest.mark.parametrize("name", ["flowers", "/no/such/folder", "a/b/c"])
def test_an_unknown_dataset_is_refused_with_what_is_allowed(name):
    with pytest.raises(ValueError, match="unknown dataset") as refusal:
        open_dataset(name)
    for allowed in (*PRESETS, "hub id", "local folder", repr(name)):
        assert allowed in str(refusal.value)


def test_a_hub_dataset_that_cannot_be_reached_is_refused():
    with pytest.raises(ValueError, match="'noisescope/does-not-exist' could not be loaded") as refusal:
        open_dataset("noisescope/does-not-exist")
    assert "\n" not in str(refusal.value)


def test_an_unknown_split_and_column_are_refused_with_what_is_there(image_folder):
    with pytest.raises(ValueError, match=r"no split 'training'.*choose one of train"):
        load_images(_config(image_folder, train_split="training"))
    with pytest.raises(ValueError, match=r"no image column 'label'.*\['image'\]"):
        load_images(_config(image_folder, image_column="label"))


def test_of_two_image_columns_one_must_be_chosen():
    pictures = [_flat("RGB", (number, 0, 0)) for number in range(3)]
    features = datasets.Features({"before": datasets.Image(), "after": datasets.Image(), "n": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"before": pictures, "after": pictures, "n": [1, 2, 3]}, features=features)
    with pytest.raises(ValueError, match="2 image columns"):
        image_column(table)
    assert image_column(table, "after") == "after"
    config = resolve(DataConfig("x/y", 8, image_column="after"))
    assert read_images(table, config).images.shape == (3, 3, 8, 8)


def test_a_row_without_an_image_is_skipped():
    features = datasets.Features({"image": datasets.Image()})
    table = datasets.Dataset.from_dict({"image": [_flat("L", 1), None, _flat("L", 2)]}, features=features)
    images = read_images(table, resolve(DataConfig("x/y", 8)))
    assert len(images) == 2
    assert images.skipped == ("image 1: no image in this row",)


# --- what is held out


def _values(images) -> list[int]:
    return [int(image[0, 0, 0]) for image in images.images]


@pytest.mark.parametrize("held_out_images", [1, 3, 1000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_images_never_train(tmp_path, seed, held_out_images):
    for number in range(50):
        _write(tmp_path, f"{number}.png", _flat("L", number))
    config = _config(tmp_path, held_out_images=held_out_images)
    train, held_out = load_images(config, seed)
    assert sorted(_values(train) + _values(held_out)) == list(range(50))
    assert len(held_out) == min(held_out_images, 5)
    again, held_out_again = load_images(config, seed)
    assert torch.equal(train.images, again.images)
    assert torch.equal(held_out.images, held_out_again.images)


def test_another_seed_holds_out_others(tmp_path):
    for number in range(50):
        _write(tmp_path, f"{number}.png", _flat("L", number))
    assert _values(load_images(_config(tmp_path), 0)[1]) != _values(load_images(_config(tmp_path), 1)[1])


def test_rows_are_arrays_even_of_one(tmp_path):
    """A tensor of one number once indexed them as a number would."""
    for number in range(8):
        _write(tmp_path, f"{number}.png", _flat("L", number))
    train, held_out = load_images(_config(tmp_path), 0)
    assert (train.rows.shape, held_out.rows.shape) == ((7,), (1,))
    assert sorted([*train.rows, *held_out.rows]) == list(range(8))


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_test_split_is_held_out_instead(tmp_path, split):
    for number in range(12):
        _write(tmp_path / "train", f"{number:02d}.png", _flat("L", number))
        _write(tmp_path / split, f"{number:02d}.png", _flat("L", 100 + number))
    train, held_out = load_images(_config(tmp_path, held_out_images=5))
    assert sorted(_values(train)) == list(range(12))
    assert _values(held_out) == [100, 101, 102, 103, 104]
    swapped, _ = load_images(_config(tmp_path, train_split=split))
    assert min(_values(swapped)) >= 100


@pytest.mark.parametrize("count", [3, 6, 17, 18, 1000])
def test_of_a_test_split_sorted_by_class_every_class_is_held_out(tmp_path, count):
    """The first of them would be of one class."""
    for shade, name in enumerate("abc"):
        for number in range(6):
            _write(tmp_path / "train" / name, f"{number}.png", _flat("L", 50 * shade + number))
            _write(tmp_path / "test" / name, f"{number}.png", _flat("L", 50 * shade + number))
    _, held_out = load_images(_config(tmp_path, held_out_images=count))
    labels = open_dataset(str(tmp_path))["test"]["label"]
    assert [labels[row] for row in held_out.rows] == [value // 50 for value in _values(held_out)]
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
        _write(tmp_path, f"{number}.png", _flat("L", number))
    config = _config(tmp_path, held_out_images=4)
    seen, _ = load_images(config, 1)
    train, held_out = load_images(config, 1, measured)
    assert torch.equal(train.images, seen.images)
    assert not set(_values(train)) & set(_values(held_out))
    assert len(held_out) == min(measured, 4)


def test_more_of_a_test_split_may_be_measured_than_while_training(tmp_path):
    for number in range(12):
        _write(tmp_path / "train", f"{number:02d}.png", _flat("L", number))
        _write(tmp_path / "test", f"{number:02d}.png", _flat("L", 100 + number))
    assert len(load_images(_config(tmp_path, held_out_images=5), 0, 9)[1]) == 9


def test_a_short_name_resolves_to_the_local_folder(tmp_path, monkeypatch):
    for number in range(12):
        _write(tmp_path / "fashion_mnist" / "train", f"{number}.png", _flat("L", number, 28))
        _write(tmp_path / "fashion_mnist" / "test", f"{number}.png", _flat("L", 100 + number, 28))
    monkeypatch.setenv("NOISESCOPE_DATA", str(tmp_path))
    config = resolve(DataConfig("fashion_mnist"))
    assert (config.image_size, config.fit, config.flip) == (32, "pad", False)
    train, held_out = load_images(config)
    assert train.images.shape == held_out.images.shape == (12, 1, 32, 32)
    assert (train.images[:, :, :2] == 0).all()
    with pytest.raises(ValueError, match="could not be loaded from nelorth/oxford-flowers"):
        open_dataset("oxford_flowers")
    monkeypatch.delenv("NOISESCOPE_DATA")
    with pytest.raises(ValueError, match="could not be loaded from zalando-datasets/fashion_mnist"):
        open_dataset("fashion_mnist")


def test_resolving_fills_only_what_is_open():
    assert resolve(DataConfig("some/folder")) == DataConfig("some/folder", 64, "crop", True)
    chosen = DataConfig("fashion_mnist", 28, "crop", True, "picture", "test", 3)
    assert resolve(chosen) == chosen
    assert resolve(replace(chosen, fit=None)).fit == "pad"
    for name in ("zalando-datasets/fashion_mnist", "/a/folder/fashion_mnist", "fashion_mnist"):
        assert resolve(DataConfig(name)) == DataConfig(name, 32, "pad", False)
    assert resolve(resolve(DataConfig("tiny_imagenet"))) == resolve(DataConfig("tiny_imagenet"))
