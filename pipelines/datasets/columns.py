"""What the columns of a dataset hold: pictures, classes or captions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.text import counted, some
from ..storage.config import ConditionConfig
from .captions import TEXT_COLUMNS
from .classes import label_columns, plain_columns, relabelled
from .files.file_kinds import HEAD, begins_as_picture
from .files.layout import ORDER, SPLIT_COLUMNS, TRAIN, split_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

LABELS = ("label", "labels", "class", "class_name", "category", "target")
MOST_CLASSES = 10_000
MOST_LETTERS = 60  # of a class name in a column of another name


def values_of(dataset: Dataset, column: str) -> list[Any]:
    """Return the values of a column without decoding anything."""
    return dataset.with_format("arrow")[column][:].to_pylist()


def label_column_of(splits: DatasetDict) -> tuple[str | None, str]:
    """Return the column of words or numbers that holds the classes, and a sentence that says why, for data that declare none.

    It is the one called label, labels, class, class_name, category or target. Without one, it is the only column of words, not
    called as captions are, of which there are few: at least two, each for two pictures on average, and none of more than 60
    letters. Other columns of words are captions. Another column can be chosen with --label-column.
    """
    [first, *_] = splits.values()
    plain = [name for name in plain_columns(first) if all(name in split.features for split in splits.values())]
    named = [
        name for wanted in LABELS for name in plain if name.casefold() == wanted and _different(splits, name) <= MOST_CLASSES
    ]
    if named:
        return named[0], f"The column {named[0]!r} holds the classes, as its name says."
    few = []
    for name in plain:
        values = [value for split in splits.values() for value in values_of(split, name) if value not in (None, "")]
        if (
            name.casefold() in (*TEXT_COLUMNS, *SPLIT_COLUMNS)
            or not values
            or not all(isinstance(value, str) for value in values)
        ):
            continue
        different = set(values)
        if 1 < len(different) <= min(MOST_CLASSES, len(values) / 2) and max(map(len, different)) <= MOST_LETTERS:
            few.append((name, len(different)))
    if len(few) == 1:
        [(name, number)] = few
        return name, f"The column {name!r} has {number:,} different values and is taken for the classes."
    if few:
        names = some([name for name, _ in few], 8)
        return (
            None,
            f"{counted(len(few), 'column')} of few words could be the classes: choose one of {names} with --label-column.",
        )
    return None, ""


def _different(splits: DatasetDict, column: str) -> int:
    return len({value for split in splits.values() for value in values_of(split, column)})


def with_labels(splits: DatasetDict, column: str) -> DatasetDict:
    """Return splits whose ``column`` of words or numbers has become one of classes, the same in each of them.

    Words are in alphabetical order, numbers in theirs. Other columns, and data without this one, stay as they are.
    """
    if not all(column in plain_columns(split) for split in splits.values()):
        return splits
    values = {name: [_class_name(value) for value in values_of(split, column)] for name, split in splits.items()}
    names = ordered(value for own in values.values() for value in own if value is not None)
    if not names or len(names) > MOST_CLASSES:
        raise ValueError(
            f"column {column!r} has {len(names):,} different values, where there can be 1 to {MOST_CLASSES:,} classes: choose "
            "another with --label-column"
        )
    number = {name: index for index, name in enumerate(names)} | {None: -1}
    result = splits.copy()
    for name, split in splits.items():
        result[name] = relabelled(split, column, np.array([number[value] for value in values[name]], dtype=np.int64), names)
    return result


def ordered(names: Iterable[str]) -> list[str]:
    """Return the different class names in order; numbers by their value."""
    different = set(names)
    numbers = all(name.lstrip("-").isdecimal() for name in different)
    return sorted(different, key=int) if numbers else sorted(different)


def _class_name(value: Any) -> str | None:
    return None if value is None or not (name := str(value).strip()) else name


def with_conditions(splits: DatasetDict, wanted: ConditionConfig) -> DatasetDict:
    """Return splits whose columns that were chosen for classes and captions are columns of these."""
    if wanted.label_column is not None:
        splits = with_labels(splits, wanted.label_column)
    return splits if wanted.text_column is None else with_texts(splits, wanted.text_column)


def with_texts(splits: DatasetDict, column: str) -> DatasetDict:
    """Return splits whose ``column`` of classes or numbers has become one of texts. Other columns stay as they are."""
    import datasets

    result = splits.copy()
    for name, split in splits.items():
        feature = split.features.get(column)
        if isinstance(feature, datasets.ClassLabel):
            values = [feature.names[value] if value is not None and value >= 0 else None for value in values_of(split, column)]
        elif column in plain_columns(split) and "string" not in feature.dtype:
            values = [None if value is None else str(value) for value in values_of(split, column)]
        else:
            continue
        result[name] = split.remove_columns(column).add_column(column, values, feature=datasets.Value("string"))
    return result


def with_single_captions(splits: DatasetDict) -> tuple[DatasetDict, list[str]]:
    """Return splits whose columns of lists of captions hold the first of each list; and a sentence on each column of lists."""
    import datasets

    result, notes = splits.copy(), dict[str, None]()
    for name, split in splits.items():
        for column, feature in split.features.items():
            if isinstance(feature, datasets.Image | datasets.ClassLabel | datasets.Value):
                continue
            of_words = isinstance(each := getattr(feature, "feature", None), datasets.Value) and "string" in each.dtype
            if column.casefold() not in TEXT_COLUMNS or not of_words:
                notes[f"The column {column!r} is not used: it holds neither words nor numbers."] = None
                continue
            first = [next(filter(None, values or ()), None) for values in values_of(split, column)]
            result[name] = result[name].remove_columns(column).add_column(column, first, feature=datasets.Value("string"))
            notes[f"Of the lists of captions in the column {column!r}, the first caption is used."] = None
    return result, list(notes)


def with_whole_numbers(splits: DatasetDict) -> DatasetDict:
    """Return splits whose columns of numbers hold whole ones if all values are: classes with gaps are saved as 0.0, 1.0."""
    import datasets

    result = splits.copy()
    for name, split in splits.items():
        for column, feature in split.features.items():
            if isinstance(feature, datasets.Value) and feature.dtype in ("float32", "float64"):
                values = values_of(split, column)
                if all(value is None or (value.is_integer() and abs(value) < 2**53) for value in values):
                    result[name] = result[name].cast_column(column, datasets.Value("int64"))
    return result


def with_named_splits(splits: DatasetDict) -> tuple[DatasetDict, dict[str, str]]:
    """Return the splits that a column tells of, where there is only one; and in words where each comes from."""
    if set(splits) != {TRAIN}:
        return splits, {}
    [rows] = splits.values()
    for column in [name for name in plain_columns(rows) if name.casefold() in SPLIT_COLUMNS]:
        named = [split_of(value) if isinstance(value, str) else None for value in values_of(rows, column)]
        if all(named):
            own = {split: np.flatnonzero([each == split for each in named]) for split in ORDER if split in named}
            found = {split: rows.remove_columns(column).select(chosen) for split, chosen in own.items()}
            return type(splits)(found), dict.fromkeys(found, f"the column {column!r}")
    return splits, {}


def with_classes(splits: DatasetDict) -> tuple[DatasetDict, list[str]]:
    """Return splits whose column of classes is one, where they declare none; and a sentence about it (see above)."""
    if any(label_columns(split) for split in splits.values()):
        return splits, []
    column, sentence = label_column_of(splits)
    return splits if column is None else with_labels(splits, column), [sentence] if sentence else []


def with_pictures(splits: DatasetDict) -> DatasetDict:
    """Return splits whose columns of bytes hold pictures where none is declared to do so and the first value begins as one."""
    import datasets

    result = splits.copy()
    for name, split in splits.items():
        if any(isinstance(feature, datasets.Image) for feature in split.features.values()):
            continue
        for column, feature in split.features.items():
            binary = isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
            if binary and len(split) and begins_as_picture((split[0][column] or b"")[:HEAD]):
                result[name] = result[name].cast_column(column, datasets.Image())
    return result
