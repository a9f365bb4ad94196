"""Tables that describe pictures: CSV, JSON and Parquet files with a column of their names, as columns of values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.json_files import parse_json
from ...common.reading import MEGABYTE, UnreadableError, decode_text
from .file_kinds import BINARY_TABLES, picture_suffixes
from .places import local_file, read_place

MOST_BYTES = 512 * MEGABYTE  # of a table of text
DELIMITERS = ",;\t|"
FILE_NAME = "file_name"
NAMING = (
    FILE_NAME,
    "filename",
    "file",
    "path",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_file",
    "image_name",
    "img",
)
"""Usual names of the column that names the pictures."""

Columns = dict[str, list[Any]]


def read_table(place: str) -> Columns:
    """Return the columns of a table, all equally long.

    Raises:
        OSError, UnreadableError: it cannot be read, or is no table.
    """
    suffix = Path(place).suffix.lower()
    if suffix in BINARY_TABLES:
        return _read_binary(place)
    text = decode_text(read_place(place, MOST_BYTES), Path(place).name)
    if suffix in (".jsonl", ".ndjson"):
        return _columns([_row(line) for line in text.split("\n") if line.strip()])
    if suffix == ".json":
        found = parse_json(text)
        if isinstance(found, dict) and found and all(isinstance(values, list) for values in found.values()):
            return _equal({str(name): values for name, values in found.items()})
        return _columns(found)
    return _read_csv(text, "\t" if suffix == ".tsv" else None)


def _read_csv(text: str, delimiter: str | None) -> Columns:
    header = text.split("\n", 1)[0]
    delimiter = delimiter or max(DELIMITERS, key=header.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True) if row]
    except csv.Error as error:
        raise UnreadableError(f"not a table of text: {error}") from error
    if not rows:
        raise UnreadableError("an empty table")
    names = [name.strip() for name in rows[0]]
    naming = [number for number, name in enumerate(names) if Path(name).suffix.lower() in picture_suffixes()]
    if naming:  # the first row is no header: it names a picture
        rows.insert(0, [])
        names = [FILE_NAME if number == naming[0] else f"column {number}" for number in range(len(names))]
    if len(set(names)) < len(names):
        raise UnreadableError("a table with two columns of the same name")
    width = len(names)
    cells = [row[:width] + [""] * (width - len(row)) for row in rows[1:]]
    return {name: _numbers([row[number] for row in cells]) for number, name in enumerate(names)}


def _numbers(values: list[str]) -> list[Any]:
    """Return the values as whole numbers if all of them are; the empty ones as None."""
    present = [value.strip() for value in values if value.strip()]
    whole = bool(present) and all(value.lstrip("-").isascii() and value.lstrip("-").isdigit() for value in present)
    if whole and all(len(value) < 18 and str(int(value)) == value for value in present):
        return [int(value) if value.strip() else None for value in values]
    return [value if value.strip() else None for value in values]


def _row(line: str) -> Any:
    """Return a line's object; one that cannot be read names no picture, and is told of as such."""
    try:
        return parse_json(line)
    except UnreadableError:
        return {}


def _columns(rows: Any) -> Columns:
    """Return the columns of a list of objects, whose other than plain values are left out."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UnreadableError("not a list of objects")
    names = dict.fromkeys(str(name) for row in rows for name in row)
    if not names:
        raise UnreadableError("not a list of objects")
    return {name: [plain(row.get(name)) for row in rows] for name in names}


def plain(value: Any) -> str | int | float | None:
    """Return a value that a column can hold, or None."""
    if isinstance(value, bool | int):
        return value if -(2**63) <= value < 2**63 else str(value)
    return value if isinstance(value, str | float) else None


def _equal(columns: Columns) -> Columns:
    if len({len(values) for values in columns.values()}) > 1:
        raise UnreadableError("a table whose columns are not equally long")
    return {name: [plain(value) for value in values] for name, values in columns.items()}


def schema_of(place: str) -> Any:
    """Return the schema of a Parquet or Arrow file.

    Raises:
        OSError, UnreadableError: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    file = local_file(place)
    try:
        if place.lower().endswith(".parquet"):
            return parquet.read_schema(file)
        with pa.memory_map(str(file)) as source:
            try:
                return pa.ipc.open_stream(source).schema
            except pa.ArrowInvalid:
                return pa.ipc.open_file(source).schema
    except (pa.ArrowException, ValueError) as error:
        raise UnreadableError("a damaged table") from error


def _read_binary(place: str) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    if not place.lower().endswith(".parquet"):
        raise UnreadableError("an Arrow file without pictures in it")
    schema = schema_of(place)
    kept = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_integer(field.type)]
    kept += [field.name for field in schema if pa.types.is_large_string(field.type) or pa.types.is_floating(field.type)]
    try:
        return parquet.read_table(local_file(place), columns=kept).to_pydict()
    except (pa.ArrowException, ValueError) as error:
        raise UnreadableError("a damaged table") from error


def naming_column(columns: Mapping[str, Sequence[Any]], found: Mapping[str, Sequence[str | None]]) -> str | None:
    """Return the column that names pictures: ``file_name``, one of a usual name, or one of which half the values do.

    Args:
        columns: of a table.
        found: of the same names, the picture that each value names, or None.
    """
    share = {name: sum(map(bool, pictures)) / max(1, len(pictures)) for name, pictures in found.items()}
    usual = [name for wanted in NAMING for name in columns if name.casefold() == wanted and share.get(name)]
    often = [name for name in sorted(share, key=lambda name: -share[name]) if share[name] >= 0.5]
    return next(iter([*usual, *often]), None)


def read_object(content: bytes, name: str) -> dict[str, Any]:
    """Return the plain values of a picture's own JSON file.

    Raises:
        UnreadableError: it is no such file.
    """
    found = parse_json(decode_text(content, name), name)
    if not isinstance(found, dict):
        raise UnreadableError("not a JSON file of one object")
    return {str(key): value for key, each in found.items() if (value := plain(each)) is not None}
