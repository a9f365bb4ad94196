"""Many pictures: in parallel as one by one, from the cache as from their files, mapped from a file as in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_pictures import ADOBE_RGB, flat, grey_tiff, icc_profile, pictures_config, saved, write_picture

from pipelines.common import machine, parallel
from pipelines.common.parallel import in_parallel
from pipelines.datasets import decoded, decoded_cache
from pipelines.datasets.image_sets import load_images, preview_images, read_images
from pipelines.datasets.sources import open_dataset
from pipelines.storage import pixel_cache, pixel_stack

RAMP = np.linspace(0, 1, 64, dtype="f4").reshape(8, 8)


def read(folder: Path, split: str = "train"):
    return read_images(open_dataset(str(folder))[split], pictures_config(folder))


def same(one, other) -> bool:
    arrays = ("images", "rows", "keys")
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return equal and (one.skipped, one.notes) == (other.skipped, other.notes)


@pytest.fixture
def many(tmp_path):
    """Pictures of every kind between 70 others, and some that cannot be read."""
    for number in range(70):
        write_picture(tmp_path / "many", f"{number:03}.png", flat("L", number) if number < 35 else flat("RGB", (number, 0, 9)))
    write_picture(tmp_path / "many", "020-float.tiff", grey_tiff(RAMP * 200))
    write_picture(tmp_path / "many", "021-dark.tiff", grey_tiff(RAMP * np.float32(0.9)))
    write_picture(tmp_path / "many", "022-nan.tiff", grey_tiff(RAMP * np.float32("nan")))
    write_picture(tmp_path / "many", "023-profile.png", saved(flat("RGB", (60, 160, 60)), icc_profile=icc_profile(ADOBE_RGB)))
    write_picture(tmp_path / "many", "024-alpha.png", flat("RGBA", (1, 2, 3, 0)))
    write_picture(tmp_path / "many", "025-text.png", b"this is not a picture")
    return tmp_path / "many"


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A cache of its own, which keeps all that is decoded, however fast and new."""
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path / "cache"))
    for name in ("FEWEST", "WORTH_CACHING", "SETTLED"):
        monkeypatch.setattr(decoded_cache, name, 0)
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def decodings(monkeypatch):
    """The rows that are decoded from now on."""
    rows = []
    one = decoded._decode_one
    monkeypatch.setattr(decoded, "_decode_one", lambda *arguments: rows.append(arguments[-1][0]) or one(*arguments))
    return rows


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_come_in_order_whatever_the_threads(threads):
    assert list(in_parallel(lambda number: number**2, iter(range(1000)), threads)) == [number**2 for number in range(1000)]
    taken = []
    some = in_parallel(lambda number: number, (taken.append(number) or number for number in range(10_000)), threads)
    assert [next(some) for _ in range(10)] == list(range(10))
    some.close()
    assert len(taken) <= parallel.AT_ONCE * (threads * parallel.AHEAD + 3)  # few exist at any time
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda number: 1 / number, [1, 0, 1], threads))


def test_parallel_reading_is_reading_one_by_one(many, monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 1)
    serial = read(many)
    monkeypatch.setattr(parallel, "usable_cores", lambda: 4)
    assert same(serial, read(many))
    assert serial.images.shape == (74, 3, 8, 8)
    assert [each.path for each in serial.skipped] == ["022-nan.tiff", "025-text.png"]
    assert serial.notes == (
        "1 picture with the colours of “made”: converted to sRGB",
        "1 picture with transparent parts: put on white",
        "2 floating-point pictures: 0 to 255 taken as black to white",
    )


def test_all_floating_point_pictures_share_one_range(tmp_path):
    """Also over the splits, and in the preview of a few."""
    for split, peak in (("train", 0.9), ("test", 255)):
        for number in range(4):
            write_picture(tmp_path / split, f"{number}.tiff", grey_tiff(RAMP * np.float32(peak)))
    train, held_out = load_images(pictures_config(tmp_path))
    assert (train.images.max(), held_out.images.max()) == (1, 255)
    assert preview_images(pictures_config(tmp_path), 2).max() == 1
    assert train.notes == ("4 floating-point pictures: 0 to 255 taken as black to white",)
    alone = read(tmp_path)
    assert alone.images.max() > 200
    assert np.array_equal(alone.keys, train.keys)  # of each picture alone


def test_the_cache_gives_what_decoding_gives(many, cached, decodings):
    first = read(many)
    assert decodings
    decodings.clear()
    assert same(first, read(many))
    assert not decodings
    [file] = cached.iterdir()
    content = file.read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], b"", content[:100] + b"?" + content[101:]):
        file.write_bytes(damaged)
        assert same(first, read(many))
        assert decodings
        decodings.clear()


def replaced(path: Path) -> None:
    """Another picture of as many bytes, with the times of the old one."""
    before, new = path.stat(), path.with_name("new")
    content = saved(flat("RGB", (123, 45, 67)))
    new.write_bytes(content)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


