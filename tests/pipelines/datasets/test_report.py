"""The data report: every fact of it on folders where the truth is known, and its words."""

import csv
import os
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from made_pictures import flat, pictures_config, saved, write_picture
from odd_folders import make_folder
from PIL import Image

from pipelines.datasets import report as reports
from pipelines.datasets.files.inventory import Unused
from pipelines.datasets.image_sets import readable_images
from pipelines.datasets.report import grouped, read_report
from pipelines.datasets.report_text import as_text, facts, sum_of_files
from pipelines.datasets.sources import open_source, split_names
from pipelines.datasets.survey import full_survey, row_names, survey
from pipelines.storage.config import ConditionConfig


def noisy(seed: int, size=(8, 8)) -> Image.Image:
    """A picture that is nearly like no other."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


def surveyed(config, condition=None):
    """The report after the pictures have been decoded."""
    return full_survey(config, open_source(config.data, config.only_classes), condition)


def listed(config, condition=None):
    """The report from the listing alone."""
    return survey(config, open_source(config.data), condition)


def adds_up(report) -> bool:
    return report.found == report.trained + report.held_out + report.described + report.left_out


def told(report, label: str) -> str:
    return "\n".join(fact.text for fact in facts(report) if fact.label == label)


def write_captions(folder, rows, header=("file_name", "text")) -> None:
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def named_once(report, config) -> bool:
    """Whether a report names every file that is not used once, the pictures used are the others, and its sum is right."""
    source, used = open_source(config.data), []
    for images, split in zip(readable_images(config, source), split_names(source.splits, config), strict=False):
        used += row_names(source.splits[split], config, images.rows)
    left_out = [path for group in report.unused for path in group.paths]
    every = Counter(name for table in source.splits.values() for name in row_names(table, config, np.arange(len(table))))
    every += Counter(each.path for each in source.unused)
    counts = report.found == source.found and len(used) == report.trained + report.held_out and adds_up(report)
    return counts and Counter(used + left_out) == every and max(every.values()) == 1


def test_every_file_of_odd_folders_is_used_or_told_of_once(tmp_path):
    reported = damaged = 0
    for number in range(50):
        chance, root = random.Random(number), tmp_path / str(number)
        make_folder(chance, root)
        whole = saved(noisy(number, (4, 4)))
        for file in sorted(root.rglob("*.png")):
            if chance.random() < 0.5 and file.is_file():
                file.write_bytes(chance.choice((b"torn", whole[:60], saved(noisy(chance.randrange(99), (4, 4))))))
        config = pictures_config(root, image_size=4, held_out_images=1)
        with suppress(ValueError):  # no picture in it, which test_listing.py tests
            report = surveyed(config)
            assert named_once(report, config), number
            reported += 1
            damaged += any(group.reason.startswith("not a readable image") for group in report.unused)
    assert reported > 25
    assert damaged > 5


def test_pictures_are_described_as_they_are_in_their_files(tmp_path):
    for number in range(6):
        write_picture(tmp_path, f"{number}.png", noisy(number, (16, 8)))
    write_picture(tmp_path, "tall.jpg", saved(noisy(6, (4, 32)), "JPEG"))
    write_picture(tmp_path, "grey.png", flat("L", 9, 4))
    write_picture(tmp_path, "alpha.png", flat("RGBA", (1, 2, 3, 100), 8))
    write_picture(tmp_path, "deep.png", Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)))
    write_picture(tmp_path, "torn.png", b"no picture")
    report = surveyed(pictures_config(tmp_path))
    assert adds_up(report)
    assert (report.found, report.trained + report.held_out, report.held_out) == (11, 10, 1)
    found = report.pictures
    assert (found.smallest, found.largest, found.commonest, found.of_commonest) == ((4, 4), (16, 8), (16, 8), 6)
    assert found.formats == {"PNG": 9, "JPEG": 1}
    assert found.colours == {"colour": 7, "grey": 2, "colour with alpha": 1}
    assert found.depths == {"8 bits": 9, "16 bits": 1}
    assert (found.enlarged, found.reduced) == (2, 0)  # the grey and the tall one; the shorter side of the others is 8
    assert found.lost == pytest.approx((6 * 1 / 2 + 28 / 32) / 10)
    assert found.most_lost == pytest.approx(28 / 32)
    padded = surveyed(pictures_config(tmp_path, fit="pad")).pictures
    assert (padded.enlarged, padded.reduced) == (0, 7)
    assert padded.lost == pytest.approx((6 * 1 / 2 + 7 / 8 + 3 / 4) / 10)
    assert "4×4 to 16×8 pixels, most often 16×8 (6 pictures)" in told(report, "sizes")
    assert "2 enlarged; cropping cuts away 39% of a picture on average, at most 88%" in told(report, "sizes")
    assert told(report, "not used").startswith("1: not a readable image")
    assert "torn.png" in told(report, "not used")


def test_copies_are_counted_inside_and_across_the_splits(tmp_path):
    for number in range(8):
        write_picture(tmp_path / "train", f"{number}.png", noisy(number))
    write_picture(tmp_path / "train", "again.png", noisy(0))
    for number in (1, 1, 2, 20, 21):
        write_picture(tmp_path / "test", f"{number}-{len(list((tmp_path).rglob('*.png')))}.png", noisy(number))
    near = np.asarray(noisy(5)).astype(int)
    near[0, 0] += 1 - 2 * (near[0, 0] > 100)
    write_picture(tmp_path / "test", "near.png", Image.fromarray(near.astype(np.uint8)))
    report = surveyed(pictures_config(tmp_path))
    assert report.copies == reports.CopyReport(trained=1, held_out=1, across=3, near=1)
    assert "3 held-out pictures are also among the training pictures" in told(report, "copies")
    assert "1 held-out picture is nearly the same as a training picture" in told(report, "copies")


def test_splits_say_what_becomes_of_them_and_what_is_left_out_is_named(tmp_path):
    sizes = {"train": 5, "test": 4, "validation": 3}
    for number, (split, size) in enumerate(sizes.items()):
        for each in range(size):
            write_picture(tmp_path / split, f"{each}.png", noisy(10 * number + each))
    for trained in (5, 3):
        config = pictures_config(tmp_path, held_out_images=2, train_images=trained)
        for report in (listed(config), surveyed(config)):
            assert adds_up(report)
            assert {split.name: (split.pictures, split.trained, split.held_out) for split in report.splits} == {
                "train": (5, trained, 0),
                "test": (4, 0, 2),
                "validation": (3, 0, 0),
            }
            assert [group.count for group in report.unused] == [3, 2] + [5 - trained] * (trained < 5)
    assert "2: not needed: 2 pictures of the split 'test' are enough to hold out" in told(report, "not used")
    named = {path for group in report.unused for path in group.paths}
    assert {f"validation/{each}.png" for each in range(3)} <= named
    assert len([path for path in named if path.startswith("test/")]) == 2
    test, train, validation = sorted(told(report, "splits").splitlines())
    assert train.endswith("5 pictures, 3 trained on")
    assert test.endswith("4 pictures, 2 held out for validation")
    assert validation.endswith("3 pictures, not used")
    other = surveyed(pictures_config(tmp_path, train_split="validation"))
    assert adds_up(other)
    assert {split.name: split.trained for split in other.splits} == {"train": 0, "test": 0, "validation": 3}


def test_classes_are_counted_and_a_choice_of_them_is_told(tmp_path):
    for kind, size in (("cat", 6), ("dog", 4), ("owl", 3)):
        for each in range(size):
            write_picture(tmp_path / kind, f"{each}.png", noisy(ord(kind[0]) * 100 + each))
    write_picture(tmp_path / "dog", "torn.png", b"no picture")
    report = surveyed(pictures_config(tmp_path))
    assert report.classes.counts == {"cat": 6, "dog": 4, "owl": 3}  # readable ones, on both sides of the split
    assert told(report, "classes") == "3 in column 'label': cat 6, dog 4, owl 3"
    assert report.captions.pictures == 13
    assert "made from the classes with 6 templates" in told(report, "captions")
    chosen = surveyed(pictures_config(tmp_path, only_classes=("cat", "owl")))
    assert adds_up(chosen)
    assert chosen.found == report.found
    assert chosen.classes.counts == {"cat": 6, "owl": 3}
    assert chosen.left_out == 5


def test_captions_are_counted_and_those_beyond_the_encoder_are_told(tmp_path):
    captions = ["a dog", "", "  ", "a cat, " * 20, "a very long caption"]
    for number in range(5):
        write_picture(tmp_path, f"{number}.png", noisy(number))
    write_captions(tmp_path, [(f"{number}.png", text) for number, text in enumerate(captions)])
    report = surveyed(pictures_config(tmp_path))
    assert adds_up(report)
    assert report.described == 1
    assert (report.captions.pictures, report.captions.without) == (3, 2)
    assert report.captions.longest == ("a cat, " * 20).strip()
    assert set(report.captions.examples) <= {text.strip() for text in captions}
    assert (report.captions.limit, report.captions.too_long) == (32, 1)
    assert "1 picture has a caption of more than 32 tokens" in told(report, "captions")
    unknown = surveyed(pictures_config(tmp_path), ConditionConfig(encoder="nobody/has-this"))
    assert unknown.captions.too_long is None
    with pytest.raises(ValueError, match="no text column 'words'"):
        listed(pictures_config(tmp_path), ConditionConfig(text_column="words"))


@pytest.mark.parametrize(
    ("contents", "readable", "why"),
    [
        ([b"no picture"] * 3, 0, "no readable image"),
        ([saved(noisy(0)), b"no picture"], 1, "at least 2"),
    ],
)
def test_data_that_cannot_be_trained_on_are_accounted_for_too(tmp_path, contents, readable, why):
    for number, content in enumerate(contents):
        write_picture(tmp_path, f"{number}.png", content)
    report = surveyed(pictures_config(tmp_path))
    assert adds_up(report)
    assert report.trained + report.held_out == readable
    assert why in report.problem
    assert report.left_out == len(contents) - readable
    assert f"{readable} picture" in sum_of_files(report)
    assert "that can be read" in sum_of_files(report)


def test_a_report_is_restored_from_its_file(tmp_path, image_folder):
    for report in (surveyed(pictures_config(image_folder)), listed(pictures_config(image_folder))):
        (tmp_path / "data.json").write_text(report.to_json(), encoding="utf-8")
        assert read_report(tmp_path / "data.json") == report
    (tmp_path / "data.json").write_text(report.to_json().replace('"found"', '"lost"'))
    with pytest.raises(ValueError, match="found"):
        read_report(tmp_path / "data.json")


def test_a_report_from_the_listing_takes_every_picture_as_readable(tmp_path):
    write_picture(tmp_path, "a.png", noisy(0))
    write_picture(tmp_path, "torn.png", b"no picture")
    report = listed(pictures_config(tmp_path))
    assert adds_up(report)
    assert (report.trained, report.pictures, report.copies) == (2, None, None)
    assert "used" not in sum_of_files(report).split(",")[0]


def test_names_are_data_wherever_a_report_is_written(tmp_path):
    unused = [Unused("two\nlines.png", "odd"), Unused(os.fsdecode(b"caf\xe9.png"), "odd"), Unused("\x1b[31mred.png", "odd")]
    report = replace(listed(pictures_config(_two_pictures(tmp_path))), unused=grouped(unused))
    text = as_text(report)
    assert "\x1b" not in text
    assert "two lines.png" in text
    text.encode()
    (tmp_path / "data.json").write_text(report.to_json(), encoding="utf-8")
    assert read_report(tmp_path / "data.json") == report


def _two_pictures(folder):
    for number in range(2):
        write_picture(folder, f"{number}.png", noisy(number))
    return folder


def test_of_very_many_files_the_first_are_kept_and_all_counted(monkeypatch):
    monkeypatch.setattr(reports, "MOST_PATHS", 10)
    groups = grouped([Unused(f"{number}", "often" if number % 4 else "seldom") for number in range(40)])
    assert [(group.reason, group.count, len(group.paths)) for group in groups] == [("often", 30, 10), ("seldom", 10, 0)]
    many = grouped([Unused(f"{number}", f"reason {number}") for number in range(40)])
    report = reports.DataReport("d", "d", 8, "crop", False, 40, 0, many, ())
    lines = told(report, "not used").splitlines()
    assert len(lines) == 11
    assert lines[-1] == "30: 30 other reasons"
