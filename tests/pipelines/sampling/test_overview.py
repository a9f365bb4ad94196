"""The overview of a generation shows its first and last states, and does not grow with its steps and images."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.common.images import gif_bytes
from pipelines.models.loading import LoadedModel
from pipelines.sampling.overview import GIF_FRAMES, GRID_ROWS, Overview


@pytest.mark.parametrize("steps", [1, 2, 20, 50, 51, 1000, 100_000])
@pytest.mark.parametrize("side", [8, 64, 128, 1024])
def test_what_is_kept_is_bounded_and_begins_and_ends_with_the_generation(steps, side):
    overview = Overview(steps, (side, side))
    for shown, most in ((overview.rows, GRID_ROWS), (overview.frames, GIF_FRAMES)):
        assert shown[0] == 0
        assert shown[-1] == steps
        assert len(shown) == min(most, steps + 1)
        gaps = np.diff(shown)
        assert gaps.max() - gaps.min() <= 1
    kept = overview.kept()
    assert set(kept) == {*overview.rows, *overview.frames}
    assert 1 <= overview.moving <= min(kept.values())
    assert sum(kept.values()) * side**2 * 3 < 2**29  # bytes, at most


def test_a_long_generation_keeps_a_few_frames(command, tiny_run, tmp_path, monkeypatch):
    """A regression: a thousand steps made a GIF of a thousand frames, and all of them lay in memory."""
    drawn = []
    original = LoadedModel.pictures
    monkeypatch.setattr(LoadedModel, "pictures", lambda self, x: drawn.append(len(x)) or original(self, x))
    out = tmp_path / "out"
    done = command("pipelines.sample", tiny_run.path, "--num-images", 3, "--steps", 150, "--sampler", "ddim", "--out", out)
    assert done.code == 0, done.error
    assert len(drawn) == len(Overview(150, (8, 8)).kept()) - 1 < 75, "the last comes from the images"
    with Image.open(out / "denoising.gif") as gif:
        assert gif.n_frames == GIF_FRAMES
        gif.seek(GIF_FRAMES - 1)
        shown = np.asarray(gif.convert("RGB")).astype(float)
    last = np.asarray(Image.open(out / "images" / "00000.png")).astype(float)
    assert np.abs(shown[16:80:8, 16:80:8] - last).mean() < 6, "the first image, enlarged eight times"


def test_the_colours_of_a_large_frame_are_kept():
    """They are chosen from a part of its pixels."""
    down, across = np.mgrid[0:512, 0:512] / 511
    picture = (255 * np.stack([down, across, 0.5 + 0.5 * np.sin(9 * (down - across))], axis=2)).astype(np.uint8)
    with Image.open(io.BytesIO(gif_bytes([picture]))) as gif:
        shown = np.asarray(gif.convert("RGB")).astype(float)
    whole = np.asarray(Image.fromarray(picture).quantize().convert("RGB")).astype(float)
    error, usual = (np.square(image - picture).mean() ** 0.5 for image in (shown, whole))
    assert error < 1.1 * usual
