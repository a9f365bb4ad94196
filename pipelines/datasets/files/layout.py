"""What folders mean: splits at the top, classes below them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...common.text import counted, some
from .archives import is_archive, stem_of
from .places import shown

TRAIN = "train"
ORDER = (TRAIN, "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
"""Names of splits, as they are written in names of folders in any case; also in "train2017", "test_set" and the like."""

WRAPPERS = ("images", "image", "imgs", "img", "pictures", "photos", "data", "jpegimages")
"""Folders that hold the pictures of a split that has no folders for classes."""

_WORD = re.compile(rf"(?<![^\W_])({'|'.join(SPLIT_WORDS)})(?![^\W\d_])", re.IGNORECASE)
_SPLIT = re.compile(rf"({'|'.join(SPLIT_WORDS)})(?:[-_ ]?(?:set|data|split|images|imgs|19\d\d|20\d\d))?", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+(-of-\d+(-[0-9a-f]{6,})?)?|[-_. ]")

Folders = tuple[str, ...]
SPLIT_COLUMNS = ("split", "subset", "partition")
"""Names of columns, in lower case, that say which split a picture is in."""


@dataclass
class Layout:
    """The split and the class of each item.

    Attributes:
        splits: of each item; None for those that lie beside the folders of splits.
        classes: of each item, the name of a folder; None where it has none.
        notes: what was decided, a sentence each.
    """

    splits: list[str | None]
    classes: list[str | None]
    notes: list[str] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """Return the split that a folder's name stands for."""
    found = _SPLIT.fullmatch(name.strip())
    return SPLIT_WORDS[found[1].casefold()] if found else None


def splits_of_files(stems: Sequence[str]) -> list[str] | None:
    """Return the splits of files that hold many pictures each, from their names; None if these say nothing of splits.

    They do if they are the same but for the split's word and for numbers: "train-00000-of-00002", "test-00000-of-00001".
    """
    words = [_WORD.findall(stem) for stem in stems]
    rest = {_NUMBERS.sub("", _WORD.sub("", stem)).casefold() for stem in stems}
    if not stems or len(rest) > 1 or any(len(found) != 1 for found in words):
        return None
    splits = [SPLIT_WORDS[found[0].casefold()] for found in words]
    return splits if TRAIN in splits or rest == {""} else None


def folders_of(places: Sequence[str]) -> list[Folders]:
    """Return the folders that each picture lies in, as if all archives were unpacked.

    Archives count as folders if their names are those of splits, or tell classes: if they differ by more than numbers.
    """
    siblings: defaultdict[str, set[str]] = defaultdict(set)
    for place in places:
        parts = place.split("/")[:-1]
        for depth, part in enumerate(parts):
            if is_archive(part):
                siblings["/".join(parts[:depth])].add(part)
    telling = set()
    for folder, names in siblings.items():
        stems = [stem_of(name) for name in sorted(names)]
        if len({_NUMBERS.sub("", stem).casefold() for stem in stems}) == len(stems) > 1 or splits_of_files(stems):
            telling.add(folder)
    by_folder: dict[str, Folders] = {}
    result = []
    for place in places:
        parent = place.rpartition("/")[0]
        if parent not in by_folder:
            parts = parent.split("/") if parent else []
            splits = {}
            for depth, part in enumerate(parts):
                if is_archive(part) and (above := "/".join(parts[:depth])) in telling:
                    archives = sorted(siblings[above])
                    found = splits_of_files([stem_of(name) for name in archives])
                    splits[depth] = found[archives.index(part)] if found else stem_of(part)
            by_folder[parent] = tuple(
                splits.get(depth, part) for depth, part in enumerate(parts) if depth in splits or not is_archive(part)
            )
        result.append(by_folder[parent])
    return result


def arrange(items: Sequence[Folders]) -> Layout:
    """Decide what the folders mean that pictures lie in.

    A folder that holds everything is looked into. Then folders are splits if all of them have names of splits, or if there are
    one for training and another split among them; a folder called "train" beside others is a class like these. Below the
    splits, or else at the top, a folder is a class if there are at least two; folders in it belong to it.
    """
    inner, within = list(items), list[str]()
    while len(tops := {item[:1] for item in inner}) == 1 and (top := next(iter(tops))) and not split_of(top[0]):
        inner = [item[1:] for item in inner]
        within.append(top[0])
    names = {item[0] for item in inner if item}
    splits = {name: split for name in names if (split := split_of(name))}
    layout = Layout([TRAIN] * len(items), [None] * len(items))
    held_out = set(splits.values()) - {TRAIN}
    if splits and (len(splits) == len(names) or (held_out and TRAIN in splits.values())):
        beside = None if held_out and TRAIN in splits.values() else TRAIN
        layout.splits = [splits.get(item[0]) if item else beside for item in inner]
        inner = [item[1:] if item and item[0] in splits else item for item in inner]
    elif splits:
        layout.notes.append(
            f"Taken for classes, as the folders beside them are, not for splits: {some(list(map(shown, sorted(splits))))}."
        )
    inner, alone = _without_wrappers(inner, layout.splits)
    classes = {item[0] for item, split in zip(inner, layout.splits, strict=True) if item and split}
    if len(classes) > 1:
        layout.classes = [item[0] if item else None for item in inner]
        _note_classes(layout, inner)
    elif single := [name for name in (*within[-1:], *alone, *classes) if name.casefold() not in WRAPPERS]:
        layout.notes.append(f"There are no classes: all pictures that could have one are in the folder {shown(single[-1])}.")
    return layout


def _without_wrappers(inner: list[Folders], splits: list[str | None]) -> tuple[list[Folders], list[str]]:
    """Look into a split's only folder if that is the only one of all splits, or if its name says no more than "images".

    Returns what lies in them, and the names of those folders.
    """
    names: list[str] = []
    while True:
        tops: defaultdict[str, set[Folders]] = defaultdict(set)
        for item, split in zip(inner, splits, strict=True):
            if split:
                tops[split].add(item[:1])
        everywhere = {top for found in tops.values() for top in found}
        single = {
            split
            for split, found in tops.items()
            if len(found) == 1 and (top := next(iter(found))) and (len(everywhere) == 1 or top[0].casefold() in WRAPPERS)
        }
        if not single:
            return inner, names
        names += sorted({top[0] for split in single for top in tops[split]})
        inner = [item[1:] if split in single else item for item, split in zip(inner, splits, strict=True)]


def _note_classes(layout: Layout, inner: list[Folders]) -> None:
    used = [item for item, split in zip(inner, layout.splits, strict=True) if split]
    if beside := sum(not item for item in used):
        layout.notes.append(f"{counted(beside, 'picture')} beside the folders of classes: used without a class.")
    if deeper := sorted({"/".join(map(shown, item)) for item in used if len(item) > 1}):
        layout.notes.append(f"Folders in a class's folder belong to that class: {some(deeper)}.")
    if within := sorted({"/".join(map(shown, item)) for item in used if any(map(split_of, item[1:]))}):
        layout.notes.append(f"Folders inside a class make no splits, whatever they are called: {some(within)}.")