CHANGES = {
    "replaced": replaced,
    "overwritten": lambda path: path.write_bytes(saved(flat("RGB", (5, 6, 7)))),
    "touched": lambda path: os.utime(path, (1, 1)),
    "damaged": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "added": lambda path: write_picture(path.parent, "zzz.png", flat("L", 1)),
    "renamed": lambda path: path.rename(path.with_name("zzz.png")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_noticed(change, tmp_path, cached, decodings):
    for number in range(5):
        write_picture(tmp_path / "data", f"{number}.png", flat("RGB", (number, 0, 0)))
    read(tmp_path / "data")
    CHANGES[change](tmp_path / "data" / "2.png")
    decodings.clear()
    changed = read(tmp_path / "data")
    assert decodings
    decoded_cache.FEWEST = 1000  # without the cache; the fixture restores it
    assert same(changed, read(tmp_path / "data"))


def test_other_settings_and_other_decoders_are_noticed(tmp_path, cached, decodings, monkeypatch):
    for number in range(5):
        write_picture(tmp_path / "data", f"{number}.png", flat("RGB", (number, 0, 0)))
    split = open_dataset(str(tmp_path / "data"))["train"]
    for settings in ({}, {"image_size": 16}, {"fit": "pad"}):
        for expected in (5, 0):
            decodings.clear()
            read_images(split, pictures_config(tmp_path / "data", **settings))
            assert len(decodings) == expected
    monkeypatch.setattr(decoded_cache, "_decoders", lambda: "a later version")
    read_images(split, pictures_config(tmp_path / "data"))
    assert len(decodings) == 5
    assert len(list(cached.iterdir())) == 3  # the old state of the same settings is gone


def test_a_picture_that_was_just_written_is_not_cached(tmp_path, cached, monkeypatch):
    monkeypatch.setattr(decoded_cache, "SETTLED", 60)
    for number in range(5):
        write_picture(tmp_path / "data", f"{number}.png", flat("RGB", (number, 0, 0)))
    read(tmp_path / "data")
    assert not cached.exists()


def test_a_cache_that_cannot_be_written_is_told_and_not_needed(many, cached, monkeypatch):
    expected = read(many)
    monkeypatch.setenv("NOISESCOPE_CACHE", str(many / "000.png"))  # a file, where a folder would be
    with pytest.warns(UserWarning, match="could not be cached"):
        assert same(expected, read(many))
    monkeypatch.setattr(pixel_stack, "IN_MEMORY", 0)
    with pytest.warns(UserWarning, match=r"7\d images of .* are kept in memory"):
        assert same(expected, read(many))


def test_images_in_a_file_are_those_in_memory(many, cached, decodings, monkeypatch):
    small = read(many), load_images(pictures_config(many))
    monkeypatch.setattr(pixel_stack, "IN_MEMORY", 0)
    for path in cached.iterdir():
        path.unlink()
    assert same(small[0], read(many))  # decoded into a file
    decodings.clear()
    large = read(many)  # from the cache, mapped
    assert not decodings
    assert same(small[0], large)
    large.images[0] = 255  # what is changed in memory stays there
    assert same(small[0], read(many))
    for one, other in zip(small[1], load_images(pictures_config(many)), strict=True):
        assert same(one, other)
    assert len(list(cached.iterdir())) == 1


def test_a_disk_that_fills_while_images_are_written(many, cached, monkeypatch):
    expected = read(many)
    monkeypatch.setattr(pixel_stack, "IN_MEMORY", 0)
    monkeypatch.setattr(decoded_cache, "FEWEST", 1000)
    write = pixel_stack._File.write

    def full(self, number, image):
        if number == 40:
            raise OSError(28, "No space left on device")
        write(self, number, image)

    monkeypatch.setattr(pixel_stack._File, "write", full)
    with pytest.warns(UserWarning, match=r"kept in memory.*No space left"):
        assert same(expected, read(many))


def test_images_that_fit_nowhere_are_refused_at_the_first(many, cached, decodings, monkeypatch):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(many / "000.png"))
    monkeypatch.setattr(pixel_stack, "IN_MEMORY", 0)
    monkeypatch.setattr(machine, "machine_memory", lambda: 1000)
    with pytest.raises(
        machine.TooLarge, match=r"reading 76 images of .* would take .*choose a smaller image_size, or make room"
    ):
        read(many)
    assert len(decodings) < 76


def test_the_cache_keeps_what_was_used_last(cached, monkeypatch):
    monkeypatch.setattr(pixel_cache, "MOST", 10_000)  # room for two
    images, numbers = np.zeros((1, 1, 60, 60), np.uint8), np.zeros((2, 1), np.uint64)
    for age, name in enumerate("abc"):
        pixel_cache.store_pixels(name, "0", images, images.shape, numbers, {})
        os.utime(cached / f"{name}-0.pixels", (age, age))
        pixel_cache.find_pixels("a", "0").file.close()
    assert {path.name for path in cached.iterdir()} == {"a-0.pixels", "c-0.pixels"}


WATCH = """
import sys
from pathlib import Path
import numpy as np
from pipelines.datasets import decoded_cache
from pipelines.datasets.image_sets import read_images
from pipelines.datasets.sources import open_dataset, resolve
from pipelines.storage import pixel_stack
from pipelines.storage.config import DataConfig
pixel_stack.IN_MEMORY = 2**20
decoded_cache.WORTH_CACHING = decoded_cache.SETTLED = 0
def highest():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
import torch
split = open_dataset(sys.argv[1])["train"]
config = resolve(DataConfig(sys.argv[1], int(sys.argv[2])))
rest = highest()
images = read_images(split, config)
print(highest() - rest, images.images.nbytes // 2**20, int(images.images[-1].float().mean()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the highest use of memory is read as on Linux")
def test_many_images_do_not_fill_the_memory(tmp_path, forked):
    """200 MB of pixels, decoded and cached, take a fraction of that."""
    for number in range(270):
        write_picture(tmp_path / "data", f"{number:03}.png", flat("RGB", (number % 200, 0, 9), 16))
    environment = os.environ | {"NOISESCOPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", WATCH, tmp_path / "data", "512"]
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=300)
    used, pixels, mean = map(int, ran.stdout.split())
    assert pixels > 200
    assert used < pixels / 2
    assert mean == (69 + 9) // 3
