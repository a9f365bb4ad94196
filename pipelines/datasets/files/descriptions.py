"""What is said of pictures beside them: rows of tables, and files of captions and classes with the pictures' own names."""

from __future__ import annotations

import posixpath
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ...common.reading import MEGABYTE, UnreadableError, decode_text, reason_of
from ...common.text import counted, some
from .file_kinds import BESIDE, CAPTIONS, CLASSES, OBJECTS
from .inventory import Unused
from .layout import SPLIT_COLUMNS, split_of, splits_of_files
from .places import read_place, shown
from .tables import FILE_NAME, NAMING, Columns, columns_of, naming_column, read_object, read_table, simplified
from .walking import Tree

MOST_BYTES = MEGABYTE  # of a file beside a picture
OUTSIDE = "names a picture outside the dataset's folder, where none is read"
UNKNOWN = "names no picture of this dataset"
NO_PICTURE = "no picture has its name"
NAMELESS = "cannot be read, or names nothing"
SECOND = "names a picture that another row describes"


@dataclass
class Descriptions:
    """What is said of the pictures.

    Attributes:
        values: by picture, its values by the name of their column.
        used: the files that it comes from.
        tables: by table, the pictures that it describes.
        rows: those rows of tables that describe no picture.
        splits, origins: by picture, the split that the name of its table stands for, and in words where each comes from.
        notes: what was decided, a sentence each.
    """

    values: defaultdict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    used: set[str] = field(default_factory=set)
    tables: dict[str, list[str]] = field(default_factory=dict)
    rows: list[Unused] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Names:
    """The pictures of a dataset, to be found by what a table calls them."""

    def __init__(self, pictures: Sequence[str], root: str) -> None:
        self.exact, self.root = set(pictures), root
        self.base: dict[str, str | None] = {}
        self.stem: dict[str, str | None] = {}
        self.folded: dict[str, str | None] = {}
        for picture in pictures:
            base = posixpath.basename(picture)
            for index, name in ((self.base, base), (self.stem, posixpath.splitext(base)[0]), (self.folded, base.casefold())):
                index[name] = None if name in index else picture

    def find(self, folder: str, value: Any) -> str | None:
        """Return the picture that a table in ``folder`` names: by its path, or else by its file's name if only one has that."""
        if not isinstance(value, str | int) or isinstance(value, bool) or not (named := str(value).strip()):
            return None
        for path in dict.fromkeys((named, named.replace("\\", "/"))):
            own = path.removeprefix(f"{self.root}/")
            for candidate in (posixpath.normpath(posixpath.join(folder, own)), posixpath.normpath(own)):
                if candidate in self.exact:
                    return candidate
        if self.outside(folder, named):
            return None
        name = PurePosixPath(named.replace("\\", "/")).name
        return self.base.get(name) or self.stem.get(name) or self.folded.get(name.casefold())

    def outside(self, folder: str, value: Any) -> bool:
        """Return whether a table in ``folder`` names something outside the dataset."""
        named = str(value).strip()
        if "://" in named:
            return True
        if named.startswith("/"):
            return not posixpath.normpath(named).startswith(f"{self.root}/")
        return posixpath.normpath(posixpath.join(folder, named)).startswith("..")


def read_tables(tree: Tree, pictures: Sequence[str], tables: Sequence[str], found: Descriptions) -> None:
    """Read the tables that name pictures; those that do not, or that cannot be read, are noted as unused."""
    names = Names(pictures if tables else (), tree.root)
    for table in tables:
        folder, suffix = posixpath.dirname(table), posixpath.splitext(table)[1].lower()
        beside = suffix in BESIDE  # a text or an object, which a picture of its name would explain
        try:
            columns = read_table(tree.place(table))
        except (OSError, UnreadableError) as error:
            tree.refuse(table, NO_PICTURE if beside else f"a table that cannot be read: {reason_of(error)}")
            continue
        columns, notes = simplified(columns)
        by_column = pictures_named(columns, names, folder, only_usual=beside)
        column = naming_column(columns, by_column)
        if column is None:
            tree.refuse(table, NO_PICTURE if beside else _names_nothing(columns, names, folder))
            continue
        found.notes += [f"Of {shown(table)}: {note[0].lower()}{note[1:]}" for note in notes]
        _read_splits(table, columns, by_column[column], found)
        found.tables[table] = _read_rows(table, columns, column, by_column[column], names, found)
        if column != FILE_NAME:
            found.notes.append(f"The column {column!r} of {shown(table)} names the pictures.")
    splits = splits_of_files([PurePosixPath(table).stem for table in found.tables])
    if not found.splits and splits and len(set(splits)) > 1:
        for own, split in zip(found.tables.values(), splits, strict=True):
            found.splits |= {picture: split for picture in own if picture not in found.splits}
        for split in set(splits):
            own_tables = [shown(table) for table, own in zip(found.tables, splits, strict=True) if own == split]
            found.origins[split] = f"the rows of {some(own_tables)}"
    found.used |= found.tables.keys()


