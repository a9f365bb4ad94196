"""Pictures as arrays: exact conversion, placement, and metadata that comes back."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.common.images import (
    add_titles,
    as_pil,
    enlarge,
    film_strip,
    gif_bytes,
    montage,
    mp4_bytes,
    png_bytes,
    read_request,
    split_montage,
    to_uint8,
)


def test_conversion_is_exact_at_the_ends_and_clips():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 5.0, -1e30, 1e30]).view(1, 1, 1, -1)
    assert to_uint8(x).ravel().tolist() == [0, 0, 128, 255, 255, 0, 255]


def test_every_8_bit_value_survives_the_way_to_minus_one_and_one_and_back():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert np.array_equal(to_uint8(values.float() / 127.5 - 1)[0, ..., 0], values[0, 0].numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_conversion_moves_channels_last(dtype):
    x = torch.full((2, 3, 4, 5), -1.0, dtype=dtype)
    x[:, 1] = 1
    pixels = to_uint8(x.requires_grad_())
    assert pixels.shape == (2, 4, 5, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (0, 255, 0)).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, None), (5, None), (7, 3), (6, 6), (4, 1), (3, 10)])
def test_a_montage_puts_image_k_into_row_and_column(count, columns, channels):
    images = np.random.default_rng(0).integers(1, 255, (count, 4, 6, channels), dtype=np.uint8)
    sheet = montage(images, columns=columns, gap=2, background=0)
    wide = columns or int(np.ceil(np.sqrt(count)))
    for k, image in enumerate(images):
        top, left = 2 + k // wide * 6, 2 + k % wide * 8
        assert np.array_equal(sheet[top : top + 4, left : left + 6], image)
    assert np.count_nonzero(sheet) == images.size  # and nothing else is drawn
    assert sheet.shape == (-(-count // wide) * 6 + 2, wide * 8 + 2, channels)


def test_enlarging_repeats_pixels():
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    large = enlarge(image, 3)
    assert large.shape == (3, 6, 3)
    assert np.array_equal(large[::3, ::3], image)
    assert (large[:, :3] == image[0, 0]).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("rows", "count", "side"), [(1, 1, 8), (4, 5, 8), (21, 3, 16), (2, 64, 32)])
def test_a_film_strip_has_a_row_a_timestep_and_a_column_an_image(rows, count, side, channels):
    images = np.random.default_rng(1).integers(0, 255, (rows, count, side, side, channels), dtype=np.uint8)
    strip = film_strip(list(images), [f"t = {row}" for row in range(rows)])
    margin = strip.shape[1] - (count * (side + 2) + 2)
    assert strip.shape == (rows * (side + 2) + 2, margin + count * (side + 2) + 2, channels)
    assert margin > 0
    assert (strip[:, :margin] < 128).any()  # the labels
    for row in range(rows):
        for column in (0, count - 1):
            top, left = 2 + row * (side + 2), margin + 2 + column * (side + 2)
            assert np.array_equal(strip[top : top + side, left : left + side], images[row, column])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_carries_pixels_and_request(channels, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 255, (5, 7, channels), dtype=np.uint8)
    request = {"run": "Größe 模型 🙂", "request": {"seed": 2**63, "eta": 0.1, "sampler": "ddim"}, "none": None, "list": [1, 2]}
    content = png_bytes(pixels, request)
    (tmp_path / "picture.png").write_bytes(content)
    assert read_request(io.BytesIO(content)) == read_request(tmp_path / "picture.png") == request
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_picture_without_a_request_carries_none(picture_format):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, picture_format)
    buffer.seek(0)
    assert read_request(buffer) is None
    assert read_request(io.BytesIO(png_bytes(np.zeros((2, 2, 1), np.uint8)))) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_has_every_frame_and_loops(channels):
    frames = [np.full((6, 6, channels), 40 * index, np.uint8) for index in range(6)]
    with Image.open(io.BytesIO(gif_bytes(frames, [100] * 5 + [1500]))) as image:
        assert image.n_frames == 6
        assert image.info["loop"] == 0
        for index in range(6):
            image.seek(index)
            assert np.asarray(image.convert("L")).mean() == pytest.approx(40 * index, abs=3)
        assert image.info["duration"] == 1500


def test_pil_pictures_keep_their_channels():
    assert as_pil(np.zeros((2, 3, 1), np.uint8)).mode == "L"
    assert as_pil(np.zeros((2, 3, 3), np.uint8)).size == (3, 2)


def _decoded(video):
    import av

    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate, frames


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 51), (8, 8)])
def test_a_video_has_every_frame_at_an_even_size(height, width, channels):
    rng = np.random.default_rng(0)
    frames = [enlarge(rng.integers(0, 255, (-(-height // 8), -(-width // 8), channels), np.uint8), 8) for _ in range(5)]
    frames = [frame[:height, :width] for frame in frames]
    codec, pixel_format, rate, decoded = _decoded(mp4_bytes(frames, frames_per_second=6))
    assert (codec, pixel_format, rate) == ("h264", "yuv420p", 6)
    assert len(decoded) == 5
    for frame, found in zip(frames, decoded, strict=True):
        assert found.shape == (height + height % 2, width + width % 2, 3)
        middles = (slice(4, height, 8), slice(4, width, 8))  # colour is smoothed between neighbours
        assert np.abs(found[middles].astype(int) - frame[middles]).mean() < 5


def test_a_video_of_one_frame():
    assert len(_decoded(mp4_bytes([np.full((16, 16, 3), 200, np.uint8)]))[3]) == 1


@pytest.mark.parametrize(("count", "columns", "channels"), [(1, None, 1), (7, 3, 3), (36, None, 3), (5, 5, 1), (6, 1, 3)])
def test_images_in_undoes_montage(count, columns, channels):
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 8, channels), np.uint8)
    assert np.array_equal(split_montage(montage(images, columns), 5, 8, count), images)


def test_a_sheet_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="does not hold 5 images"):
        split_montage(montage(np.zeros((4, 5, 8, 1), np.uint8)), 5, 8, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_titles_stand_over_their_share_and_leave_the_picture_alone(channels):
    picture = np.random.default_rng(0).integers(0, 256, (20, 300, channels), np.uint8)
    both, left = add_titles(picture, ["x", "y"]), add_titles(picture, ["x", ""])
    assert np.array_equal(both[28:], picture)
    assert both.shape == (48, 300, channels)
    assert np.array_equal(both[:, :150], left[:, :150])
    assert (both[:28, 150:] < 128).any()
    assert (left[:28, 150:] == 255).all()
