"""``python -m pipelines.data``: what it prints, writes and refuses."""

import json
import shutil

import pytest

from pipelines.common.picture_files import open_picture
from pipelines.datasets.report import read_report


@pytest.fixture
def photos(image_folder, tmp_path):
    """Forty pictures, one of which cannot be read."""
    folder = shutil.copytree(image_folder, tmp_path / "photos")
    (folder / "circles" / "001.png").write_bytes(b"torn")
    return folder


def test_a_person_reads_the_report(shell, photos, tmp_path, forked):
    done = shell("-m", "pipelines.data", photos, "--image-size", 8, "--out", tmp_path / "out")
    assert done.code == 0, done.error
    lines = done.output.splitlines()
    assert lines[0].split(maxsplit=1) == ["files", "40 files: 39 pictures used (36 to train on, 3 held out), 1 not used"]
    labels = [line[:10].strip() for line in lines]
    assert [label for label in labels if label][:5] == ["files", "not used", "splits", "classes", "captions"]
    assert "circles/001.png" in done.output
    assert read_report(tmp_path / "out" / "data.json").found == 40
    assert open_picture(tmp_path / "out" / "examples.png").width > 8 * 8


def test_the_settings_of_training_are_those_of_the_report(command, photos):
    done = command("pipelines.data", photos, "--json", "--image-size", 8, "--fit", "pad", "--only-classes", "circles")
    assert done.code == 0, done.error
    report = json.loads(done.output)
    assert (report["image_size"], report["fit"], report["classes"]["counts"]) == (8, "pad", {"circles": 19})
    assert sum(group["count"] for group in report["unused"]) == 21


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required"),
        (("no-such-folder",), "unknown dataset 'no-such-folder'"),
        (("{photos}", "--image-size", "2"), "image_size=2"),
        (("{photos}", "--label-column", "kind"), "no label column 'kind'"),
        (("{photos}", "--only-classes", "stars"), "no class 'stars'"),
        (("{photos}", "--train-split", "test"), "no split 'test'"),
        (("{photos}", "--out", "{photos}/circles/001.png"), "001.png is not a folder: choose another folder with --out"),
    ],
)
def test_what_cannot_be_reported_is_refused(command, photos, arguments, words):
    done = command("pipelines.data", *(each.format(photos=photos) for each in arguments))
    assert done.code == 2
    assert words in done.error or not arguments
    assert "Traceback" not in done.error
    assert not done.output


def test_data_that_cannot_be_trained_on_are_reported_and_refused(command, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(b"torn")
    done = command("pipelines.data", tmp_path / "photos", "--out", tmp_path / "out")
    assert "no readable image" in done.refused_in_one_sentence()
    assert "2 files: 0 pictures that can be read, 2 not used" in done.output
    assert "no readable image" in read_report(tmp_path / "out" / "data.json").problem
    assert not (tmp_path / "out" / "examples.png").exists()


def test_one_picture_is_reported_with_the_problem(command, tmp_path, image_folder):
    (tmp_path / "photos").mkdir()
    shutil.copy(image_folder / "squares" / "000.png", tmp_path / "photos")
    done = command("pipelines.data", tmp_path / "photos")
    assert done.code == 0, done.error
    assert "1 file: 1 picture that can be read, 0 not used" in done.output
    assert "these data cannot be trained on" in done.output


def test_a_folder_that_cannot_be_written_is_refused(command, photos, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = command("pipelines.data", photos, "--out", tmp_path / "file").refused_in_one_sentence()
    assert str(tmp_path / "file") in sentence
