"""Embedded profiles: the colours become those of sRGB; whatever is wrong with one, the picture is read."""

from __future__ import annotations

import numpy as np
import pytest
from made_pictures import ADOBE_RGB, DISPLAY_P3, SRGB, flat, icc_profile, saved
from PIL import Image, ImageCms

from pipelines.common.colour_profiles import IMPOSSIBLE
from pipelines.common.conversion import TRANSPARENT
from pipelines.common.picture_files import SEVERAL, read_picture

ADOBE = icc_profile(ADOBE_RGB, 2.19921875, "Adobe RGB (1998)")
TOLD = "with the colours of “Adobe RGB (1998)”: converted to sRGB"
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def first(picture: Image.Image):
    return picture.getpixel((0, 0))


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_adobe_rgb_becomes_srgb_in_every_format(picture_format):
    options = (
        {"lossless": True}
        if picture_format == "WEBP"
        else {"quality": 100, "subsampling": 0}
        if picture_format == "JPEG"
        else {}
    )
    picture = read_picture(saved(flat("RGB", (60, 160, 60), 16), picture_format, icc_profile=ADOBE, **options))
    assert np.abs(np.subtract(first(picture.image), (0, 161, 47))).max() <= (6 if picture_format == "AVIF" else 2)
    assert np.abs(np.subtract(first(picture.stored), (60, 160, 60))).max() <= 6
    assert picture.told == (TOLD,)


@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE_RGB, 2.2), (DISPLAY_P3, 2.4), (SRGB, 1.0)])
def test_to_another_space_and_back(primaries, gamma):
    """Colours of sRGB that are converted into a wider space with its profile embedded are read as they were."""
    profile = icc_profile(primaries, gamma)
    colours = np.random.default_rng(0).integers(60, 200, (16, 16, 3), dtype=np.uint8)
    srgb = ImageCms.createProfile("sRGB")
    wide = ImageCms.profileToProfile(
        Image.fromarray(colours), srgb, ImageCms.ImageCmsProfile(__import__("io").BytesIO(profile))
    )
    picture = read_picture(saved(wide, icc_profile=profile))
    assert np.abs(np.asarray(picture.image).astype(int) - colours).max() <= 4
    assert np.abs(np.asarray(picture.stored).astype(int) - colours).max() > 4


def test_a_profile_of_srgb_changes_and_tells_nothing():
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    picture = read_picture(saved(colours, icc_profile=own))
    assert picture.image is picture.stored
    assert np.array_equal(np.asarray(picture.image), np.asarray(colours))
    assert picture.told == ()


def test_greys_stay_grey_and_one_channel():
    linear = icc_profile(None, 1.0)
    for profile, mode in ((linear, "L"), (ADOBE, "L"), (icc_profile(SRGB, 1.0), "RGB")):
        picture = read_picture(saved(Image.fromarray(RAMP).convert(mode), icc_profile=profile))
        assert picture.image.mode == picture.stored.mode == "L"
        assert np.array_equal(np.asarray(picture.stored), RAMP)
        assert (np.diff(np.asarray(picture.image).ravel().astype(int)) >= 0).all()
        assert picture.told
    bright = np.asarray(read_picture(saved(Image.fromarray(RAMP), icc_profile=linear)).image)
    assert abs(int(bright[4, 0]) - 137) <= 1  # a quarter of the light


def test_transparent_parts_are_put_on_white_after_the_conversion():
    image = Image.new("RGBA", (8, 8), (60, 160, 60, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    picture = read_picture(saved(image, icc_profile=ADOBE))
    assert np.abs(np.subtract(first(picture.image), (0, 161, 47))).max() <= 2
    assert picture.image.getpixel((7, 7)) == (255, 255, 255)
    assert picture.told == (TRANSPARENT.format("white"), TOLD)


def test_a_palette_is_converted_too():
    picture = read_picture(saved(flat("RGB", (60, 160, 60)).quantize(4), icc_profile=ADOBE))
    assert np.abs(np.subtract(first(picture.image), (0, 161, 47))).max() <= 2


def test_impossible_profiles_are_told_and_the_numbers_kept():
    """Of another space, cut off, flipped in places, and of primaries that make white black."""
    picture = flat("RGB", (60, 160, 60))
    bad = [
        b"",
        b"nonsense",
        ADOBE[:200],
        icc_profile(None),
        icc_profile(((0, 0, 0),) * 3),
        icc_profile(ADOBE_RGB, 90),
        bytes(5000),
    ]
    random = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(ADOBE)
        for place in random.integers(0, len(ADOBE), 5):
            damaged[place] = random.integers(256)
        bad.append(bytes(damaged))
    for profile in bad:
        read = read_picture(saved(picture, icc_profile=profile))
        assert first(read.stored) == (60, 160, 60)
        if read.told == (IMPOSSIBLE,):
            assert read.image is read.stored
    assert all(read_picture(saved(picture, icc_profile=profile)).told == (IMPOSSIBLE,) for profile in bad[1:7])


def test_cmyk_and_lab():
    red = read_picture(saved(flat("CMYK", (0, 255, 255, 0)), "TIFF"))
    assert first(red.image) == (255, 0, 0)
    assert red.told == ("in CMYK without a colour profile: converted without one",)
    mismatched = read_picture(saved(flat("CMYK", (0, 255, 255, 0)), "TIFF", icc_profile=ADOBE))
    assert first(mismatched.image) == (255, 0, 0)
    assert mismatched.told == (IMPOSSIBLE,)
    lab = ImageCms.applyTransform(
        flat("RGB", (200, 100, 50)),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert np.abs(np.subtract(first(read_picture(saved(lab, "TIFF")).image), (200, 100, 50))).max() <= 3


def test_alpha_of_every_kind_is_told():
    for mode in ("LA", "RGBA"):
        half = Image.merge(mode, [*flat("RGB", (0, 0, 0)).split()[: len(mode) - 1], flat("L", 128)])
        for picture_format in ("PNG", "TIFF"):
            picture = read_picture(saved(half, picture_format))
            assert set(np.asarray(picture.image).ravel()) == {127}
            assert picture.told == (TRANSPARENT.format("white"),)
            assert read_picture(saved(half, picture_format), "black").told == (TRANSPARENT.format("black"),)
    samples = Image.fromarray(RAMP.astype(np.uint16) * 257)
    clear = read_picture(saved(samples, transparency=0))
    assert clear.image.getpixel((0, 0)) == 255
    assert clear.image.getpixel((1, 0)) == 1
    assert clear.told == (TRANSPARENT.format("white"),)
    assert read_picture(saved(flat("RGBA", (1, 2, 3, 255)))).told == ()


@pytest.mark.parametrize("picture_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_further_frames_and_pages_are_told(picture_format):
    frames = [flat("RGB", (10, 200, 30 * number), 16) for number in range(3)]
    picture = read_picture(saved(frames[0], picture_format, save_all=True, append_images=frames[1:]))
    assert SEVERAL in picture.told
    assert SEVERAL not in read_picture(saved(frames[0], picture_format)).told
