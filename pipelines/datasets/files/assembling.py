"""From lists of picture files and what is said of them to the tables of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...common.text import counted, some
from ..columns import label_column_of, with_labels
from .places import portable, shown
from .walking import Tree

if TYPE_CHECKING:
    from datasets import DatasetDict

Values = Mapping[str, Mapping[str, Any]]  # by picture, what is said of it, by the name of a column


def assemble(
    tree: Tree, rows: Mapping[str, Sequence[str]], values: Values, folders: Mapping[str, str | None]
) -> tuple[DatasetDict, list[str]]:
    """Return the splits as tables of pictures, their classes, captions and other values; and what was decided of these.

    Args:
        rows: the pictures of each split.
        values: what is said of them.
        folders: by picture, the folder that is its class unless something else is said of it.
    """
    import datasets

    pictures = [picture for own in rows.values() for picture in own]
    said = {picture: values.get(picture, {}) for picture in pictures}
    names = dict.fromkeys(name for own in said.values() for name in own if name != "image")
    kinds = {name: _kind({type(own[name]) for own in said.values() if name in own}) for name in names}
    splits = datasets.DatasetDict()
    for split, own in rows.items():
        columns: dict[str, Any] = {"image": [{"bytes": None, "path": portable(tree.place(picture))} for picture in own]}
        columns |= {name: [_as(kind, said[picture].get(name)) for picture in own] for name, kind in kinds.items()}
        features = {"image": datasets.Image()} | {name: datasets.Value(kind) for name, kind in kinds.items()}
        splits[split] = datasets.Dataset.from_dict(columns, features=datasets.Features(features), split=split)
    if not splits:
        return splits, []
    column, sentence = label_column_of(splits)
    notes = [sentence] if sentence else []
    there = sorted({shown(name) for picture in pictures if (name := folders[picture])})
    if column is not None:
        if there:
            notes.append("The folders are not taken for classes, because that column holds them.")
        return with_labels(splits, column), notes
    if there:
        notes.append(f"{counted(len(there), 'folder')} are the classes: {some(there)}.")
        number = {name: index for index, name in enumerate(there)}
        feature = datasets.ClassLabel(names=there)
        for split, own in rows.items():
            labels = [number[shown(name)] if (name := folders[picture]) else None for picture in own]
            column = "label" if "label" not in kinds else "folder"
            splits[split] = splits[split].add_column(column, labels, feature=feature)
    return splits, notes


def _kind(types: set[type]) -> str:
    """Return the type of a column that holds values of these types."""
    types = types - {type(None)}
    if types == {bool}:
        return "bool"
    return "int64" if types == {int} else "float64" if types and types <= {int, float} else "string"


def _as(kind: str, value: Any) -> Any:
    if value is None:
        return None
    return shown(str(value)) if kind == "string" else float(value) if kind == "float64" else value
