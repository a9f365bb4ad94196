"""Pictures dropped into a browser, kept as datasets of the user's own until they are deleted.

They are written as they come. An archive stays an archive, whose members are read where they lie, so nothing in it is written
anywhere. A dataset's name ends in a digest of its files: the same files are the same dataset, however often they are dropped,
and only a folder that still has exactly the files that were dropped can be deleted.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.machine import in_words
from ..common.paths import folder_in
from ..common.reading import MEGABYTE, UnreadableError
from ..common.text import counted, plain_name, shorten
from ..storage import runs
from ..storage.disk import refuse_full, refuse_unwritable
from ..storage.files import ROOT, atomic_folder
from .files.archives import SUFFIXES, is_archive, open_archive, stem_of
from .files.file_kinds import HEAD, begins_as_picture, kind_of

MOST_FILES = 5_000
MOST_BYTES = 512 * MEGABYTE  # of all files together
MOST_MEMBERS = 100_000  # of an archive
MOST_UNPACKED = 16 * MOST_BYTES  # of all members of an archive together
DIGITS = 10  # of the digest in a dataset's name
LONGEST = 40  # characters of its name before that
_NAMED = re.compile(rf"-[0-9a-f]{{{DIGITS}}}$")
REMEDY = "set $NOISESCOPE_RUNS to another folder"


@dataclass(frozen=True)
class Dropped:
    """A dataset of dropped files.

    Attributes:
        folder: where it is.
        files: their number.
        size: of all of them, in bytes.
    """

    folder: Path
    files: int
    size: int


def uploads_folder() -> Path:
    """Return the folder of the dropped datasets, beside the user's runs: where data lie, a server may not be able to write."""
    return runs.PRIVATE / ".dropped"


def _roots() -> list[Path]:
    """Return the folder of the dropped datasets, and the one where they were kept at first."""
    return [uploads_folder(), (folder_in("NOISESCOPE_DATA") or ROOT / "data") / "dropped"]


def keep_upload(files: Sequence[tuple[str, bytes | memoryview]], root: Path | None = None) -> tuple[Path, bool]:
    """Write dropped files into a new folder, whole or not at all, unless the same ones are there already.

    Args:
        files: name and content of each: pictures, archives of them, and texts or tables that describe them.
        root: where to make the folder; :func:`uploads_folder` by default.

    Returns:
        The folder, which is a dataset, and whether it is new.

    Raises:
        ValueError: there are none or too many, they are too large or of another kind, an archive is damaged, or there is no
            room.
    """
    roots = [root] if root else _roots()
    size = sum(len(content) for _, content in files)
    _refuse_too_much(len(files), size)
    for name, content in files:
        _refuse_other(name, bytes(content[:HEAD]))
    named = _under_own_names(files)
    digest = _digest((name, hashlib.sha256(content).hexdigest()) for name, (_, content) in named.items())
    targets = [folder / f"{_name([name for name, _ in files])}-{digest}" for folder in roots]
    target = next((target for target in targets if target.exists()), targets[0])
    if target.exists():
        _refuse_changed(target, "rename or remove that folder, and drop the files again")
        return target, False
    refuse_unwritable(target.parent, REMEDY)
    refuse_full(target.parent, size, "these files", REMEDY)
    with atomic_folder(target) as folder:
        for name, (given, content) in named.items():
            (folder / name).write_bytes(content)
            if is_archive(name):
                _refuse_archive(folder / name, given)
    return target, True


def dropped_folders(root: Path | None = None) -> list[Path]:
    """Return the folders of the dropped datasets, the newest first."""
    listed = [path for folder in ([root] if root else _roots()) if folder.is_dir() for path in folder.iterdir()]
    found = {path.name: path for path in reversed(listed) if _NAMED.search(path.name) and _is_own(path)}
    return sorted(found.values(), key=lambda path: path.stat().st_mtime, reverse=True)


def about_dropped(folder: Path) -> Dropped:
    """Return what is in the folder of a dropped dataset."""
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return Dropped(folder, len(sizes), sum(sizes))


