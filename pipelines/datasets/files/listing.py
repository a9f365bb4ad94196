"""Datasets in files: folders and archives of pictures, with what is said of these beside them, listed without any library."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...common.reading import UnreadableError, reason_of
from ...common.text import counted, some
from ..columns import with_classes, with_named_splits, with_single_captions, with_whole_numbers
from .archives import is_archive
from .assembling import assemble
from .descriptions import Descriptions, Names, pictures_named, read_beside, read_tables
from .embedded import features_with_pictures, open_tables
from .file_kinds import BESIDE_A_PICTURE, BINARY_TABLES, HEAD, PICTURE, TABLE, begins_as_picture, kind_of, why_not
from .inventory import Source, nothing_usable
from .layout import ORDER, TRAIN, Layout, arrange, folders_of
from .places import read_head, shown
from .tables import naming_column, read_table
from .walking import Tree, walk


@dataclass
class Kinds:
    """The files of a tree by what they are."""

    pictures: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)


def list_files(root: Path) -> Source:
    """Open a dataset that lies in files: a folder, an archive, or a table of pictures.

    Raises:
        ValueError: nothing in it can be used; the sentence says what was found and why.
    """
    tree = walk(root) if root.is_dir() or is_archive(root.name) else _walk_table(root)
    kinds = _sort(tree)
    source = _with_pictures_inside(tree, kinds) if kinds.embedded else _with_picture_files(tree, kinds)
    if not source.splits:
        raise ValueError(nothing_usable(root, source.found, source.described, source.unused))
    return source


def _sort(tree: Tree) -> Kinds:
    """Sort the files by what they are; those of no use are noted."""
    kinds = Kinds()
    disguised = []
    for file in tree.files:
        kind = kind_of(file)
        try:
            if kind is None and begins_as_picture(read_head(tree.place(file), HEAD)):
                kind = PICTURE
                disguised.append(shown(file))
            elif kind == TABLE and file.lower().endswith(BINARY_TABLES) and features_with_pictures(tree.place(file)):
                kinds.embedded.append(file)
                continue
        except (OSError, UnreadableError) as error:
            tree.refuse(file, reason_of(error))
            continue
        if kind is None:
            tree.refuse(file, why_not(file))
        else:
            groups = {PICTURE: kinds.pictures, BESIDE_A_PICTURE: kinds.beside, TABLE: kinds.tables}
            groups.get(kind, kinds.descriptions).append(file)
    if disguised:
        tree.notes.append(f"{counted(len(disguised), 'picture')} known by content, not by name: {some(disguised)}.")
    return kinds


def _with_picture_files(tree: Tree, kinds: Kinds) -> Source:
    """Return the dataset whose pictures are files."""
    layout = arrange(folders_of(kinds.pictures))
    found = Descriptions()
    left = read_beside(tree, kinds.pictures, kinds.beside, found)
    read_tables(tree, kinds.pictures, [*kinds.tables, *left], found)
    by_table = bool(found.splits) and set(layout.splits) == {TRAIN}
    if by_table:
        layout.splits = [found.splits.get(picture, TRAIN) for picture in kinds.pictures]
    rows = _usable(tree, kinds.pictures, layout, found)
    classes = dict(zip(kinds.pictures, layout.classes, strict=True))
    splits, notes = assemble(tree, rows, found.values, classes)
    described = len(tree.archives) + len(kinds.descriptions) + len(found.used)
    unused = (*tree.unused, *found.rows)
    count = described + len(unused) + sum(map(len, rows.values()))
    origins = origins_of(tree, rows) | (found.origins if by_table else {})
    return Source(splits, count, described, unused, origins, (*tree.notes, *layout.notes, *found.notes, *notes))


def _usable(tree: Tree, pictures: Sequence[str], layout: Layout, found: Descriptions) -> dict[str, list[str]]:
    """Return the pictures of each split; those that no split or table has are noted."""
    described = {picture for pictures in found.tables.values() for picture in pictures}
    missed: dict[str, str] = {}  # by split and folder of a table, its name
    split_by_picture = dict(zip(pictures, layout.splits, strict=True))
    scopes = [
        (table, posixpath.dirname(table), {split_by_picture[picture] for picture in own}) for table, own in found.tables.items()
    ]
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for picture, split in split_by_picture.items():
        table = next(
            (
                table
                for table, folder, splits in scopes
                if picture not in described and split in splits and (not folder or picture.startswith(f"{folder}/"))
            ),
            None,
        )
        if split is None:
            tree.refuse(picture, "beside the folders of the splits")
        elif table is not None:
            tree.refuse(picture, f"no row in {missed.setdefault(table, shown(table))}")
        else:
            rows[split].append(picture)
    return {split: rows[split] for split in ORDER if split in rows}


def _with_pictures_inside(tree: Tree, kinds: Kinds) -> Source:
    """Return the dataset whose pictures lie in tables."""
    for picture in kinds.pictures:
        tree.refuse(picture, "a picture beside tables that hold pictures")
    for file in (*kinds.beside, *kinds.tables):
        tree.refuse(file, "a file beside tables that hold pictures")
    splits, tables = open_tables(kinds.embedded, tree.root)
    splits, named = with_named_splits(splits)
    splits, captions = with_single_captions(with_whole_numbers(splits))
    splits, notes = with_classes(splits)
    described = len(tree.archives) + len(kinds.descriptions) + len(kinds.embedded)
    count = described + len(tree.unused) + sum(map(len, splits.values()))
    origins = named or origins_of(tree, tables)
    return Source(splits, count, described, tuple(tree.unused), origins, (*tree.notes, *captions, *notes))


def origins_of(tree: Tree, files: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return in words where each split comes from: its folder, its files, or the whole folder."""
    folders = {posixpath.dirname(file) for own in files.values() for file in own}
    common = posixpath.commonpath(folders) if folders else ""
    depth = len(common.split("/")) if common else 0
    if len(files) == 1:
        return dict.fromkeys(files, f"all of {shown(common)}" if common else "the whole folder")
    found = {}
    for split, own in files.items():
        names = list(dict.fromkeys("/".join(file.split("/")[: depth + 1]) for file in own))
        kind = "folder" if Path(tree.place(names[0])).is_dir() else "file"
        found[split] = f"{kind}{'s' * (len(names) > 1)} {some(list(map(shown, names)))}"
    return found


