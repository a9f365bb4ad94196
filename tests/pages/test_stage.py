"""The Python side of the stage: what the browser is told, and the pictures that it fetches."""

import errno
import gc
import io
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pages.components import downloads, frontend, sheets, stage
from pages.components.glossary import linked
from pipelines.sampling.generation import Comparison, Frame, Generation
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import LatentConfig, RunConfig
from pipelines.storage.run import Run

COUNT, SIDE = 5, 6


def frame(index, timestep, log_snr, last=False, channels=3):
    x0, noise = np.random.default_rng(index).integers(0, 256, (2, COUNT, SIDE, SIDE, channels), dtype=np.uint8)
    return Frame(index, timestep, log_snr, x0 if last else noise, x0, nfe=index, seconds=0.1 * index)


def column(steps, grown=None, **config):
    """A generation of so many steps, of which so many frames are there."""
    levels = [-math.inf, *np.linspace(-6, 6, steps - 1), math.inf]
    frames = [frame(index, 999 - index, level, last=index == steps) for index, level in enumerate(levels)]
    whole = RunConfig(image_shape=(3, SIDE, SIDE), **config)
    request = SamplingRequest(num_images=COUNT, steps=steps)
    return Generation(
        Run(f"run-{steps}"), request, "", whole, frames[:grown], num_steps=steps, log_snrs=tuple(map(float, levels[:-1]))
    )