def delete_dropped(folder: Path, root: Path | None = None) -> None:
    """Delete a dropped dataset.

    Raises:
        ValueError: it is none, or its files are not exactly those that were dropped.
    """
    if folder not in dropped_folders(root):
        raise ValueError(f"{folder} is not a folder of dropped files: delete it yourself if you no longer need it")
    _refuse_changed(folder, "delete it yourself if you no longer need it")
    shutil.rmtree(folder)


def _is_own(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _digest(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest that is part of a dataset's name, from the name and the SHA-256 of each file."""
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:DIGITS]


def _refuse_changed(folder: Path, remedy: str) -> None:
    """Raise ValueError unless a folder has exactly the files that its name says."""
    paths = list(folder.rglob("*"))
    whole = all(path.is_file() and not path.is_symlink() and path.parent == folder for path in paths)
    if not whole or _digest((path.name, _of_content(path)) for path in paths) != folder.name[-DIGITS:]:
        raise ValueError(f"the files in {folder} have changed since they were dropped: {remedy}")


def _of_content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _under_own_names(files: Sequence[tuple[str, bytes | memoryview]]) -> dict[str, tuple[str, bytes | memoryview]]:
    """Return files under the names that they are stored under, which do not depend on their order."""
    named: dict[str, tuple[str, bytes | memoryview]] = {}
    for given, content in sorted(files, key=lambda file: (_of_file(file[0]), hashlib.sha256(file[1]).hexdigest())):
        named[_unused(named, _of_file(given))] = given, content
    return named


def _refuse_too_much(count: int, size: int) -> None:
    if not count:
        raise ValueError("no files: drop pictures or an archive of them")
    if count > MOST_FILES or size > MOST_BYTES:
        raise ValueError(
            f"{counted(count, 'file')} of {in_words(size)} together are too much for an upload of at most {MOST_FILES:,} files "
            f"and {in_words(MOST_BYTES)}: put them into a folder on the machine that trains, and type its name"
        )


def _refuse_other(name: str, head: bytes) -> None:
    if not (is_archive(name) or kind_of(name) or begins_as_picture(head)):
        raise ValueError(
            f"{shorten(name, 80)!r} is neither a picture, nor a text or table that describes pictures, nor an archive "
            f"({', '.join(SUFFIXES)}): leave it out"
        )


def _refuse_archive(path: Path, name: str) -> None:
    """Raise ValueError if an archive is damaged or beyond the limits of an upload."""
    try:
        members = open_archive(path).members.values()
    except UnreadableError as error:
        raise ValueError(f"{shorten(name, 80)!r} cannot be read: {error}") from error
    size = sum(member.size for member in members)
    if len(members) > MOST_MEMBERS or size > MOST_UNPACKED:
        raise ValueError(
            f"{shorten(name, 80)!r} has {counted(len(members), 'member')} of {in_words(size)} together, where an uploaded "
            f"archive may have {MOST_MEMBERS:,} of {in_words(MOST_UNPACKED)}: put it on the machine that trains, and type its "
            "name"
        )


def _name(files: Sequence[str]) -> str:
    """Return the name of the dataset without its digest: that of the only archive, if there is one."""
    archives = [stem_of(name) for name in files if is_archive(name)]
    return (plain_name(archives[0])[:LONGEST] if len(archives) == 1 else "") or "pictures"


def _of_file(name: str) -> str:
    """Return a file's name without folders and unsafe characters, with its suffix."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem = stem_of(base) if is_archive(base) else Path(base).stem
    return (plain_name(stem) or "file") + re.sub(r"[^\w.]", "", base[len(stem) :])


def _unused(taken: Collection[str], name: str) -> str:
    """Return a name that is not taken: the wanted one, or that with a number before its suffix."""
    stem = stem_of(name) if is_archive(name) else Path(name).stem
    suffix, number, free = name[len(stem) :], 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{suffix}"
    return free