def _read_splits(table: str, columns: Columns, pictures: Sequence[str | None], found: Descriptions) -> None:
    """Take a column called "split", whose values are names of splits, out of a table's columns and for what it says."""
    for name in [each for each in columns if each.casefold() in SPLIT_COLUMNS]:
        splits = [split_of(value) if isinstance(value, str) else None for value in columns[name]]
        if all(split or value is None for split, value in zip(splits, columns[name], strict=True)):
            del columns[name]
            for picture, split in zip(pictures, splits, strict=True):
                if picture and split:
                    found.splits.setdefault(picture, split)
                    found.origins[split] = f"the column {name!r} of {shown(table)}"


def _names_nothing(columns: Columns, names: Names, folder: str) -> str:
    usual = [value for name, values in columns.items() if name.casefold() in NAMING for value in values if value]
    outside = any(names.outside(folder, value) for value in usual)
    return f"a table that {OUTSIDE if outside else UNKNOWN}"


def pictures_named(columns: Columns, names: Names, folder: str, only_usual: bool) -> dict[str, list[str | None]]:
    """Return the pictures that the values of columns name: of the first that has a usual name and does so, or else of each."""
    usual = [name for wanted in NAMING for name in columns if name.casefold() == wanted]
    for name in usual:
        if any(found := [names.find(folder, value) for value in columns[name]]):
            return {name: found}
    others = {} if only_usual else columns
    return {name: [names.find(folder, value) for value in values] for name, values in others.items() if name not in usual}


def _read_rows(
    table: str, columns: Columns, column: str, pictures: Sequence[str | None], names: Names, found: Descriptions
) -> list[str]:
    """Record the rows of a table, and return the pictures that they describe."""
    taken: dict[str, None] = {}
    for row, picture in enumerate(pictures):
        if picture is None or picture in taken:
            outside = names.outside(posixpath.dirname(table), columns[column][row])
            named = columns[column][row] is not None
            reason = SECOND if picture else OUTSIDE if named and outside else UNKNOWN if named else NAMELESS
            found.rows.append(Unused(f"{shown(table)}, row {row}", reason))
            continue
        taken[picture] = None
        for name, values in columns.items():
            if name != column and values[row] is not None:
                found.values[picture].setdefault(name, values[row])
    return list(taken)


def read_beside(tree: Tree, pictures: Sequence[str], files: Sequence[str], found: Descriptions) -> list[str]:
    """Read the files beside pictures that have their names: captions (.txt), classes (.cls), values of several kinds (.json).

    Returns the other files.

    As in the shards of WebDataset, a picture's name goes up to its last dot, or else up to its first.
    """
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        owners[posixpath.splitext(picture)[0]].append(picture)
    for picture in pictures:
        folder, name = posixpath.split(picture)
        if (key := posixpath.join(folder, name.split(".")[0])) not in owners:
            owners[key].append(picture)
    kinds: Counter[str] = Counter()
    described, said, left = [], [], []
    for file in files:
        stem, suffix = posixpath.splitext(file)
        if stem not in owners:
            left.append(file)
            continue
        try:
            values = _values_of(tree.place(file), suffix.lower())
        except (OSError, UnreadableError):
            tree.refuse(file, "not a text that can be read")
            continue
        found.used.add(file)
        kinds[suffix.lower()] += 1
        if values:
            described.append(owners[stem])
            said.append(values)
    columns, notes = simplified(columns_of(said) if said else {})
    for name, own in columns.items():
        for picture, value in [(picture, value) for group, value in zip(described, own, strict=True) for picture in group]:
            if value is not None:
                found.values[picture].setdefault(name, value)
    found.notes += [f"Of the files beside the pictures: {note[0].lower()}{note[1:]}" for note in notes]
    captions = sum(kinds[suffix] for suffix in CAPTIONS)
    if captions:
        found.notes.append(f"Captions are read from {counted(captions, 'text file')} beside the pictures.")
        silent = [shown(picture) for picture in pictures if not found.values[picture].get("text")]
        if silent:
            found.notes.append(f"{counted(len(silent), 'picture')} without a caption, used without one: {some(silent)}.")
    return left


def _values_of(place: str, suffix: str) -> dict[str, Any]:
    content = read_place(place, MOST_BYTES)
    if suffix in OBJECTS:
        return read_object(content, place)
    text = " ".join(decode_text(content, place).split())
    if suffix in CLASSES:
        return {"label": int(text) if text.isascii() and text.isdigit() and len(text) < 18 else text}
    return {"text": text}
