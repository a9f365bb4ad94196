"""Tables that describe pictures: CSV, JSON and Parquet files with a column of their names, as columns of values."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...common.json_files import parse_json
from ...common.reading import MEGABYTE, UnreadableError, decode_text
from ...common.text import counted
from ..captions import TEXT_COLUMNS
from .file_kinds import BINARY_TABLES, picture_suffixes
from .places import local_file, read_place

MOST_BYTES = 512 * MEGABYTE  # of a table of text
MOST_VALUES = 50_000_000  # of a table, whose gaps count: a few names of columns may leave many
MOST_ROWS_AT_ONCE, MOST_AT_ONCE = 1024, 4096 * MEGABYTE  # of a Parquet file, which unpacks to more than it says
MOST_JSON = 128 * MEGABYTE  # of a JSON file; the captions of COCO have 91 MB
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
_WITH_ZERO = re.compile(r"-?\d+\.0", re.ASCII)


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
        return columns_of([_row(line) for line in text.split("\n") if line.strip()])
    if suffix == ".json":
        found = by_picture(parse_json(text, most=MOST_JSON))
        if isinstance(found, dict) and found and all(isinstance(values, list) for values in found.values()):
            return _equal({str(name): values for name, values in found.items()})
        return columns_of(found)
    return _read_csv(text, "\t" if suffix == ".tsv" else None)


def _read_csv(text: str, delimiter: str | None) -> Columns:
    header = text.split("\n", 1)[0]
    delimiter = delimiter or max(DELIMITERS, key=header.count)
    _refuse_too_many(text.count("\n") + text.count(delimiter))
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
    _refuse_too_many(len(rows) * width)
    cells = [row[:width] + [""] * (width - len(row)) for row in rows[1:]]
    return {name: _numbers([row[number] for row in cells]) for number, name in enumerate(names)}


def _numbers(values: list[str]) -> list[Any]:
    """Return the values as whole numbers if all of them are; the empty ones as None."""
    present = [value.strip() for value in values if value.strip()]
    if present and all(map(_WITH_ZERO.fullmatch, present)):  # as tables with gaps are often saved
        return _numbers([value.strip().removesuffix(".0") for value in values])
    whole = bool(present) and all(value.lstrip("-").isascii() and value.lstrip("-").isdigit() for value in present)
    if whole and all(len(value) < 18 and str(int(value)) == value for value in present):
        return [int(value) if value.strip() else None for value in values]
    return [value if value.strip() else None for value in values]


def _row(line: str) -> dict[str, Any]:
    """Return the object in a line. A line that cannot be read, or holds none, names no picture, and is reported as such."""
    try:
        found = parse_json(line)
    except UnreadableError:
        return {}
    return found if isinstance(found, dict) else {}


def by_picture(found: Any) -> Any:
    """Return a list of one object per picture, also from a JSON file that has them by name, or from annotations of COCO."""
    if not isinstance(found, dict):
        return found
    if isinstance(images := found.get("images"), list) and isinstance(notes := found.get("annotations"), list):
        kinds = found.get("categories")
        parts = (images, notes, kinds if isinstance(kinds, list) else [])
        return _of_coco(*([each for each in part if isinstance(each, dict)] for part in parts))
    if found and all(Path(str(name)).suffix.lower() in picture_suffixes() for name in found):
        return [{FILE_NAME: name, **(said if isinstance(said, dict) else {"text": said})} for name, said in found.items()]
    return found


def _of_coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> list[Any]:
    """Return each picture's captions, and its class if all its annotations are of one."""
    names = {str(each.get("id")): each.get("name") for each in categories}
    captions: defaultdict[str, list[Any]] = defaultdict(list)
    kinds: defaultdict[str, dict[Any, None]] = defaultdict(dict)
    for each in annotations:
        picture = str(each.get("image_id"))
        if isinstance(each.get("caption"), str):
            captions[picture].append(each["caption"])
        if isinstance(name := names.get(str(each.get("category_id"))), str):
            kinds[picture][name] = None
    rows = []
    for image in images:
        own, picture = list(kinds[str(image.get("id"))]), str(image.get("id"))
        said: dict[str, Any] = {"text": captions[picture]} if captions else {}
        if own:
            said["label"] = own[0] if len(own) == 1 else own
        rows.append({FILE_NAME: image.get(FILE_NAME), **said})
    return rows


