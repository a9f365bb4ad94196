"""Pictures handed over by a browser, kept as a dataset of the user's own.

They are written as they come. An archive stays an archive, whose members are read where they lie, so nothing in it is written
anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from ..common.machine import in_words
from ..common.paths import folder_in
from ..common.reading import MEGABYTE, UnreadableError
from ..common.text import counted, plain_name, shorten
from ..storage.disk import refuse_full, refuse_unwritable
from ..storage.files import ROOT, atomic_folder
from .files.archives import SUFFIXES, is_archive, open_archive, stem_of
from .files.file_kinds import HEAD, begins_as_picture, kind_of

MOST_FILES = 5_000
MOST_BYTES = 512 * MEGABYTE  # of all files together
MOST_MEMBERS = 100_000  # of an archive
MOST_UNPACKED = 16 * MOST_BYTES  # of all members of an archive together
REMEDY = "set $NOISESCOPE_DATA to another folder"


def uploads_folder() -> Path:
    """Return the folder in which uploads become datasets: $NOISESCOPE_DATA, or data in the project's folder."""
    return folder_in("NOISESCOPE_DATA") or ROOT / "data"


def keep_upload(files: Sequence[tuple[str, bytes | memoryview]], root: Path | None = None) -> Path:
    """Write uploaded files into a new folder, whole or not at all, and return it; it is a dataset.

    Args:
        files: name and content of each: pictures, archives of them, and texts or tables that describe them.
        root: where to make the folder; :func:`uploads_folder` by default.

    Raises:
        ValueError: there are none or too many, they are too large or of another kind, an archive is damaged, or there is no
            room.
    """
    root = root or uploads_folder()
    size = sum(len(content) for _, content in files)
    _refuse_too_much(len(files), size)
    for name, content in files:
        _refuse_other(name, bytes(content[:HEAD]))
    refuse_unwritable(root, REMEDY)
    refuse_full(root, size, "these files", REMEDY)
    with atomic_folder(root / _unused(root, _name([name for name, _ in files]))) as folder:
        for name, content in files:
            path = folder / _unused(folder, _of_file(name))
            path.write_bytes(content)
            if is_archive(path.name):
                _refuse_archive(path, name)
        return root / folder.name


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
    """Return the name of the dataset: that of the only archive, or the day."""
    archives = [stem_of(name) for name in files if is_archive(name)]
    return (plain_name(archives[0]) if len(archives) == 1 else "") or f"pictures-{date.today():%Y-%m-%d}"


def _of_file(name: str) -> str:
    """Return a file's name without folders and unsafe characters, with its suffix."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem = stem_of(base) if is_archive(base) else Path(base).stem
    return (plain_name(stem) or "file") + re.sub(r"[^\w.]", "", base[len(stem) :])


def _unused(folder: Path, name: str) -> str:
    """Return a name that nothing in ``folder`` has: the wanted one, or that with a number before its suffix."""
    stem = stem_of(name) if is_archive(name) else Path(name).stem
    suffix, number, free = name[len(stem) :], 1, name
    while (folder / free).exists():
        number += 1
        free = f"{stem}-{number}{suffix}"
    return free