def file_of(url):
    return sheets._FOLDER / url.rsplit("/", 1)[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_decodes_to_the_very_pixels(channels):
    shown = frame(0, 999.0, -math.inf, channels=channels)
    for view, images in (("x", shown.x), ("x0", shown.x0)):
        with Image.open(file_of(sheets.sheet_urls(shown)[view])) as png:
            assert png.format == "PNG"
            assert np.array_equal(np.asarray(png).reshape(images.shape), images)


def test_a_sheet_is_written_once_and_lives_as_long_as_its_frame():
    shown = frame(1, 0.0, math.inf, last=True)
    urls = sheets.sheet_urls(shown)
    assert urls["x"] == urls["x0"]  # a sample is its own estimate
    written = file_of(urls["x"]).stat().st_mtime_ns
    assert sheets.sheet_urls(shown) == urls
    assert file_of(urls["x"]).stat().st_mtime_ns == written
    del shown
    gc.collect()
    assert not file_of(urls["x"]).exists()


def test_a_disk_that_becomes_full_leaves_no_part_of_a_sheet(monkeypatch):
    shown, room, write = frame(2, 500.0, 0.0), [1], Path.write_bytes

    def write_while_there_is_room(path, content):
        write(path, content[: len(content) if room else 9])
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        room.pop()

    files = set(sheets._FOLDER.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_while_there_is_room)
        with pytest.raises(OSError, match="No space"):
            sheets.sheet_urls(shown)
    assert set(sheets._FOLDER.iterdir()) == files
    assert file_of(sheets.sheet_urls(shown)["x"]).is_file()  # once there is room again


def test_a_poll_writes_only_new_frames_and_the_others_keep_their_urls():
    growing = Comparison([column(4, grown=2), column(8, grown=3)])
    before = stage.stage_data(["1", "2"], growing)
    files = set(sheets._FOLDER.iterdir())
    growing.columns[0].frames.append(frame(2, 997, 0.0))
    after = stage.stage_data(["1", "2"], growing)
    assert len(set(sheets._FOLDER.iterdir()) - files) == 2  # one frame in two views
    for old, new in zip(before["columns"], after["columns"], strict=True):
        assert new["frames"][: len(old["frames"])] == old["frames"]
    assert after["comparison"] == before["comparison"]


def test_columns_meet_at_equal_noise_levels():
    comparison = Comparison([column(5), column(20)])
    data = stage.stage_data(["1: five", "2: twenty"], comparison)
    levels = data["levels"]
    assert levels[0]["name"] == "noise"
    assert levels[-1]["name"] == "sample"
    assert levels[0]["frames"] == [0, 0]
    assert levels[-1]["frames"] == [5, 20]
    for level in levels[1:-1]:
        for place, generation in zip(level["frames"], comparison.columns, strict=True):
            distances = [abs(frame.log_snr - float(level["name"])) for frame in generation.frames]
            assert distances[place] == pytest.approx(min(distances), abs=0.01)
    assert len({level["name"] for level in levels}) == len(levels)
    for one in data["columns"][1]["frames"]:
        assert data["columns"][0]["frames"][one["first"]]["level"] in {level["name"] for level in levels}
    five, twenty = (one["strip"] for one in data["columns"])
    assert len(five) == len(twenty) <= stage.STRIP_ROWS
    assert [frame for frame in five if frame >= 0] == list(range(6))
    comparison.columns[0].log_snrs = ()  # not known before computing starts
    assert [len(one["strip"]) for one in stage.stage_data(["1", "2"], comparison)["columns"]] == [6, stage.STRIP_ROWS]


def test_while_columns_grow_the_last_level_is_one_that_all_have_reached():
    """A regression: each column showed its newest frame, below one log-SNR."""
    data = stage.stage_data(["1", "2"], Comparison([column(8, grown=5), column(8, grown=3)]))
    assert [level["frames"] for level in data["levels"]] == [[0, 0], [1, 1], [2, 2]]
    assert data["levels"][-1]["name"] == data["columns"][1]["frames"][-1]["level"]
    assert len(data["columns"][0]["frames"]) == 5  # for the film strip


def test_the_noise_level_links_to_the_glossary():
    [link] = re.findall(r'href="(glossary.+?)"', frontend.text("stage.html"))
    assert linked("[[log-SNR]]") == f"[log-SNR]({link})"


def test_a_gif_has_a_maximum_size_and_ends_with_the_samples():
    """A regression: every noise level of every column became a frame of all images, which took 13 s."""
    shade, levels = np.ones((60, 64, 64, 3), np.uint8), [-math.inf, *np.linspace(-6, 6, 48), math.inf]
    frames = [Frame(index, 0.0, level, (5 * index) * shade, shade, 0, 0.0) for index, level in enumerate(levels)]
    config = RunConfig(image_shape=(3, 64, 64))
    one = Generation(Run("run"), SamplingRequest(num_images=60, steps=49), "", config, frames, num_steps=49)
    comparison = Comparison([one, one])
    with Image.open(io.BytesIO(downloads.comparison_gif(comparison, "x"))) as gif:
        assert gif.n_frames == downloads.GIF_FRAMES
        assert downloads.GIF_PIXELS / 2 < gif.n_frames * gif.width * gif.height < 1.3 * downloads.GIF_PIXELS
        for number, value in ((0, 0), (20, 5 * 49)):
            gif.seek(number)
            assert np.asarray(gif.convert("L"))[30, 30] == pytest.approx(value, abs=3)


def test_a_growing_comparison_says_what_it_does_and_can_be_cancelled(monkeypatch):
    sent = {}
    monkeypatch.setattr(stage, "_component", lambda **options: sent.update(options))
    monkeypatch.setattr(stage, "title_mark", lambda share: None)
    comparison = Comparison([column(4, grown=2), column(4, grown=1)], status="running")
    stage.show_stage(["1", "2"], comparison)
    assert sent["data"]["activity"].startswith("Denoising: 1 of 8 steps")
    with comparison.prepares("Loading the text encoder"):
        stage.show_stage(["1", "2"], comparison)
    assert sent["data"]["activity"] == "Loading the text encoder"
    comparison.status = "queued"
    sent["on_cancelled_change"]()
    assert comparison.status == "cancelled"
    stage.show_stage(["1", "2"], comparison)
    assert sent["data"]["activity"] == ""


def test_before_the_first_frame_there_is_nothing_to_load():
    data = stage.stage_data(["1", "2"], Comparison([column(4, grown=0), column(4, grown=1)]))
    assert data["levels"] == []
    assert [len(one["frames"]) for one in data["columns"]] == [0, 1]
    assert data["columns"][1]["frames"][0]["first"] == -1


def test_what_cannot_be_compared_says_why():
    smaller = column(4)
    smaller.config = RunConfig(image_shape=(3, 4, 4))
    latent = column(4, latent=LatentConfig(latent_fingerprint="ours", latent_shape=(4, 2, 2)))
    one, same, small, other = stage.stage_data(["1", "2", "3", "4"], Comparison([column(4), column(4), smaller, latent]))[
        "columns"
    ]
    assert one["incomparable"] == same["incomparable"] == {"x": "", "x0": ""}
    assert "4×4×3" in small["incomparable"]["x0"]
    assert "6×6×3" in small["incomparable"]["x"]
    assert "latents" in other["incomparable"]["x"]
    assert other["incomparable"]["x0"] == ""
    assert other["latents"]


def test_the_view_is_the_one_last_told_or_in_the_address(monkeypatch):
    def shown(told, asked):
        monkeypatch.setattr(stage, "st", SimpleNamespace(session_state={"stage": told}, query_params=asked))
        return stage.shown_view()

    assert shown({}, {}) == shown({}, {"view": "nothing"}) == "x"
    assert shown({}, {"view": "x0"}) == "x0"
    assert shown({"view": "x"}, {"view": "x0"}) == "x"
