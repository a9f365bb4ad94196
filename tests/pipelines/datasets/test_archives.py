"""Archives that nobody vouches for: what can be read is read, the rest is told of, and nothing is written outside the cache."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from made_pictures import first_pixels, flat, pictures_config, saved

import pipelines.datasets.files.unpacking as unpacking
from pipelines.common.reading import UnreadableError
from pipelines.datasets.files.archives import open_archive
from pipelines.datasets.files.places import local_file, read_place
from pipelines.datasets.image_sets import read_images
from pipelines.datasets.sources import open_source

PICTURES = {f"{number}.png": saved(flat("L", number, 40)) for number in range(6)}


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w", links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def told_of(source) -> dict[str, str]:
    return {each.path: each.reason for each in source.unused}


@pytest.mark.parametrize(
    "name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "stored.zip", "bzip2.zip"]
)
def test_each_kind_is_read_where_it_lies_and_in_a_folder(name, tmp_path):
    modes = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}
    if name.lower().endswith("zip"):
        methods = {"stored.zip": zipfile.ZIP_STORED, "bzip2.zip": zipfile.ZIP_BZIP2}
        write_zip(tmp_path / name, PICTURES, methods.get(name, zipfile.ZIP_DEFLATED))
    else:
        write_tar(tmp_path / name, PICTURES, modes.get(name.rpartition(".")[2], "w"))
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / name, tmp_path):
        source = open_source(str(path))
        assert (source.found, source.described, source.unused) == (7, 1, ())
        images = read_images(source.splits["train"], pictures_config(path))
        assert first_pixels(images) == [0, 1, 2, 3, 4, 5]
        assert not images.skipped
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_in_archives_are_read_to_a_depth(tmp_path):
    content = PICTURES["3.png"]
    for depth in range(5):
        name = f"{depth}.png" if depth == 0 else f"{depth}.zip"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, content)
        content = buffer.getvalue()
        (tmp_path / f"up to {depth}.zip").write_bytes(content)
    assert read_place(f"{tmp_path}/up to 2.zip/2.zip/1.zip/0.png", 10**6) == PICTURES["3.png"]
    source = open_source(str(tmp_path / "up to 2.zip"))
    assert first_pixels(read_images(source.splits["train"], pictures_config(tmp_path / "up to 2.zip"))) == [3]
    with pytest.raises(ValueError, match="more than 3 archives in one another"):
        open_source(str(tmp_path / "up to 4.zip"))


def test_members_that_lead_elsewhere_are_told_of_and_nothing_is_written(tmp_path):
    evil = {"../out.png": PICTURES["0.png"], "/out.png": PICTURES["0.png"], "a/../../out.png": b"", "C:/out.png": b""}
    (tmp_path / "data").mkdir()
    write_zip(tmp_path / "data" / "a.zip", PICTURES | evil)
    links = {"link.png": "0.png", "out.png": "../../secret.png", "passwd": "/etc/passwd"}
    write_tar(tmp_path / "data" / "b.tar", PICTURES | evil, links=links)
    (tmp_path / "secret.png").write_bytes(saved(flat("L", 200)))
    before = sorted(tmp_path.rglob("*"))
    source = open_source(str(tmp_path / "data"))
    images = read_images(source.splits["train"], pictures_config(tmp_path / "data"))
    assert first_pixels(images) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0]
    told = told_of(source)
    for archive in ("a.zip", "b.tar"):
        for name in evil:
            assert told[f"{archive}/{name}"] == "its name leads out of the archive"
    assert told["b.tar/out.png"] == told["b.tar/passwd"] == "a link to something that is not in the archive"
    assert sorted(tmp_path.rglob("*")) == before


def test_encrypted_and_damaged_members_are_told_of_by_name(tmp_path):
    whole = write_zip(tmp_path / "a.zip", PICTURES, zipfile.ZIP_STORED).read_bytes()
    content = bytearray(whole)
    place = content.rfind(b"PK\1\2")  # the last member's entry
    content[place + 8] |= 1
    content[whole.find(PICTURES["2.png"]) + 60] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    os.utime(tmp_path / "a.zip", (1, 1))
    source = open_source(str(tmp_path))
    assert told_of(source) == {"a.zip/5.png": "encrypted"}
    images = read_images(source.splits["train"], pictures_config(tmp_path))
    assert first_pixels(images) == [0, 1, 3, 4]
    assert [str(each) for each in images.skipped] == ["a.zip/2.png: it is damaged in its archive"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_of_a_cut_archive_what_is_whole_is_used_and_the_rest_is_told_of(name, tmp_path):
    noise = {key: content + os.urandom(3000) for key, content in PICTURES.items()}  # which cannot be compressed
    path = write_tar(tmp_path / name, noise, "w:gz" if name.endswith("gz") else "w")
    whole = path.read_bytes().rstrip(b"\0")
    for share in (0.3, 0.5, 0.8):
        path.write_bytes(whole[: int(share * len(whole))])
        source = open_source(str(path))
        assert 0 < len(source.splits["train"]) < 6
        assert any("cut short" in text for text in (*told_of(source).values(), *source.notes))
    path.write_bytes(whole[:3])
    with pytest.raises(ValueError, match=r"a damaged archive, or one that is cut short: a.tar"):
        open_source(str(path))


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "ALWAYS_UNPACKED", 10_000)
    write_tar(tmp_path / "a.tgz", {"a.png": bytes(10**7)}, "w:gz")
    with pytest.raises(ValueError, match="it unpacks to more than 100 times its size"):
        open_source(str(tmp_path / "a.tgz"))
    write_zip(tmp_path / "a.zip", {"a.tar": bytes(10**7)})
    with pytest.raises(UnreadableError, match="it unpacks to more than 100 times its size"):
        local_file(f"{tmp_path}/a.zip/a.tar")
    write_zip(tmp_path / "b.zip", {"a.png": bytes(10**7)})
    with pytest.raises(UnreadableError, match="larger than 1 MiB"):
        read_place(f"{tmp_path}/b.zip/a.png", 2**20)


def test_a_changed_archive_is_read_anew(tmp_path):
    path = write_tar(tmp_path / "a.tgz", PICTURES, "w:gz")
    assert len(open_archive(path).members) == 6
    write_tar(path, {"new.png": PICTURES["0.png"]}, "w:gz")
    assert list(open_archive(path).members) == ["new.png"]
