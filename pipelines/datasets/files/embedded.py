"""Tables that hold pictures: Parquet and Arrow files with a column of encoded pictures."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ...common.reading import UnreadableError
from ...common.text import some
from .archives import stem_of
from .file_kinds import HEAD, begins_as_picture
from .layout import ORDER, TRAIN, arrange, folders_of, splits_of_files
from .places import local_file, shown
from .tables import damage_named, schema_of

if TYPE_CHECKING:
    from datasets import DatasetDict, Features


def features_with_pictures(place: str) -> Features | None:
    """Return the columns of a table, those of encoded pictures as such; None if it has none of them.

    A column of bytes is one if the first of its values begins as a picture does. So is one of pairs of bytes and a path.

    Raises:
        OSError, UnreadableError: the table cannot be read.
    """
    file = local_file(place)
    status = file.stat()
    return _features(place, status.st_size, status.st_mtime_ns)


@cache
def _features(place: str, size: int, mtime: int) -> Features | None:
    import datasets
    import pyarrow as pa

    schema = schema_of(place)
    try:
        features = datasets.Features.from_arrow_schema(schema)
    except Exception as error:  # damaged records of ``datasets`` in it raise errors of many kinds
        raise UnreadableError("a damaged table") from error
    for field in schema:
        feature = features.get(field.name)
        pair = pa.types.is_struct(field.type) and {each.name for each in field.type} == {"bytes", "path"}
        binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        undeclared = isinstance(feature, dict | datasets.Value)
        if undeclared and (pair or (binary and begins_as_picture(_first(place, field.name)))):
            features[field.name] = datasets.Image()
    return features if any(isinstance(feature, datasets.Image) for feature in features.values()) else None


def _first(place: str, column: str) -> bytes:
    """Return how the first value of a column of bytes begins."""
    import pyarrow as pa
    from pyarrow import parquet

    with damage_named():
        if place.lower().endswith(".parquet"):
            batches: Any = parquet.ParquetFile(local_file(place)).iter_batches(8, columns=[column])
        else:
            batches = iter([pa.ipc.open_stream(pa.memory_map(str(local_file(place)))).read_next_batch().select([column])])
        return next((value[:HEAD] for batch in batches for value in batch.column(0).to_pylist() if value), b"")


def open_tables(tables: Sequence[str], root: str) -> tuple[DatasetDict, dict[str, list[str]]]:
    """Open tables that hold pictures.

    Args:
        tables: paths relative to ``root``; they may lie in archives.

    Returns:
        The splits, by the folders that the tables lie in, or else by their names; and the tables of each.

    Raises:
        ValueError: they have different columns, or cannot be read together.
    """
    import datasets

    datasets.disable_progress_bars()
    layout = arrange(folders_of(tables))
    splits: list[str] = [split or TRAIN for split in layout.splits]
    if set(splits) == {TRAIN}:
        splits = (
            splits_of_files([stem_of(PurePosixPath(table).name) or table for table in map(_without_suffix, tables)]) or splits
        )
    order = [split for split in ORDER if split in splits]
    by_split = {split: [table for table, own in zip(tables, splits, strict=True) if own == split] for split in order}
    features = [features_with_pictures(f"{root}/{table}") for table in tables]
    for table, own in zip(tables, features, strict=True):
        if own is None or set(own) != set(features[0] or ()):
            raise ValueError(f"the tables {shown(tables[0])} and {shown(table)} have different columns: remove one of them")
    opened = datasets.DatasetDict()
    for split, names in by_split.items():
        files = [local_file(f"{root}/{name}") for name in names]
        kinds = {file.suffix.lower() for file in files}
        try:
            if kinds == {".arrow"} and all(map(_is_stream, files)):
                opened[split] = datasets.concatenate_datasets([datasets.Dataset.from_file(str(file)) for file in files])
                if opened[split].features != features[0]:
                    opened[split] = opened[split].cast(features[0])
            else:
                kind = "parquet" if kinds == {".parquet"} else "arrow"
                escaped = [glob.escape(str(file)) for file in files]
                opened[split] = datasets.load_dataset(kind, data_files={split: escaped}, features=features[0], split=split)
        except Exception as error:  # the library raises many kinds of errors
            told = some([shown(name) for name in names])
            cause = getattr(error.__cause__ or error, "strerror", None)
            reason = f"({cause})" if cause else "because one of them is damaged, or they differ in the types of their columns"
            raise ValueError(f"the tables of the split {split!r} in {root} cannot be read {reason}: {told}") from error
    return opened, by_split


def _without_suffix(table: str) -> str:
    return str(PurePosixPath(table).with_suffix(""))


def _is_stream(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(6) != b"ARROW1"
