"""Picture files of every kind become 8-bit images or one sentence, whoever made them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_pictures import MODES, bomb_png, bomb_tiff, flat, grey_tiff, saved
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.common import conversion, foreign_formats, picture_files
from pipelines.common.foreign_formats import can_read_heif
from pipelines.common.images import read_request
from pipelines.common.picture_files import BYTES_PER_PIXEL, open_picture, picture_size
from pipelines.common.reading import UnreadableError

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest's own filters replace ours
RAMP = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)


@pytest.mark.parametrize(("image", "picture_format", "options", "expected"), MODES.values(), ids=MODES.keys())
def test_every_mode_becomes_grey_or_colour_of_8_bits(image, picture_format, options, expected):
    result = open_picture(saved(image, picture_format, **options))
    assert result.mode == ("L" if isinstance(expected, int) else "RGB")
    assert result.size == (8, 8)
    pixels = np.asarray(result).reshape(64, -1)
    assert (np.abs(pixels.astype(int) - np.array(expected)) <= 1).all(), pixels[0]


def test_floating_point_pictures_are_from_0_to_1_or_to_255():
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for picture in (ramp, 255 * ramp):
        assert np.array_equal(np.asarray(conversion.to_8_bit(Image.fromarray(picture)).image).ravel(), np.arange(256))


def test_a_16_bit_ramp_keeps_its_greys():
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    result = np.asarray(open_picture(saved(image))).astype(int)
    assert np.abs(result - RAMP).max() <= 1


def test_a_rotated_photograph_stands_upright():
    image = Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    result = np.asarray(open_picture(saved(image, "PNG", exif=exif)))
    assert np.array_equal(result, np.rot90(RAMP, -1))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it could not read
def test_damaged_exif_spoils_no_picture():
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    whole = saved(image, "JPEG", exif=exif)
    start = whole.index(b"Exif")
    end = start - 2 + int.from_bytes(whole[start - 2 : start], "big")
    for place in range(start + 6, end):
        for value in range(0, 256, 5):
            assert open_picture(whole[:place] + bytes([value]) + whole[place + 1 :]).size in ((4, 3), (3, 4))


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(picture_format):
    frames = [flat("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if picture_format == "WEBP" else {}
    content = saved(frames[0], picture_format, save_all=True, append_images=frames[1:], duration=50, **options)
    assert (np.asarray(open_picture(content)) == (255, 0, 0)).all()


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG"])
def test_a_large_picture_is_reduced_by_a_whole_factor(picture_format, monkeypatch):
    """Band by band: the bands are no larger than a few rows here, and no seam shows."""
    monkeypatch.setattr(conversion, "KEPT_PIXELS", 45 * 30)
    monkeypatch.setattr(conversion, "BAND_PIXELS", 90 * 6)
    smooth = np.add.outer(np.linspace(0, 120, 60), np.linspace(0, 120, 90)).round().astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(smooth), picture_format, exif=exif)
    reduced = np.asarray(open_picture(content)).astype(int)
    assert picture_size(content) == (60, 90)
    assert reduced.shape == (45, 30)
    upright = np.rot90(smooth, -1).reshape(45, 2, 30, 2).mean((1, 3))
    assert np.abs(reduced - upright).max() <= 2


def test_a_picture_in_bands_is_grey_only_if_all_of_it_is(monkeypatch):
    monkeypatch.setattr(conversion, "BAND_PIXELS", 8)
    pixels = np.full((8, 8, 3), 90, np.uint8)
    assert open_picture(saved(Image.fromarray(pixels))).mode == "L"
    pixels[5, 2] = (1, 2, 3)
    assert np.array_equal(np.asarray(open_picture(saved(Image.fromarray(pixels)))), pixels)


# --- files that are not what they say


def refusal(source) -> str:
    with pytest.raises(UnreadableError) as refused:
        open_picture(source)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_huge_image_is_refused_without_decoding_it():
    assert "too large: more than 67 million pixels" in refusal(bomb_png(60_000, pixels=False))
    assert "too large: 9000×9000 pixels" in refusal(bomb_png(9000, pixels=False))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", bytes(2000)])
def test_an_unreadable_file_is_refused_in_one_sentence(content):
    assert "not a readable image" in refusal(content)


def test_values_that_are_not_numbers_are_named():
    values = np.zeros((8, 8), np.float32)
    values[3, 4] = np.nan
    assert "not finite" in refusal(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("picture_format", BYTES_PER_PIXEL)
def test_damaged_files_are_read_or_refused_but_never_crash(picture_format):
    if picture_format == "HEIF" and not can_read_heif():
        pytest.skip("pillow-heif is not installed")
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if picture_format in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
    image = Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    whole = saved(image, picture_format, **options)
    assert open_picture(whole).size == (16, 16)
    said = []
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(0, 6)):
            damaged[place] = random.integers(0, 256)
        if random.random() < 0.5:
            del damaged[random.integers(0, len(whole)) :]
        try:
            assert open_picture(bytes(damaged)).mode in ("L", "RGB")
        except UnreadableError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in sentence for sentence in said)


@pytest.mark.skipif(not can_read_heif(), reason="pillow-heif is not installed")
def test_a_photograph_of_a_phone_is_read():
    upright = np.zeros((64, 32, 3), np.uint8)
    upright[:32] = (200, 100, 50)
    content = saved(Image.fromarray(upright), "HEIF", quality=-1)
    assert picture_size(content) == (32, 64)
    assert np.abs(np.asarray(open_picture(content)).astype(int) - upright).max() <= 6


FOREIGN = {
    "a HEIC or HEIF file: pip install pillow-heif": b"\0\0\0\x1cftypheic\0\0\0\0mif1heic",
    "a JPEG 2000 file": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a pointer of Git LFS: run git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "the file is empty": b"",
    "a web page": b"<!DOCTYPE html><title>404</title>",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_files_that_are_known_are_named(what, monkeypatch):
    monkeypatch.setattr(foreign_formats, "can_read_heif", lambda: False)
    assert what in refusal(FOREIGN[what])


def test_samples_that_are_not_read_are_named():
    assert "a TIFF of 1 floating-point number of 64 bits a pixel is not read" in refusal(grey_tiff(np.zeros((8, 8), "<f8")))
    assert "a TIFF of 1 floating-point number of 16 bits a pixel is not read" in refusal(grey_tiff(np.zeros((8, 8), "<f2")))


def test_no_program_is_started(tmp_path, monkeypatch):
    """Pillow knows PostScript by its content, and would let Ghostscript run it."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\necho 10.0 >> {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    endless = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n"
    (tmp_path / "holiday.png").write_bytes(endless)
    for source in (endless, tmp_path / "holiday.png"):
        assert "its format is none of AVIF, BMP" in refusal(source)
    assert not (tmp_path / "started").exists()


