"""All files of a dataset: those of its folder and of archives in it, links followed, each by its place."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...common.reading import KINDS, UnreadableError, reason_of
from ...common.text import some
from . import archives
from .archives import is_archive, open_archive
from .inventory import Unused
from .places import MOST_NESTED, local_file, shown
from .unpacking import most_unpacked

HIDDEN = "hidden file"
MOST_FOLDERS = 200  # in one another
MOST_LINKS = 16  # to one folder: links to folders of links to folders would multiply
_OF_SYSTEMS = ("__MACOSX", "@eaDir")  # folders of attributes or thumbnails of the other files, which bear the names of pictures


@dataclass
class _Room:
    """What an archive on the disk and those within it may hold, all of them together, since archives of archives multiply.

    Attributes:
        members: number of files.
        unpacked: bytes of the archives within it, which are unpacked to be read.
    """

    members: int
    unpacked: int


@dataclass
class Tree:
    """The files of a dataset, as they are found.

    Attributes:
        root: absolute path that places begin with.
        files: places relative to it, in order; "archive.zip/a/b.png" in archives.
        archives: those that were opened.
        unused: what cannot be or is not looked at.
        notes: links that were or were not followed, damaged archives.
        links, linked: the links to folders in words, and their number by the folder that they lead to.
    """

    root: str
    files: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    linked: Counter[tuple[int, int]] = field(default_factory=Counter)

    def place(self, file: str) -> str:
        """Return where a file of the tree lies."""
        return f"{self.root}/{file}" if self.root != "/" else f"/{file}"

    def refuse(self, file: str, reason: str) -> None:
        """Note that a file is not used."""
        self.unused.append(Unused(shown(file), reason))


def walk(root: Path) -> Tree:
    """List all files of a folder, or of an archive (whose own name its members' places begin with)."""
    path = Path(os.path.abspath(root))  # noqa: PTH100 - links stay links, so that "../x" means what the user sees
    if path.is_dir():
        tree = Tree(str(path))
        _walk_folder(tree, "", ())
    else:
        tree = Tree(str(path.parent))
        _walk_archive(tree, path.name)
    tree.files.sort()
    if tree.links:
        tree.notes.append(f"Links to folders are followed: {some(tree.links)}.")
    return tree


def _walk_folder(tree: Tree, folder: str, above: tuple[tuple[int, int], ...], hidden: bool = False) -> None:
    """Add what is in a folder. ``above`` identifies the folders that it lies in, to which a link would begin a loop."""
    if len(above) == MOST_FOLDERS:
        tree.refuse(folder, f"more than {MOST_FOLDERS} folders in one another")
        return
    path = tree.place(folder) if folder else tree.root
    try:
        status = os.stat(path)  # noqa: PTH116
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        tree.refuse(folder or ".", f"a folder that cannot be opened ({reason_of(error)})")
        return
    above = (*above, (status.st_dev, status.st_ino))
    for entry in found:
        file = f"{folder}/{entry.name}" if folder else entry.name
        try:
            seen = entry.stat()
        except OSError as error:
            broken = entry.is_symlink() and not isinstance(error, PermissionError)
            tree.refuse(file, "a link to nothing" if broken else f"cannot be opened ({reason_of(error)})")
            continue
        out_of_sight = hidden or entry.name.startswith(".") or entry.name in _OF_SYSTEMS
        if stat.S_ISDIR(seen.st_mode):
            if not entry.is_symlink() or _follow(tree, file, (seen.st_dev, seen.st_ino), above):
                _walk_folder(tree, file, above, out_of_sight)
        elif not stat.S_ISREG(seen.st_mode):
            tree.refuse(file, f"{KINDS.get(stat.S_IFMT(seen.st_mode), 'no file')}, not a file")
        elif out_of_sight:
            tree.refuse(file, HIDDEN)
        elif is_archive(entry.name):
            _walk_archive(tree, file)
        else:
            tree.files.append(file)


def _follow(tree: Tree, file: str, target: tuple[int, int], above: tuple[tuple[int, int], ...]) -> bool:
    """Return whether to follow a link to a folder, and note it."""
    if target in above:
        tree.notes.append(f"The link {shown(file)} leads back to a folder that it lies in, and is not followed again.")
        return False
    tree.linked[target] += 1
    if tree.linked[target] > MOST_LINKS:
        tree.notes.append(f"The link {shown(file)} is not followed: {MOST_LINKS} links to the same folder have been.")
        return False
    tree.links.append(f"{shown(file)} to {shown(os.path.realpath(tree.place(file)))}")
    return True


def _walk_archive(tree: Tree, file: str, depth: int = 0, room: _Room | None = None) -> None:
    """Add the members of an archive, and of archives in it."""
    if depth == MOST_NESTED:
        tree.refuse(file, f"more than {MOST_NESTED} archives in one another")
        return
    try:
        path = local_file(tree.place(file))
        archive = open_archive(path)
        room = room or _Room(archives.MOST_MEMBERS, most_unpacked(path.stat().st_size))
    except UnreadableError as error:
        tree.refuse(file, str(error))
        return
    except OSError as error:
        tree.refuse(file, f"cannot be opened ({reason_of(error)})")
        return
    room.members -= len(archive.members) + len(archive.refused)
    if room.members < 0:
        tree.refuse(file, f"the archives in its archive have more than {archives.MOST_MEMBERS:,} files together")
        return
    tree.archives.append(file)
    tree.unused += [Unused(f"{shown(file)}/{shown(name)}", reason) for name, reason in archive.refused]
    tree.notes += [f"The archive {shown(file)} {note}." for note in archive.notes]
    for name, content in archive.members.items():
        member = f"{file}/{name}"
        if any(part.startswith(".") or part in _OF_SYSTEMS for part in name.split("/")):
            tree.refuse(member, HIDDEN)
        elif not is_archive(name):
            tree.files.append(member)
        elif room.members < 0 or room.unpacked < content.size:
            tree.refuse(member, "the archives in its archive are too many or too large together")
        else:
            room.unpacked -= content.size
            _walk_archive(tree, member, depth + 1, room)
