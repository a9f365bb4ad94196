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
from pipelines.datasets.uploads import about_dropped, delete_dropped, dropped_folders, keep_upload
from pipelines.storage.catalogue import read_catalogue


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


def test_pictures_and_their_captions_are_a_dataset_that_is_the_same_however_often_they_are_dropped(tmp_path):
    files = [(f"im {number}.jpg", jpeg(40 * number)) for number in range(4)]
    files += [(f"im {number}.txt", f"grey {number}".encode()) for number in range(4)]
    folder, new = keep_upload(files, tmp_path)
    assert new
    assert re.fullmatch(r"pictures-[0-9a-f]{10}", folder.name)
    assert keep_upload(files[::-1], tmp_path) == (folder, False)
    other, new = keep_upload([*files[:-1], ("im 3.txt", b"something else")], tmp_path)
    assert new
    assert other != folder
    assert set(dropped_folders(tmp_path)) == {folder, other}
    split = open_source(str(folder)).splits["train"]
    assert sorted(split["text"]) == ["grey 0", "grey 1", "grey 2", "grey 3"]


def test_drops_are_kept_beside_the_runs_as_none_of_them_and_are_found_where_they_were_kept_at_first(tmp_path, monkeypatch):
    runs, data = tmp_path / "runs", tmp_path / "data"
    monkeypatch.setattr("pipelines.storage.runs.PRIVATE", runs)
    monkeypatch.setenv("NOISESCOPE_DATA", str(data))
    folder, _ = keep_upload([("mine.zip", zipped({"a/1.jpg": jpeg(1), "b/2.jpg": jpeg(2)}))])
    assert folder.is_relative_to(runs)
    assert not data.exists()
    catalogue = read_catalogue(runs)
    assert (catalogue.runs, catalogue.problems) == ({}, {})
    assert len(open_source(str(folder)).splits["train"]) == 2
    files = [("a.jpg", jpeg(3))]
    earlier, _ = keep_upload(files, data / "dropped")
    assert keep_upload(files) == (earlier, False)
    assert set(dropped_folders()) == {folder, earlier}
    delete_dropped(earlier)
    assert dropped_folders() == [folder]


def test_only_what_was_dropped_can_be_deleted(tmp_path):
    mine, dropped = tmp_path / "mine-0123456789", tmp_path / "dropped"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(jpeg(1))
    folder, _ = keep_upload([("a.jpg", jpeg(1)), ("a.jpg", jpeg(2))], dropped)
    (dropped / "link-0123456789").symlink_to(mine)
    (dropped / "other").mkdir()
    (dropped / "named-0123456789").mkdir()
    (dropped / "named-0123456789" / "photo.jpg").write_bytes(jpeg(1))
    found = about_dropped(folder)
    assert (found.files, found.size) == (2, len(jpeg(1)) + len(jpeg(2)))
    before = everything_in(tmp_path)
    for path in (mine, dropped / "other", dropped / "link-0123456789", dropped, tmp_path):
        with pytest.raises(ValueError, match="is not a folder of dropped files"):
            delete_dropped(path, dropped)
    with pytest.raises(ValueError, match="have changed"):
        delete_dropped(dropped / "named-0123456789", dropped)
    (folder / "b.jpg").write_bytes(jpeg(3))
    for refused in (
        lambda: delete_dropped(folder, dropped),
        lambda: keep_upload([("a.jpg", jpeg(1)), ("a.jpg", jpeg(2))], dropped),
    ):
        with pytest.raises(ValueError, match="have changed since they were dropped"):
            refused()
    assert everything_in(tmp_path) == before | {f"dropped/{folder.name}/b.jpg"}
    (folder / "b.jpg").unlink()
    delete_dropped(folder, dropped)
    assert everything_in(tmp_path) == {name for name in before if folder.name not in name}


def test_folders_of_an_archive_are_classes_and_it_names_the_dataset(tmp_path):
    content = zipped({f"{kind}/{number}.jpg": jpeg(number) for kind in ("cats", "dogs") for number in range(3)})
    folder, _ = keep_upload([("My pets!.zip", content)], tmp_path)
    assert re.fullmatch("My-pets-[0-9a-f]{10}", folder.name)
    assert everything_in(folder) == {"My-pets.zip"}, "nothing is unpacked"
    assert open_source(str(folder)).splits["train"].features["label"].names == ["cats", "dogs"]
    several, _ = keep_upload([("one.zip", content), ("two.zip", content)], tmp_path)
    assert several.name.startswith("pictures-")


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
    folder, _ = keep_upload([(name, jpeg(number)) for number, name in enumerate(names)], root)
    kept = list(folder.rglob("*"))
    assert len(kept) == len(names)
    assert all(path.parent == folder and re.fullmatch(r"\w[\w.-]*", path.name) for path in kept)
    assert everything_in(tmp_path) == {"root", f"root/{folder.name}", *(f"root/{folder.name}/{path.name}" for path in kept)}
    outside = zipped({"../../evil.jpg": jpeg(1), "good.jpg": jpeg(2), "fine.jpg": jpeg(3)})
    archived, _ = keep_upload([("../../a.zip", outside)], root)
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
