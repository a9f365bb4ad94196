"""Data are known by their content: wherever they lie and however their place is spelled, and others are noticed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from PIL import Image

from pipelines.datasets.captions import TEMPLATES, templates_for
from pipelines.datasets.sources import locate, resolve
from pipelines.storage.config import DataConfig
from pipelines.storage.run import Run

STEPS = {"steps": 4, "save_every": 2, "log_every": 1}


@pytest.fixture
def here(tmp_path, image_folder, monkeypatch):
    """A working folder, also the home folder, with a copy of the shapes that a test may change."""
    shutil.copytree(image_folder, tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_data_that_were_moved_go_on_with_the_same_losses(command, train, here):
    """From another working folder: first as if nothing had happened, then at their new place, which is recorded."""
    run = train(here / "run", data="shapes", **STEPS)
    assert run.config.data.data == str(here / "shapes"), "the path that was typed means nothing elsewhere"
    twin = Run(shutil.copytree(run.path, here / "twin"))
    (here / "elsewhere").mkdir()
    os.chdir(here / "elsewhere")
    assert command("pipelines.train", "--resume", run.path, "--steps", 6).code == 0
    (here / "shapes").rename(here / "moved")
    refusal = command("pipelines.train", "--resume", twin.path, "--steps", 6).refused_in_one_sentence()
    assert f"the data of this run are not at '{here}/shapes'" in refusal
    assert f"--resume {twin.path} --data FOLDER" in refusal
    done = command("pipelines.train", "--resume=~/twin", "--steps", 6, "--data=~/moved")
    assert done.code == 0, done.error
    assert twin.config == replace(run.config, data=replace(run.config.data, data=str(here / "moved")))
    assert twin.metrics()["loss"].tolist() == run.metrics()["loss"].tolist()


def test_as_many_other_pictures_are_refused(command, train, here):
    """So are the same ones under names that bring them into another order, which would be drawn at other steps."""
    run = train(here / "run", data="shapes", **STEPS)
    files = sorted(Path("shapes").rglob("*.png"))
    third, fifth, sixth = (files[number].read_bytes() for number in (3, 5, 6))
    Image.new("RGB", (12, 12), (77, 10, 40)).save("new.png")
    for name, contents in {
        "other": [Path("new.png").read_bytes(), fifth],
        "reordered": [fifth, third],
        "copied": [sixth, fifth],
    }.items():
        shutil.copytree("shapes", name)
        for file, content in zip((files[3], files[5]), contents, strict=True):
            (Path(name) / file.relative_to("shapes")).write_bytes(content)
        refusal = command("pipelines.train", "--resume", run.path, "--steps", 6, "--data", name).refused_in_one_sentence()
        assert f"the 36 training images of {here / name} are not those that this run has begun with" in refusal
    assert run.config.data.data == str(here / "shapes")
    assert run.config.optimizer.steps == 4


@pytest.mark.parametrize("kind", ["class", "text"])
def test_pictures_whose_class_or_caption_has_changed_are_refused(command, train, here, kind):
    columns = {
        "image": [{"bytes": file.read_bytes()} for file in sorted(Path("shapes").rglob("*.png"))],
        "label": [0] * 20 + [1] * 20,
        "text": ["a circle"] * 20 + ["a square"] * 20,
    }
    types = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["circle", "square"]),
        "text": datasets.Value("string"),
    }
    used = {"class": "label", "text": "text"}[kind]

    def write(**changed: list[object]) -> None:
        rows = {name: (columns | changed)[name] for name in ("image", used)}
        features = datasets.Features({name: types[name] for name in rows})
        datasets.Dataset.from_dict(rows, features=features).to_parquet("table/train.parquet")

    Path("table").mkdir()
    write()
    run = train(here / "run", data="table", unet=kind, **STEPS)
    assert command("pipelines.train", "--resume", run.path, "--steps", 5).code == 0
    write(label=[1, *columns["label"][1:]], text=["a house", *columns["text"][1:]])
    refusal = command("pipelines.train", "--resume", run.path, "--steps", 6).refused_in_one_sentence()
    what = "classes" if kind == "class" else "captions"
    assert f"the {what} of some training images of {here / 'table'} have changed since this run started" in refusal


def test_a_run_that_recorded_nothing_stays_where_its_data_are(command, train, here):
    run = train(here / "run", data="shapes", **STEPS)
    held_out = replace(run.config.data.held_out, digest="", below="")
    run.write_config(replace(run.config, training_digest="", data=replace(run.config.data, held_out=held_out, data="shapes")))
    shutil.copytree("shapes", "others")
    refusal = command("pipelines.train", "--resume", run.path, "--data", "others", "--steps", 6).refused_in_one_sentence()
    assert "this run is of an older version, which did not record its images" in refusal
    assert command("pipelines.train", "--resume", run.path, "--data", "./shapes/", "--steps", 6).code == 0


def test_spellings_of_a_folder_are_one_dataset(here, monkeypatch):
    """A link, a slash at the end, the working folder, ~ and a name in $NOISESCOPE_DATA."""
    (here / "data").mkdir()
    flowers = Path(shutil.move(here / "shapes", here / "data" / "oxford_flowers"))
    (here / "link").symlink_to(flowers)
    (here / "data" / "mine").mkdir()
    monkeypatch.setenv("NOISESCOPE_DATA", "~/data")
    for spelled in ("oxford_flowers", "link", "link/", "./link/.", "~/link", str(flowers), "~/data/../data/oxford_flowers/"):
        config = resolve(DataConfig(data=spelled))
        assert Path(locate(config.data)).samefile(flowers)
        assert templates_for(config.data) == templates_for("oxford_flowers") != TEMPLATES
    os.chdir(flowers)
    assert templates_for(".") == templates_for("oxford_flowers")
    assert locate("mine") == str(here / "data" / "mine")
    (flowers / "mine").mkdir()
    assert locate("mine") == "mine", "a folder here comes first"
    with pytest.raises(ValueError, match="unknown dataset ''"):
        locate("")