def _walk_table(table: Path) -> Tree:
    """Return the tree of a table alone: its file, and the pictures that it names in its folder or below."""
    tree = Tree(str(Path(os.path.abspath(table)).parent))  # noqa: PTH100 - links stay links
    tree.files.append(table.name)
    try:
        if table.suffix.lower() in BINARY_TABLES and features_with_pictures(tree.place(table.name)):
            return tree
        columns = read_table(tree.place(table.name))
    except (OSError, UnreadableError) as error:
        tree.files.clear()
        tree.refuse(table.name, reason_of(error))
        return tree
    words = [value for values in columns.values() for value in values if isinstance(value, str)]
    below = {file for value in words if (file := _below(tree, value)) and file != table.name}
    if not below:  # they may be names without the folders that the pictures lie in
        names = Names([file for file in walk(table.parent).files if kind_of(file) == PICTURE], tree.root)
        found = pictures_named(columns, names, "", only_usual=False)
        below = {picture for picture in found.get(naming_column(columns, found) or "", []) if picture}
    tree.files += sorted(below)
    return tree


def _below(tree: Tree, name: str) -> str | None:
    """Return the file that a table names as a path below its folder, or None if it does not lie there."""
    file = posixpath.normpath(name.strip().removeprefix(f"{tree.root}/"))
    outside = file.startswith(("/", "..")) or "\0" in file or len(file) > 4096
    try:
        return None if outside or not Path(tree.place(file)).is_file() else file
    except OSError:  # a name that is too long
        return None
