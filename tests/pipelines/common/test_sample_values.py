"""Sample values: by declared depth where there is one, else one range for all pictures that are read together."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import grey_tiff, saved
from PIL import Image

from pipelines.common.picture_files import read_picture, sample_values
from pipelines.common.picture_notes import notes_of
from pipelines.common.reading import UnreadableError
from pipelines.common.sample_values import Range, choose_range

BYTES = np.arange(256).reshape(16, 16)
UNIT = BYTES / 255


def grey(source, **options) -> np.ndarray:
    return np.asarray(read_picture(source, **options).image).astype(int)


def whole(dtype: str, low: int, high: int) -> np.ndarray:
    """A ramp of whole numbers from ``low`` to ``high``."""
    return (low + UNIT * (high - low)).round().astype(dtype)


# A ramp from black to white in every depth, by what carries it.
RAMPS = {
    "8-bit PNG": saved(Image.fromarray(BYTES.astype(np.uint8))),
    "16-bit PNG": saved(Image.fromarray(whole("u2", 0, 65535))),
    "16-bit TIFF": grey_tiff(whole("<u2", 0, 65535)),
    "16-bit big-endian TIFF": saved(Image.frombytes("I;16B", (16, 16), whole(">u2", 0, 65535).tobytes()), "TIFF"),
    "16-bit LZW TIFF": saved(Image.fromarray(whole("u2", 0, 65535)), "TIFF", compression="tiff_lzw"),
    "16-bit PGM": b"P5 16 16 65535\n" + whole(">u2", 0, 65535).tobytes(),
    "12-bit PGM": b"P5 16 16 4095\n" + whole(">u2", 0, 4095).tobytes(),
    "7-bit PGM": b"P5 16 16 127\n" + whole("u1", 0, 127).tobytes(),
    "signed 8-bit TIFF": grey_tiff(whole("i1", -128, 127)),
    "signed 8-bit TIFF from 0": grey_tiff(whole("i1", 0, 127)),
    "signed 16-bit TIFF": grey_tiff(whole("<i2", -32768, 32767)),
    "signed 16-bit TIFF from 0": grey_tiff(whole("<i2", 0, 32767)),
    "32-bit TIFF": grey_tiff(whole("<u4", 0, 2**32 - 1)),
    "32-bit TIFF of bytes": grey_tiff(whole("<u4", 0, 255)),
    "signed 32-bit TIFF of bytes": grey_tiff(whole("<i4", 0, 255)),
    "signed 32-bit TIFF of 16 bits": grey_tiff(whole("<i4", 0, 65535)),
    "signed 32-bit TIFF": grey_tiff(whole("<i4", -(2**31), 2**31 - 1)),
    "floating-point TIFF from 0 to 1": grey_tiff(UNIT.astype("<f4")),
    "floating-point TIFF from −1 to 1": grey_tiff((2 * UNIT - 1).astype("<f4")),
    "floating-point TIFF from 0 to 255": grey_tiff((255 * UNIT).astype("<f4")),
    "floating-point TIFF of 16 bits": grey_tiff((65535 * UNIT).astype("<f4")),
    "floating-point PFM": b"Pf\n16 16\n-1.0\n" + UNIT[::-1].astype("<f4").tobytes(),
}


@pytest.mark.parametrize("name", RAMPS)
def test_a_ramp_stays_linear_in_every_depth(name):
    slack = 2 if name.startswith(("7-bit", "signed 8-bit TIFF from 0")) else 1
    assert np.abs(grey(RAMPS[name]) - BYTES).max() <= slack


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4"])
def test_inverted_samples_are_turned(dtype):
    white = {"u1": 255, "<u2": 65535, "<f4": 1}[dtype]
    samples = (UNIT * white).astype(dtype) if dtype == "<f4" else whole(dtype, 0, white)
    assert np.abs(grey(grey_tiff(samples, white_is_zero=True)) - BYTES[::-1, ::-1]).max() <= 1


def test_twelve_bits_are_declared_by_a_tiff():
    packed = b"\xff\xff\xff" * 32  # eight rows of eight samples
    assert (grey(grey_tiff(np.zeros((8, 8), "<u2"), bits=12, content=packed)) == 255).all()


def test_colours_of_16_bits_keep_their_high_bytes():
    ramp = np.repeat(whole(">u2", 0, 65535)[..., None], 3, axis=2) * np.array([1, 1, 0], ">u2")
    ppm = b"P6 16 16 65535\n" + ramp.astype(">u2").tobytes()
    assert np.abs(grey(ppm) - BYTES[..., None] * [1, 1, 0]).max() <= 1


def test_black_and_white_pictures_of_one_bit():
    squares = (BYTES % 2).astype(bool)
    for picture_format in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(grey(saved(Image.fromarray(squares), picture_format)), squares * 255)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(bad):
    samples = UNIT.astype("<f4").copy()
    samples[7, 7] = bad
    with pytest.raises(UnreadableError, match="not finite"):
        read_picture(grey_tiff(samples))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, Range(0, 1)),
        (0, 1.01, Range(0, 1)),
        (0, 0.2, Range(0, 1)),  # a dark picture stays dark
        (-0.02, 1.05, Range(0, 1)),
        (-1, 1, Range(-1, 1)),
        (0, 1.5, Range(0, 1.5)),
        (0, 20, Range(0, 255)),
        (0, 255, Range(0, 255)),
        (-3, 260, Range(0, 255)),
        (-1000, 3000, Range(-1000, 3000)),
        (500, 500, Range(0, 500)),
        (0, 0, Range(0, 1)),
    ],
)
def test_the_range_of_floating_point_values(low, high, expected):
    assert choose_range("floating-point", low, high) == expected


def test_a_range_of_the_whole_dataset_holds_for_a_dark_picture_too():
    dark, shared = grey_tiff((UNIT * 0.9).astype("<f4")), {"floating-point": Range(0, 255)}
    assert grey(dark, ranges=shared).max() == 1
    assert grey(dark).max() in (229, 230)
    assert grey(RAMPS["16-bit PNG"], ranges=shared).max() == 255  # what is declared counts


def test_what_is_told_of_sample_values():
    values = [sample_values(grey_tiff((scale * UNIT).astype("<f4"))) for scale in (1.01, 0.5)]
    assert notes_of([], values) == ("2 floating-point pictures: 0 to 1 taken as black to white; values as far as 1.01 clipped",)
    values = [sample_values(grey_tiff(whole("<i2", -5, 100)))]
    assert notes_of([], values) == ("1 16-bit signed picture: -32,768 to 32,767 taken as black to white",)
    values = [sample_values(RAMPS["16-bit PNG"]), sample_values(grey_tiff(whole("<u2", 0, 4095)))]
    assert notes_of([], values) == ()
    assert notes_of([], values[1:]) == (
        "1 16-bit picture: 0 to 65,535 taken as black to white, though no value is above 4,095",
    )
    assert sample_values(RAMPS["8-bit PNG"]) is None
