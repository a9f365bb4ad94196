"""Small files that would become huge: each is refused in a sentence, or only what is needed of it is read."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from pipelines.common.picture_files import open_picture
from pipelines.common.reading import UnreadableError
from pipelines.datasets.files import archives, tables, unpacking
from pipelines.datasets.files.places import read_place
from pipelines.datasets.files.walking import walk
from pipelines.datasets.sources import open_source
from pipelines.datasets.uploads import keep_upload

FRAME = b"\x21\xf9\x04\x00\x00\x00\x00\x00" + b"\x2c\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"


def png(width: int, height: int, rows: bytes) -> bytes:
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    told = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + told


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf()


def packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_png_that_claims_a_billion_pixels_is_refused_and_one_that_unpacks_to_more_than_it_claims_is_harmless():
    with pytest.raises(UnreadableError, match="too large: more than 67 million pixels"):
        open_picture(png(32_000, 32_000, bytes(1000)))
    assert open_picture(png(1, 1, bytes(2**26))).size == (1, 1)


def test_of_a_gif_of_100_000_frames_only_the_first_is_read():
    assert open_picture(b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + FRAME * 100_000 + b";").size == (1, 1)


@pytest.mark.parametrize("kind", ["P1 1 1", "P2 1 1 255", "P3 1 1 255"])
def test_a_picture_in_digits_between_a_million_comments_is_refused(kind):
    """Pillow would copy what follows a comment for each of them: for minutes."""
    one = f"{kind}\n# made by hand\n".encode()
    assert open_picture(one + b"1 1 1").size == (1, 1)
    with pytest.raises(UnreadableError, match="1000001 comments in a PPM file, of which 100 are read"):
        open_picture(one + b"#\n" * 10**6 + b"1 1 1")


def test_a_zip_bomb_is_neither_kept_nor_unpacked(tmp_path, monkeypatch):
    bomb = packed(("bomb.png", bytes(2**27)))  # a thousand times as large as its archive
    assert len(bomb) < 2**18
    (tmp_path / "bomb.zip").write_bytes(bomb)
    with pytest.raises(UnreadableError, match="larger than 96 MiB"):
        read_place(f"{tmp_path}/bomb.zip/bomb.png", 96 * 2**20)
    monkeypatch.setattr("pipelines.datasets.uploads.MOST_UNPACKED", 2**26)
    with pytest.raises(ValueError, match="1 member of 128 MiB together"):
        keep_upload([("bomb.zip", bomb)], tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_a_zip_that_says_less_than_it_holds_is_damaged(tmp_path):
    content = bytearray(packed(("bomb.png", bytes(2**24))))
    for place in (content.index(b"PK\3\4") + 22, content.index(b"PK\1\2") + 24):
        content[place : place + 4] = struct.pack("<I", 1000)
    (tmp_path / "liar.zip").write_bytes(content)
    with pytest.raises(UnreadableError, match="damaged in its archive"):
        read_place(f"{tmp_path}/liar.zip/bomb.png", 10**6)


ENDLESS = {
    "entries.zip": packed(*((f"{number}.txt", b"") for number in range(40))),
    "entries.tar": b"".join(header(tarfile.REGTYPE, 0, f"{number}.txt") for number in range(40)) + bytes(1024),
    "note.tar": header(tarfile.XHDTYPE, 2**16) + bytes(2**16 + 1024),
    "name.tar": header(tarfile.GNUTYPE_LONGNAME, 2**16) + bytes(2**16 + 1024),
    "chain.tar": (header(tarfile.GNUTYPE_LONGNAME, 5) + b"name\0".ljust(512, b"\0")) * 3000,
}


def test_archives_in_archives_do_not_multiply(tmp_path, monkeypatch):
    picture = png(1, 1, b"\0\0")
    inner = packed(*((f"{number}.png", picture) for number in range(10)))
    outer = packed(*((f"{number}.zip", inner) for number in range(10)))
    (tmp_path / "all.zip").write_bytes(packed(*((f"{number}.zip", outer) for number in range(10))))

    def told() -> tuple[int, set[str]]:
        tree = walk(tmp_path / "all.zip")
        return len(tree.files), {unused.reason for unused in tree.unused}

    assert told() == (1000, set())
    monkeypatch.setattr(archives, "MOST_MEMBERS", 75)
    many = "the archives in its archive are too many or too large together"
    assert told() == (50, {"the archives in its archive have more than 75 files together", many})
    monkeypatch.undo()
    monkeypatch.setattr(unpacking, "ALWAYS_UNPACKED", len(outer) + 3 * len(inner))
    monkeypatch.setattr(unpacking, "MOST_TIMES", 0)
    assert told() == (30, {many})


@pytest.mark.parametrize("name", ENDLESS)
def test_an_archive_of_endless_contents_is_refused_when_it_is_opened(name, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 39)
    monkeypatch.setattr(archives, "MOST_HEADER", 2**15)
    path = Path(tmp_path / name)
    path.write_bytes(ENDLESS[name])
    with pytest.raises(UnreadableError, match=r"list of contents is too long|damaged archive"):
        archives.open_archive(path)
    with pytest.raises(ValueError, match=r"too long|damaged"):
        open_source(str(path))
    monkeypatch.undo()
    if name.startswith("entries"):
        assert len(archives.open_archive(path).members) == 40


def test_a_table_that_repeats_a_long_value_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    names = pa.array([f"{number}.png" for number in range(5000)])
    captions = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["x" * 10_000]).cast(pa.string())
    parquet.write_table(pa.table({"file_name": names, "text": captions}), tmp_path / "table.parquet")
    assert (tmp_path / "table.parquet").stat().st_size < 2**18  # of 50 MB
    assert len(tables.read_table(str(tmp_path / "table.parquet"))["text"]) == 5000
    monkeypatch.setattr(tables, "MOST_BYTES", 2**24)
    with pytest.raises(UnreadableError, match="unpacks to more than 16 MiB"):
        tables.read_table(str(tmp_path / "table.parquet"))


def test_a_table_of_more_values_than_it_has_bytes_is_refused(tmp_path, monkeypatch):
    """Gaps take no room in a file: here a hundred columns times a hundred rows, of which a hundred have a value."""
    import pyarrow as pa
    from pyarrow import parquet

    names = [f"column {number}" for number in range(100)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + "x\n" * 100)
    rows = [json.dumps({name: 1}) for name in names]
    (tmp_path / "wide.json").write_text(f"[{','.join(rows)}]")
    (tmp_path / "wide.jsonl").write_text("\n".join(rows))
    parquet.write_table(pa.table({name: pa.nulls(100) for name in names}), tmp_path / "wide.parquet")
    parquet.write_table(pa.table({"list": pa.array([[None] * 10_000], pa.list_(pa.null()))}), tmp_path / "deep.parquet")
    for file in sorted(tmp_path.iterdir()):
        assert tables.read_table(str(file)), file
        monkeypatch.setattr(tables, "MOST_VALUES", 9_000)
        with pytest.raises(UnreadableError, match=r"a table of 1\d,\d{3} values, gaps included, where 9,000 are read"):
            tables.read_table(str(file))
        monkeypatch.undo()
