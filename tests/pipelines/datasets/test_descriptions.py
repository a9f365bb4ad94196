"""What files beside pictures, and columns of tables, say of the pictures is used or told of."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from made_pictures import flat, saved
from pyarrow import parquet
from written_folders import four, said_of, write

from pipelines.datasets.captions import label_column, own_captions, text_column
from pipelines.datasets.classes import label_columns
from pipelines.datasets.sources import open_source


def test_what_json_files_say_of_pictures_is_used(tmp_path):
    """Captions by name, and COCO's annotations, of which several captions of a picture are told of."""
    by_name = write(tmp_path / "a", four(".") | {"captions.json": json.dumps({f"{n}.png": f"of {n}" for n in range(4)})})
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(4)]
    said = [{"image_id": n % 4, "caption": f"of {n}"} for n in range(6)]
    written = {"images": images, "annotations": said, "categories": None}
    coco = write(tmp_path / "b", four("i") | {"x/captions.json": json.dumps(written)})
    kinds = {"categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]}
    boxes = [{"image_id": n % 4, "category_id": 3 if n == 4 else 5} for n in range(5)]
    found = write(tmp_path / "c", four("i") | {"boxes.json": json.dumps({"images": images, "annotations": boxes} | kinds)})
    for folder in (by_name, coco):
        assert said_of(source := open_source(str(folder)), "text") == [f"of {n}" for n in range(4)]
        assert not source.unused
    assert any("2 pictures with several captions" in note for note in source.notes)
    assert said_of(open_source(str(found))) == [None, "dog", "dog", "dog"]
    assert "1 value of the column 'label' not used: neither words nor numbers." in " ".join(open_source(str(found)).notes)


def test_lists_and_gaps_in_columns_are_told_of(tmp_path):
    lines = [
        {"file_name": f"{n}.PNG", "caption": ["", f"of {n}"], "tags": [n], "label": n % 2 if n else None} for n in range(4)
    ]
    folder = write(tmp_path / "a", four(".") | {"metadata.jsonl": "\n".join(map(json.dumps, lines))})
    source = open_source(str(folder))
    assert (said_of(source, "caption"), said_of(source)) == ([f"of {n}" for n in range(4)], [None, "1", "0", "1"])
    assert "4 values of the column 'tags' not used" in " ".join(source.notes)
    (folder / "metadata.jsonl").write_text(
        "\n".join(json.dumps(line | {"label": float(n > 1)}) for n, line in enumerate(lines))
    )
    assert said_of(open_source(str(folder))) == ["0", "0", "1", "1"]
    cells = pa.array([saved(flat("L", number)) for number in range(4)])
    parquet.write_table(
        pa.table({"p": cells, "caption": [["a", "b"], ["c"], [], None], "x": [[1]] * 4}), tmp_path / "a.parquet"
    )
    source = open_source(str(tmp_path / "a.parquet"))
    assert said_of(source, "caption") == ["a", "c", None, None]
    assert len(source.notes) == 2


def test_lines_that_are_no_objects_are_told_of_one_by_one(tmp_path):
    lines = [json.dumps({"file_name": f"{n}.png", "text": f"of {n}"}) for n in range(4)]
    lines[1:2] = ["{torn", "[1, 2]"]
    source = open_source(str(write(tmp_path, four(".") | {"metadata.jsonl": "\n".join(lines)})))
    assert said_of(source, "text") == ["of 0", "of 2", "of 3"]
    told = {each.path: each.reason for each in source.unused}
    nameless = "cannot be read, or names nothing"
    rows = {"metadata.jsonl, row 1": nameless, "metadata.jsonl, row 2": nameless}
    assert told == rows | {"1.png": "no row in metadata.jsonl"}


def test_a_column_of_splits_makes_splits(tmp_path):
    rows = "".join(f"{n}.png,{'train' if n else 'VAL'},of {n}\n" for n in range(4))
    source = open_source(str(write(tmp_path, four(".") | {"metadata.csv": f"file_name,Split,text\n{rows}"})))
    assert (said_of(source, "text"), said_of(source, "text", "validation")) == (["of 1", "of 2", "of 3"], ["of 0"])
    assert set(source.origins.values()) == {"the column 'Split' of metadata.csv"}


def test_texts_beside_pictures_are_captions(tmp_path):
    files: dict[str, bytes | str | int] = {
        "0.png": 0,
        "0.txt": "a red\r\nthing",
        "1.PNG": 1,
        "1.TXT": "une façade".encode("utf-16"),
        "2.png": 2,
        "2.txt": b"\xff\x80",
        "3.v2.png": 3,
        "3.txt": "three",
        "notes.txt": "mine",
    }
    source = open_source(str(write(tmp_path, files)))
    assert said_of(source, "text") == ["a red thing", "une façade", None, "three"]
    assert [str(each) for each in source.unused] == ["2.txt: not a text that can be read", "notes.txt: no picture has its name"]
    assert "1 picture without a caption, used without one: 2.png." in source.notes


@pytest.mark.parametrize("column", ["txt", "Caption"])
def test_captions_that_are_repeated_are_no_classes(column, tmp_path):
    rows = "".join(f"a/{number}.png,thing {number % 2}\n" for number in range(4))
    files = four("a") | {"metadata.csv": f"file_name,{column}\n{rows}"}
    table = open_source(str(write(tmp_path, files))).splits["train"]
    assert text_column(table) == column
    assert not label_columns(table)


def test_own_captions_come_before_the_names_of_classes(tmp_path):
    files = four("a") | four("b") | {f"{kind}/{number}.txt": f"{kind} number {number}" for kind in "ab" for number in range(4)}
    table = open_source(str(write(tmp_path, files))).splits["train"]
    assert (label_column(table), own_captions(table)) == ("label", "text")


def test_a_pictures_own_file_may_hold_lists_which_are_told_of(tmp_path):
    own = {f"i/{n}.json": json.dumps({"caption": [f"of {n}", "more"], "label": n % 2, "tags": [n]}).encode() for n in range(4)}
    source = open_source(str(write(tmp_path, four("i") | own)))
    assert (said_of(source, "caption"), said_of(source)) == ([f"of {n}" for n in range(4)], ["0", "1", "0", "1"])
    notes = " ".join(source.notes)
    assert "4 pictures with several captions" in notes
    assert "4 values of the column 'tags' not used" in notes


def test_columns_beside_pictures_in_a_table_are_read_as_those_of_other_tables(tmp_path):
    """Whole numbers with a decimal point, and the names of splits."""
    cells = pa.array([saved(flat("L", number)) for number in range(4)])
    columns = {
        "p": cells,
        "label": [0.0, 1.0, None, 1.0],
        "score": [0.5, 1.0, 1.0, 1.0],
        "split": ["train", "Val", "train", "test"],
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"))
    assert {split: said_of(source, split=split) for split in source.splits} == {
        "train": ["0", None],
        "validation": ["1"],
        "test": ["1"],
    }
    assert set(source.origins.values()) == {"the column 'split'"}
    assert "split" not in source.splits["train"].features
    assert source.splits["train"].features["score"].dtype == "float64"
    assert source.found == source.described + len(source.unused) + 4
