"""Uploaded pictures become a dataset whole or not at all, under safe names, within limits, and nothing lands outside."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pipelines.datasets import uploads
from pipelines.datasets.sources import open_source
from pipelines.datasets.uploads import keep_upload


def jpeg(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(file, "JPEG")
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_pictures_and_their_captions_are_a_dataset_each_drop_another(tmp_path):
    files = [(f"im {number}.jpg", jpeg(40 * number)) for number in range(4)]
    files += [(f"im {number}.txt", f"grey {number}".encode()) for number in range(4)]
    first, second = (keep_upload(files, tmp_path) for _ in range(2))
    assert re.fullmatch(r"pictures-\d{4}-\d\d-\d\d", first.name)
    assert second.name == f"{first.name}-2"
    split = open_source(str(first)).splits["train"]
    assert sorted(split["text"]) == ["grey 0", "grey 1", "grey 2", "grey 3"]


def test_folders_of_an_archive_are_classes_and_it_names_the_dataset(tmp_path):
    content = zipped({f"{kind}/{number}.jpg": jpeg(number) for kind in ("cats", "dogs") for number in range(3)})
    folder = keep_upload([("My pets!.zip", content)], tmp_path)
    assert folder.name == "My-pets"
    assert everything_in(folder) == {"My-pets.zip"}, "nothing is unpacked"
    assert open_source(str(folder)).splits["train"].features["label"].names == ["cats", "dogs"]
    assert keep_upload([("one.zip", content), ("two.zip", content)], tmp_path).name.startswith("pictures-")


def test_hostile_names_stay_inside_and_none_replaces_another(tmp_path):
    root = tmp_path / "root"
    names = [
        "../../evil.jpg",
        "/etc/evil.jpg",
        "..\\evil.jpg",
        ".hidden.jpg",
        "a\0b.jpg",
        "x" * 500 + ".jpg",
        "...jpg",
        "ä.jpg",
        "c.j\0p\ng",
    ]
    folder = keep_upload([(name, jpeg(number)) for number, name in enumerate(names)], root)
    kept = list(folder.rglob("*"))
    assert len(kept) == len(names)
    assert all(path.parent == folder and re.fullmatch(r"\w[\w.-]*", path.name) for path in kept)
    assert everything_in(tmp_path) == {"root", f"root/{folder.name}", *(f"root/{folder.name}/{path.name}" for path in kept)}
    outside = zipped({"../../evil.jpg": jpeg(1), "good.jpg": jpeg(2), "fine.jpg": jpeg(3)})
    archived = keep_upload([("../../a.zip", outside)], root)
    opened = open_source(str(archived))
    assert len(opened.splits["train"]) == 2
    assert [unused.reason for unused in opened.unused] == ["its name leads out of the archive"]
    assert everything_in(archived) == {"a.zip"}
    assert {path.name for path in tmp_path.iterdir()} == {"root"}


@pytest.mark.parametrize(
    ("files", "limits", "words"),
    [
        ([], {}, "no files"),
        ([("a.jpg", jpeg(1))] * 3, {"MOST_FILES": 2}, "3 files of"),
        ([("a.jpg", jpeg(1))] * 3, {"MOST_BYTES": 1024}, "at most 5,000 files and 1 KiB"),
        ([("a.jpg", jpeg(1)), ("report.pdf", b"%PDF")], {}, "'report.pdf' is neither a picture"),
        (
            [("a.jpg", jpeg(1)), ("torn.zip", zipped({"a.jpg": jpeg(1)})[:50])],
            {},
            "'torn.zip' cannot be read: a damaged archive",
        ),
        ([("a.zip", zipped({str(n): b"" for n in range(4)}))], {"MOST_MEMBERS": 3}, "'a.zip' has 4 members"),
        ([("a.zip", zipped({"a": bytes(2**21)}))], {"MOST_UNPACKED": 2**20}, "of 2 MiB together"),
    ],
)
def test_what_cannot_be_taken_leaves_nothing_behind(tmp_path, monkeypatch, files, limits, words):
    for name, value in limits.items():
        monkeypatch.setattr(uploads, name, value)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        keep_upload(files, tmp_path / "root")
    assert words in str(refusal.value)
    assert not everything_in(tmp_path) - {"root"}