def test_only_regular_files_of_some_size_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")  # without a writer, opening it would never end
    assert "not a regular file" in refusal(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none.png")
    monkeypatch.setattr(picture_files, "MAX_BYTES", 1000)
    (tmp_path / "large.png").write_bytes(bytes(1001))
    assert "larger than" in refusal(tmp_path / "large.png")
    assert "larger than" in refusal(bytes(1001))


def test_a_jpeg_of_very_many_scans_is_refused():
    """Each goes through the whole picture: a megabyte of them would take minutes."""
    whole = saved(flat("L", 90, 64), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 1)
    again = whole[first : whole.index(b"\xff\xda", first + 2)] if whole.count(b"\xff\xda") > 2 else whole[first:-2]
    assert open_picture(whole).size == (64, 64)
    assert "scans of a JPEG" in refusal(whole[:first] + again * 200 + whole[first:])


# The highest use of memory so far is read from the kernel: getrusage's begins with that of the process that starts this one.
WATCH = """
import sys
from pathlib import Path
from PIL import Image
Image.init()
from pipelines.common.picture_files import open_picture
def highest():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
rest = highest()
for file in sorted(Path(sys.argv[1]).iterdir()):
    try:
        said = str(open_picture(file).size)
    except ValueError as error:
        said = str(error)
    print(file.name, highest() - rest, said, sep="|")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the highest use of memory is read as on Linux")
def test_no_picture_takes_a_gigabyte(tmp_path):
    """Some are as large as is allowed, and read; of others the header says enough."""
    bombs = {
        "0.png": (bomb_png(8192, depth=16), "(4096, 4096)"),
        "1.tif": (bomb_tiff(7000, bits=32, sample=3), "(3500, 3500)"),
        "2.png": (bomb_png(8192, colour=6), "(4096, 4096)"),
        "3.png": (bomb_png(13_000, depth=16, pixels=False), "too large"),
        "4.tif": (bomb_tiff(13_000, bits=32, sample=3, pixels=False), "too large"),
        "5.png": (bomb_png(12_000, colour=6, pixels=False), "too large"),
        "6.tif": (bomb_tiff(100, tile=36_000, pixels=False), "too large: 36000×36000 pixels"),
        "7.tif": (bomb_tiff(100, tile=112), "(100, 100)"),
    }
    for name, (content, _) in bombs.items():
        assert len(content) < 3e6
        (tmp_path / name).write_bytes(content)
    root = Path(__file__).resolve().parents[3]
    watched = subprocess.run(
        [sys.executable, "-c", WATCH, tmp_path], cwd=root, capture_output=True, text=True, check=True, timeout=300
    )
    for line in watched.stdout.splitlines():
        name, megabytes, said = line.split("|")
        assert int(megabytes) < 1000, line
        assert bombs.pop(name)[1] in said, line
    assert not bombs


# --- what a picture says about itself


@pytest.mark.parametrize(
    ("text", "compressed"),
    [
        pytest.param("[" * 100_000, False, id="deep"),
        pytest.param("{", False, id="torn"),
        pytest.param("[" + " " * 2**23 + "]", True, id="inflated"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(text, compressed):
    told = PngInfo()
    told.add_itxt("noisescope", text, zip=compressed)
    with pytest.raises(ValueError):  # noqa: PT011  (Pillow's sentence or ours)
        read_request(io.BytesIO(saved(flat("L", 0), "PNG", pnginfo=told)))