def simplified(columns: Columns) -> tuple[Columns, list[str]]:
    """Return columns of plain values alone, and what became of the others, a sentence each.

    Of lists of captions, the first caption is used. Other lists and objects are not.
    """
    result, notes = {}, []
    for name, values in columns.items():
        is_caption = name.casefold() in TEXT_COLUMNS
        lists = [value for value in values if isinstance(value, list | tuple)]
        if is_caption and lists:
            values = [
                next((each for each in value if each), None) if isinstance(value, list | tuple) else value for value in values
            ]
            if more := sum(len(value) > 1 for value in lists):
                notes.append(f"{counted(more, 'picture')} with several captions in the column {name!r}: the first is used.")
        result[name] = _whole([plain(value) for value in values])
        lost = sum(value is not None and simple is None for value, simple in zip(values, result[name], strict=True))
        if lost:
            notes.append(f"{counted(lost, 'value')} of the column {name!r} not used: neither words nor numbers.")
    return result, notes


def _whole(values: list[Any]) -> list[Any]:
    """Return numbers as whole ones if all of them are: tables with gaps have 0.0 and 1.0 where classes are meant."""
    whole = all(isinstance(value, float) and value.is_integer() for value in values if value is not None)
    return [None if value is None else int(value) for value in values] if whole else values


def columns_of(rows: Any) -> Columns:
    """Return the columns of a list of objects; None where an object has no such value.

    Raises:
        UnreadableError: it is no such list, or has no values.
    """
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UnreadableError("not a list of objects")
    names = dict.fromkeys(str(name) for row in rows for name in row)
    if not names:
        raise UnreadableError("not a list of objects")
    _refuse_too_many(len(rows) * len(names))
    return {name: [row.get(name) for row in rows] for name in names}


def _refuse_too_many(values: int) -> None:
    """Raise UnreadableError if a table has more values than are read; each takes memory, also one that is missing."""
    if values > MOST_VALUES:
        raise UnreadableError(f"a table of {values:,} values, gaps included, where {MOST_VALUES:,} are read")


def plain(value: Any) -> str | int | float | None:
    """Return a value that a column can hold, or None."""
    if isinstance(value, bool | int):
        return value if -(2**63) <= value < 2**63 else str(value)
    return value if isinstance(value, str | float) else None


def _equal(columns: Columns) -> Columns:
    if len({len(values) for values in columns.values()}) > 1:
        raise UnreadableError("a table whose columns are not equally long")
    return columns


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn the errors that pyarrow raises at damaged files into one sentence.

    Raises:
        UnreadableError: the file is damaged.
    """
    import pyarrow as pa

    try:
        yield
    except UnreadableError:
        raise
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableError("a damaged table") from error


def schema_of(place: str) -> Any:
    """Return the schema of a Parquet or Arrow file.

    Raises:
        OSError, UnreadableError: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    file = local_file(place)
    with damage_named():
        if place.lower().endswith(".parquet"):
            return parquet.read_schema(file)
        with pa.memory_map(str(file)) as source:
            try:
                return pa.ipc.open_stream(source).schema
            except pa.ArrowInvalid:
                return pa.ipc.open_file(source).schema


def _read_binary(place: str) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    if not place.lower().endswith(".parquet"):
        raise UnreadableError("an Arrow file without pictures in it")
    bytes_of = (pa.types.is_binary, pa.types.is_large_binary)
    kept = [field.name for field in schema_of(place) if not any(check(field.type) for check in bytes_of)]
    columns: Columns = {name: [] for name in kept}
    size = 0
    with damage_named(), parquet.ParquetFile(local_file(place)) as file:
        _refuse_too_many(_values_in(file.metadata, kept))
        largest = max((file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)), default=0)
        at_once = min(MOST_ROWS_AT_ONCE, max(1, MOST_AT_ONCE // max(1, largest)))  # no value is longer than its row group
        for batch in file.iter_batches(at_once, columns=kept):
            size += batch.nbytes  # a value that is stored once may stand in every row
            if size > MOST_BYTES:
                raise UnreadableError(f"it unpacks to more than {MOST_BYTES // MEGABYTE} MiB, the limit for a table")
            for name, values in batch.to_pydict().items():
                columns[name] += values
    return columns


def _values_in(metadata: Any, columns: Collection[str]) -> int:
    """Return the number of values in the columns of a Parquet file, those in lists and gaps included."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    parts = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(part.num_values for part in parts if part.path_in_schema.partition(".")[0] in columns)


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
    """Return the values in a picture's own JSON file.

    Raises:
        UnreadableError: it is no such file.
    """
    found = parse_json(decode_text(content, name), name)
    if not isinstance(found, dict):
        raise UnreadableError("not a JSON file of one object")
    return {str(key): value for key, value in found.items()}
