"""Places of pictures, captions and tables: paths that may lead into archives, such as "/data/a.zip/b/c.png"."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...common.reading import UnreadableError, open_regular, read_regular
from .archives import SUFFIXES, Archive, is_archive, open_archive, parts_of, read_member
from .unpacking import unpacked

MOST_NESTED = 3  # archives in archives in archives
_ODD_BYTE = re.compile(r"[\udc80-\udcff]")
_WRITTEN = re.compile(r"\0([89a-f][0-9a-f])")


def portable(place: str) -> str:
    """Return a place as a text that tables can hold: bytes of its name that are no UTF-8 are written as NUL and two digits."""
    return _ODD_BYTE.sub(lambda odd: f"\0{ord(odd[0]) - 0xDC00:02x}", place)


def literal_place(text: str) -> str:
    """Return the place that :func:`portable` wrote."""
    return _WRITTEN.sub(lambda written: chr(0xDC00 + int(written[1], 16)), text)


def shown(place: str) -> str:
    """Return a place as it is shown to people, such as "caf\\xe9.png" for a name that is no UTF-8."""
    return os.fsencode(literal_place(place)).decode("utf-8", "backslashreplace")


def read_place(place: str, most: int) -> bytes:
    """Return the content of a file or of an archive's member, of at most ``most`` bytes.

    Raises:
        OSError, UnreadableError: there is no such place, it is larger, or it is damaged.
    """
    found = _split(place)
    if found is None:
        return read_regular(Path(place), most)
    archive, name = _innermost(*found)
    return read_member(archive, name, most)


def read_head(place: str, count: int) -> bytes:
    """Return the first bytes of a file or of an archive's member.

    Raises:
        OSError, UnreadableError: there is no such place, or it is damaged.
    """
    found = _split(place)
    if found is None:
        with open_regular(Path(place)) as file:
            return file.read(count)
    archive, name = _innermost(*found)
    return next(parts_of(archive, archive.members[name]), b"")[:count]


def local_file(place: str) -> Path:
    """Return a file on the disk with the content of a place: that file itself, or an archive's member unpacked into the cache.

    Raises:
        OSError, UnreadableError: see :func:`read_place`; or the disk has no space for it.
    """
    found = _split(place)
    return Path(place) if found is None else _unpacked_member(*_innermost(*found))


def file_of(place: str) -> Path:
    """Return the file on the disk that a place is in: that file itself, or the outermost archive."""
    found = _split(place)
    return Path(place) if found is None else found[0]


def _split(place: str) -> tuple[Path, str] | None:
    """Return the outermost archive on the way to a place and the name of the member in it, or None if there is none."""
    parts = place.split("/")
    for number, part in enumerate(parts[:-1], 1):
        if is_archive(part):
            path = Path("/".join(parts[:number]))
            if path.is_file():
                return path, "/".join(parts[number:])
    return None


def _innermost(path: Path, name: str) -> tuple[Archive, str]:
    """Return the innermost archive that a member lies in, and the member's name there."""
    archive = open_archive(path)
    for _ in range(MOST_NESTED):
        if name in archive.members:
            return archive, name
        parts = name.split("/")
        outer = ("/".join(parts[:number]) for number in range(1, len(parts)) if is_archive(parts[number - 1]))
        nested = next((each for each in outer if each in archive.members), None)
        if nested is None:
            break
        archive, name = open_archive(_unpacked_member(archive, nested)), name[len(nested) + 1 :]
    raise UnreadableError("its archive has no such member")


def _unpacked_member(archive: Archive, name: str) -> Path:
    member = archive.members[name]
    suffix = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default=Path(name).suffix)
    return unpacked(archive.path, name, suffix.lower(), parts_of(archive, member), member.packed)
