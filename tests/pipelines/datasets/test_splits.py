"""Which images are held out: the same for every seed and size, copies on one side, and none that a start was trained on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.datasets.copies import count_copies
from pipelines.datasets.image_sets import load_images, load_split
from pipelines.datasets.sources import open_source, resolve
from pipelines.datasets.splits import hold_out, tensor_keys
from pipelines.storage.config import DataConfig, HeldOutConfig
from pipelines.storage.run import Run

NEW = HeldOutConfig()


def picture(number):
    """Some picture; every number has its own."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


def write_pictures(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture(number).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def pictures(tmp_path):
    """A folder of forty pictures without a split, which a test may change."""
    return write_pictures(tmp_path / "pictures", range(40))


def data(folder, **settings):
    return resolve(DataConfig(**{"data": str(folder), "image_size": 8} | settings))


def load(config):
    return load_split(config, open_source(config.data))


@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_copies_fall_on_one_side_and_a_tenth_is_held_out(most):
    draw = np.random.default_rng(most)
    for count in (2, 19, 500):
        keys = draw.integers(0, max(2, count // 2), count).astype(np.uint64) * 12345
        keys[:2] = 1, 2  # two different images at least
        kept, held_out = hold_out(keys, most, NEW)
        assert sorted([*kept, *held_out]) == list(range(count))
        assert not set(keys[kept]) & set(keys[held_out])
        copies = np.unique(keys, return_counts=True)[1].max()
        wanted = max(1, min(most, count // 10))
        assert 0 < len(held_out) < wanted + copies


def test_the_split_is_that_of_the_contents(pictures, tmp_path):
    """Neither the seed, nor the size, nor the order, the names or the format of the files changes it."""
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(pictures.iterdir(), reverse=True)):
        Image.open(path).save(renamed / f"{number:03d}.bmp")
    configs = (
        data(pictures),
        data(pictures, image_size=12),
        data(pictures, fit="pad"),
        data(pictures, flip=True),
        data(renamed),
    )
    first, *others = map(load, configs)
    for _, held_out, config in others:
        assert config.held_out == first[2].held_out
        assert held_out.keys.tolist() == first[1].keys.tolist()


def test_fewer_held_out_images_are_among_the_more(pictures):
    more, fewer = (load_images(data(pictures, held_out_images=most))[1].keys.tolist() for most in (4, 2))
    assert more[:2] == fewer


def test_images_that_are_all_the_same_can_be_trained_on(tmp_path):
    """People overfit a single picture to test a network; a resume holds out the same copies, which are told of."""
    (tmp_path / "same").mkdir()
    for number in range(30):
        picture(0).save(tmp_path / "same" / f"{number}.png")
    train, held_out, config = load(data(tmp_path / "same"))
    assert (len(train), len(held_out)) == (27, 3)
    assert load(config)[2] == config
    assert count_copies(train, held_out) == (3, 0)


def test_images_in_memory_are_held_out_by_content():
    pixels = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    keys = tensor_keys(pixels)
    assert tensor_keys(pixels.flip(0)).tolist() == keys[::-1].tolist()
    assert tensor_keys(pixels.float() / 127.5 - 1).tolist() == keys.tolist()
    assert len(set(keys)) == 30


# --- runs


def test_two_seeds_hold_out_the_same_images(train, tmp_path):
    """A regression: seed 0 was trained on images that seed 1 held out."""
    one, other = (train(tmp_path / str(seed), seed=seed, steps=1).config for seed in (0, 1))
    assert one.data == other.data
    assert len(one.data.held_out.digest) == 16
    assert (one.data.held_out.copies, one.data.held_out.near_copies) == (0, 0)


def test_held_out_images_that_have_changed_are_refused(train, command, pictures, tmp_path):
    run = train(tmp_path / "run", data=str(pictures), steps=1)
    _, held_out = load_images(run.config.data)
    paths = sorted(pictures.rglob("*.png"))
    picture(99).save(paths[held_out.rows[0]])  # the number of images stays the same
    assert "restore the data" in command("pipelines.train", "--resume", run.path).refused_in_one_sentence()
    with pytest.raises(ValueError, match="have changed since this run started: restore the data, or start a new run"):
        load_images(run.config.data)


def test_a_run_of_an_older_version_means_what_it_meant(train, make_trainer, pictures, tmp_path):
    """Its seed chose the held-out images, and nothing was recorded."""
    run = older(train(tmp_path / "run", data=str(pictures), seed=3, steps=8, save_every=4))
    order = np.random.default_rng(3).permutation(40)
    resumed = make_trainer(run.path, run.config)
    rows = load_images(resumed.config.data)[1].rows
    assert rows.tolist() == order[:4].tolist()
    assert resumed.config.data.held_out.seed == 3
    assert torch.equal(resumed.task.data.held_out.cpu(), load_images(resumed.config.data)[1].images)


def older(run: Run) -> Run:
    """Make a run that of a version that recorded neither training images nor held-out ones."""
    config = run.config
    run.write_config(replace(config, data=replace(config.data, held_out=HeldOutConfig()), training_digest=""))
    return run


@pytest.mark.parametrize("by_seed", [False, True])
def test_nothing_that_the_start_was_trained_on_is_held_out(train, make_trainer, pictures, tmp_path, by_seed):
    """A regression: --init-from took the leak over in silence."""
    source = train(tmp_path / "source", data=str(pictures), steps=1, held_out_images=2 if by_seed else 3, seed=1)
    if by_seed:
        older(source)
    middle = train(tmp_path / "middle", data=str(pictures), steps=1, init_from=str(source.path), held_out_images=1000, seed=5)
    last = make_trainer(tmp_path / "last", data=str(pictures), init_from=str(middle.path), seed=9)
    seen = set(range(40)) - set(np.random.default_rng(1).permutation(40)[:2].tolist())
    if not by_seed:
        seen = set(load_images(source.config.data)[0].rows.tolist())
    for config in (middle.config, last.config):
        _, held_out = load_images(config.data)
        assert len(held_out) == (2 if by_seed else 3)
        assert not set(held_out.rows.tolist()) & seen


def test_a_start_on_data_that_have_grown_holds_out_nothing_it_was_trained_on(train, make_trainer, pictures, tmp_path):
    source = train(tmp_path / "source", data=str(pictures), steps=1)
    seen = set(load_images(source.config.data)[0].keys.tolist())
    old = older(Run(shutil.copytree(source.path, tmp_path / "old")))
    write_pictures(pictures, range(40, 80))
    grown = make_trainer(tmp_path / "grown", data=str(pictures), init_from=str(source.path))
    train_images, held_out = load_images(grown.config.data)
    assert not set(held_out.keys.tolist()) & seen
    assert len(train_images) + len(held_out) == 80
    with pytest.raises(ValueError, match="older version of Noisescope chose at random which images"):
        make_trainer(tmp_path / "refused", data=str(pictures), init_from=str(old.path))


def test_a_start_on_a_copy_that_has_grown_holds_out_nothing_it_was_trained_on(train, make_trainer, pictures, tmp_path):
    """Pictures are known by their content, not by their place."""
    source = train(tmp_path / "source", data=str(pictures), steps=1, held_out_images=2)
    seen = set(load_images(source.config.data)[0].keys.tolist())
    copy = Path(shutil.copytree(pictures, tmp_path / "copy"))
    config = make_trainer(tmp_path / "run", data=str(copy), init_from=str(source.path), held_out_images=1000).config
    assert not set(load_images(config.data)[1].keys.tolist()) & seen


def test_a_start_on_other_data_changes_nothing(train, make_trainer, pictures, tmp_path):
    source = older(train(tmp_path / "source", data=str(pictures), steps=1, seed=1))
    others = write_pictures(tmp_path / "others", range(100, 130))
    config = make_trainer(tmp_path / "run", data=str(others), init_from=str(source.path)).config
    assert replace(config.data.held_out, copies=None, near_copies=None) == load(data(others))[2].held_out


def test_a_split_for_tests_is_kept_and_recorded(train, make_trainer, tmp_path):
    folder = tmp_path / "data"
    write_pictures(folder / "train", range(20))
    write_pictures(folder / "test", range(30, 36))
    older_run = older(train(tmp_path / "run", data=str(folder), steps=1, seed=4))
    config = make_trainer(tmp_path / "next", data=str(folder), init_from=str(older_run.path), held_out_images=7).config
    assert (config.data.held_out.below, config.data.held_out.seed, config.data.held_out_images) == ("", None, 7)
    assert config.data.held_out.digest == make_trainer(older_run.path, older_run.config).config.data.held_out.digest
    assert make_trainer(older_run.path, older_run.config).config.data.held_out.seed is None
    assert len(load_images(config.data, 6)[1]) == 6


# --- copies


def test_exact_and_near_copies_are_counted_and_told(command, flags, tmp_path):
    folder = tmp_path / "data"
    write_pictures(folder / "train", range(20))
    write_pictures(folder / "test", (3, 4, 20, 21, 22, 23))
    for number in (5, 6, 7):  # of another encoding, size and brightness
        picture(number).point(lambda value: value * 0.98).resize((40, 40)).save(folder / "test" / f"{number}.jpg", quality=80)
    sets = load_images(data(folder, image_size=16))
    assert count_copies(*sets) == (2, 3)
    assert count_copies(sets[0], replace(sets[1], keys=sets[1].keys + np.uint64(1))) == (0, 5)
    done = command("pipelines.train", *flags(data=folder, image_size=16, steps=1), "--out", tmp_path / "run")
    assert "2 are also among the training images and 3 are nearly the same as a training image" in done.output
    config = Run(tmp_path / "run").config
    assert (config.data.held_out.copies, config.data.held_out.near_copies) == (2, 3)
