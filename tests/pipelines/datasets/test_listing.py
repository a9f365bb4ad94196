"""Every file of a folder is used, describes others, or is told of, however people lay out their folders."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from made_pictures import first_pixels, flat, pictures_config, saved
from odd_folders import make_folder
from pyarrow import parquet
from written_folders import four, said_of, write

import pipelines.datasets.files.file_kinds as file_kinds
from pipelines.datasets.columns import values_of, with_labels, with_texts
from pipelines.datasets.decoding import picture_name
from pipelines.datasets.image_sets import read_images
from pipelines.datasets.sources import open_source


def used_pictures(source, folder) -> list[str]:
    """The names of all pictures that are used, as reports say them."""
    cells = [cell for split in source.splits.values() for cell in values_of(split, "image")]
    return [picture_name(cell, 0, None, [Path(folder)]) for cell in cells]


def test_everything_in_a_folder_is_used_describes_or_is_told_of(tmp_path):
    opened = refused = 0
    for number in range(150):
        root = tmp_path / str(number)
        files, inside = make_folder(random.Random(number), root)
        try:
            source = open_source(str(root))
        except ValueError as error:
            refused += "\n" not in str(error) and "no picture in" in str(error)
            continue
        opened += 1
        used = used_pictures(source, root)
        told = [each.path for each in source.unused if ", row " not in each.path]
        rows = len(source.unused) - len(told)
        assert source.found == source.described + len(source.unused) + len(used), number
        assert source.found - rows == len(files) + inside, number
        assert len({*used, *told}) == len(used) + len(told), "nothing is used and told of, nor twice"
        outside_of_archives = {path for path in (*used, *told) if path in files}
        assert len(files - outside_of_archives) <= source.described, number
        assert set(source.origins) == set(source.splits)
    assert opened > 75
    assert opened + refused == 150


# --- how people lay out their data


def greys(source, folder: Path, split: str = "train") -> list[int]:
    return first_pixels(read_images(source.splits[split], pictures_config(folder)))


LAYOUTS = {  # the folders of pictures, the splits and the classes that they mean
    "classes of which one is called train": (("bus", "car", "boat", "train"), {"train": 4}, ["boat", "bus", "car", "train"]),
    "splits in any case": (("TRAIN", "Test", "val"), {"train": 1, "validation": 1, "test": 1}, None),
    "classes in splits": (("Training/a", "Training/b", "eval/a"), {"train": 2, "test": 1}, ["a", "b"]),
    "all in one folder": (("mine/train/a", "mine/train/b", "mine/dev/b"), {"train": 2, "validation": 1}, ["a", "b"]),
    "deeper folders": (("cat/small/x", "cat", "dog/train", "dog/test"), {"train": 4}, ["cat", "dog"]),
    "pictures of a split in a folder of their own": (
        ("train/n1/images", "train/n2", "val/images"),
        {"train": 2, "validation": 1},
        ["n1", "n2"],
    ),
    "names with a word or a year more": (
        ("train2017/a", "train2017/b", "val_set/a"),
        {"train": 2, "validation": 1},
        ["a", "b"],
    ),
    "words in names": (("a steam train", "test tubes"), {"train": 2}, ["a steam train", "test tubes"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_folders_mean_what_people_mean_by_them(name, tmp_path):
    folders, splits, classes = LAYOUTS[name]
    files = {f"{folder}/{number}.png": 1 for folder in folders for number in range(4)}
    source = open_source(str(write(tmp_path / "set[1]", files)))
    write(tmp_path / "set1", {"0.png": 0})  # which the other's name would match as a pattern
    assert {split: len(table) // 4 for split, table in source.splits.items()} == splits
    found = {split: set(said_of(source, split=split)) for split in splits} if classes else None
    assert (sorted(set().union(*found.values()) - {None}) if found else None) == classes
    assert not source.unused
    assert set(source.origins) == set(splits)
    if not classes:
        assert all("label" not in table.features for table in source.splits.values())


def test_pictures_beside_splits_and_classes_are_told_or_used(tmp_path):
    source = open_source(str(write(tmp_path / "splits", four("train") | four("test") | {"cover.png": 9})))
    assert [str(each) for each in source.unused] == ["cover.png: beside the folders of the splits"]
    source = open_source(str(write(tmp_path / "classes", four("a") | four("b", 50) | {"z.png": 9})))
    assert said_of(source) == ["a"] * 4 + ["b"] * 4 + [None]
    assert "1 picture beside the folders of classes: used without a class." in source.notes


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path, four("else/cats", 50) | four("data/dogs"))
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "else" / "cats")
    (tmp_path / "data" / "dogs" / "all").symlink_to("..")
    (tmp_path / "data" / "gone.png").symlink_to("nowhere")
    for number in range(12):  # each to the next two: thousands of ways
        (tmp_path / "more" / str(number)).mkdir(parents=True)
        for name in "ab":
            (tmp_path / "more" / str(number) / name).symlink_to(tmp_path / "more" / str(number + 1))
    write(tmp_path, {"more/12/0.png": 3})
    source = open_source(str(tmp_path / "data"))
    assert (said_of(source), greys(source, tmp_path / "data")) == (["cats"] * 4 + ["dogs"] * 4, [50, 51, 52, 53, 0, 1, 2, 3])
    assert [str(each) for each in source.unused] == ["gone.png: a link to nothing"]
    assert any("leads back" in note for note in source.notes)
    assert len(open_source(str(tmp_path / "more" / "0")).splits["train"]) > 0


def test_a_table_says_what_pictures_are_and_which_are_used(tmp_path):
    rows = "\ufefffile_name;label;text\nb/1.png;2;ein Kätzchen\nb\\2.png;10;two\nnone.png;2;x\n../0.png;2;y\nb/1.png;2;again\n"
    source = open_source(str(write(tmp_path / "data", four("b") | {"metadata.csv": rows})))
    assert said_of(source) == ["2", "10"]
    assert source.splits["train"].features["label"].names == ["2", "10"]
    assert said_of(source, "text") == ["ein Kätzchen", "two"]
    assert sorted(str(each) for each in source.unused) == [
        "b/0.png: no row in metadata.csv",
        "b/3.png: no row in metadata.csv",
        "metadata.csv, row 2: names no picture of this dataset",
        "metadata.csv, row 3: names a picture outside the dataset's folder, where none is read",
        "metadata.csv, row 4: names a picture that another row describes",
    ]
    words = "id,breed,n\n" + "".join(f"{number},{'pug' if number % 2 else 'corgi'},{number}\n" for number in range(4))
    source = open_source(str(write(tmp_path / "words", four("images") | {"train.csv": words})))
    assert said_of(source, "breed") == ["corgi", "pug"] * 2
    assert said_of(open_source(str(tmp_path / "words" / "train.csv")), "breed") == ["corgi", "pug"] * 2
    bare = {
        "val.txt": "0.png\tcat\t3\n1.png\tdog\t4\n2.png\tcat\t5\n3.png\tdog\t6\n",
        "a.jsonl": "{}\n\n[\n",
        "b.tsv": "1\t2\n",
    }
    bare_source = open_source(str(write(tmp_path / "bare", four("images") | bare)))
    assert said_of(bare_source, "column 1") == ["cat", "dog"] * 2
    assert {each.path for each in bare_source.unused} == {"a.jsonl", "b.tsv"}
    chosen = with_labels(source.splits, "n")
    assert chosen["train"].features["n"].names == ["0", "1", "2", "3"]
    assert with_texts(chosen, "breed")["train"]["breed"][:] == ["corgi", "pug"] * 2


@pytest.mark.parametrize("kind", ["bytes", "large bytes", "pairs", "arrow", "packed"])
def test_tables_of_pictures_are_read(kind, tmp_path):
    contents = [saved(flat("L", number)) for number in range(4)]
    cells = pa.array([{"bytes": content, "path": "x.png"} for content in contents] if kind == "pairs" else contents)
    table = pa.table({"picture": cells.cast(pa.large_binary()) if kind == "large bytes" else cells, "label": list("xyxy")})
    folder = tmp_path / "a[b]*"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        if kind == "arrow":
            datasets.Dataset(table).save_to_disk(folder / split)
        else:
            parquet.write_table(table, folder / split / "0.parquet")
    if kind == "packed":
        shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
        folder = tmp_path / "packed.zip"
    source = open_source(str(folder))
    assert set(source.splits) == {"train", "test"}
    assert (greys(source, folder, "test"), said_of(source)) == ([0, 1, 2, 3], list("xyxy"))
    assert not source.unused


def test_no_picture_that_can_be_used_is_one_sentence(tmp_path):
    folder = write(tmp_path / "none", {"a.svg": "x", "b.npy": "x", ".c.png": 1, "d.rar": "x", "LICENSE": "x"})
    with pytest.raises(ValueError, match=r"^no picture in .* can be used, of 5 files found") as refusal:
        open_source(str(folder))
    for told in ("format that is not read (.svg)", "not a picture: b.npy", "hidden file", "(.rar)", "1 that only describe"):
        assert told in str(refusal.value)
    with pytest.raises(ValueError, match=r"neither an archive .*zip.* nor a table .*csv.*: give one of these, or the folder"):
        open_source(str(folder / "b.npy"))


@pytest.mark.parametrize("here", [True, False])
def test_photographs_of_phones_are_read_or_told_what_reads_them(here, tmp_path, monkeypatch):
    monkeypatch.setattr(file_kinds, "can_read_heif", lambda: here)
    monkeypatch.setattr(file_kinds, "picture_suffixes", lambda: frozenset({".png", *((".heic",) if here else ())}))
    source = open_source(
        str(write(tmp_path, four("a") | {"a/x.HEIC": b"", "a/y.jp2": b"", "a/z": saved(flat("RGB", 9), "AVIF")}))
    )
    reasons = [each.reason for each in source.unused]
    assert len(source.splits["train"]) == 5 + here
    assert reasons.count("a picture of a format that is not read (.jp2)") == 1
    assert reasons.count("a picture in .heic: pip install pillow-heif to read these") == (not here)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv", "a.tar.gz", "a.tar.bz2", "a.zip"])
def test_damaged_files_are_refused_by_name_in_one_sentence(name, tmp_path):
    """Also a table whose header is whole, of which only the values are damaged."""
    (tmp_path / name).write_bytes(b"" if name == "a.csv" else b"PAR1 and what is not a table" * 9)
    with pytest.raises(ValueError, match=rf"^no picture in .* can be used, of 1 file found \([ \w,]+: {name}\)$"):
        open_source(str(tmp_path / name))
    if name == "a.parquet":
        parquet.write_table(pa.table({"p": [saved(flat("L", number)) for number in range(400)]}), tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        content[40:400] = bytes(360)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"a damaged table: a\.parquet"):
            open_source(str(tmp_path / name))


@pytest.mark.parametrize("text", [b"---\nconfigs: : bad [\n---\n", b"---\n- a\n---\n", b"\xff\xfeodd"])
def test_a_readme_that_describes_nothing_readable_is_told_of(text, tmp_path):
    source = open_source(str(write(tmp_path, four(".") | {"README.md": text})))
    assert (len(source.splits["train"]), len(source.notes)) == (4, 1)
    (tmp_path / "README.md").write_text("---\nconfigs: [{config_name: default, data_files: none/*.png}]\n---\n")
    with pytest.raises(ValueError, match=r"cannot be read as the configs in its README.md say: correct"):
        open_source(str(tmp_path))
