"""ZIP and TAR archives whose members are read one at a time, where they lie, and never written under their own names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ...common.reading import MEGABYTE, UnreadableError, open_regular
from .unpacking import unpacked

PLAIN_TAR = (".tar",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SUFFIXES = (".zip", *PLAIN_TAR, *PACKED_TAR)
PIECE = 2**12  # bytes unpacked at once, few enough that even a piece meant to do harm fits into memory
MOST_MEMBERS = 2_000_000
MOST_DIRECTORY = 256 * MEGABYTE  # of a ZIP, which is read at once
MOST_HEADER = MEGABYTE  # of a member of a TAR, with its long name and other notes
_ENTRY = b"PK\1\2"  # begins every entry of a ZIP's directory
_ENCRYPTED = 1
_LOCAL_HEADER = 30  # bytes of a ZIP member's header before its name
_UNPACKERS: dict[int, Callable[[], Any]] = {
    zipfile.ZIP_DEFLATED: lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
}


@dataclass(frozen=True)
class Member:
    """A file in an archive: where its content starts (in a ZIP, its header), how long that is, and how it is compressed."""

    start: int
    packed: int
    size: int
    method: int | None = None  # of a ZIP
    checksum: int | None = None


@dataclass(frozen=True)
class Archive:
    """The contents of an archive.

    Attributes:
        path: the file that is read: the archive itself, or a compressed TAR as it lies unpacked in the cache.
        members: by their names.
        refused: (name, reason) of those that are not read.
        notes: what else is wrong with it, after its name.
    """

    path: Path
    members: dict[str, Member] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, member: Member, end: int) -> None:
        """Add a member, in place of one of the same name, unless it leads elsewhere or beyond the ``end`` of the archive.

        Raises:
            UnreadableError: the archive has too many members.
        """
        if len(self.members) + len(self.refused) >= MOST_MEMBERS:
            raise UnreadableError(_too_many())
        clean = clean_name(name)
        if clean is None:
            self.refused.append((name, "its name leads out of the archive"))
        elif member.start + member.packed > end:
            self.refused.append((clean, "cut short: its archive ends too early"))
        else:
            if clean in self.members:
                self.refused.append((clean, "a later member of the archive has the same name"))
            self.members[clean] = member


class _Bounded:
    """A file of which no more can be read at once than ``most`` bytes, as honest lists of an archive's contents are short.

    Raises:
        UnreadableError: when more is read, or more entries than an archive may have.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(self._most + 1 if size < 0 else min(size, self._most + 1))
        if len(content) > self._most or content.count(_ENTRY) > MOST_MEMBERS:
            raise UnreadableError(_too_many())
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _too_many() -> str:
    return f"its list of contents is too long: up to {MOST_MEMBERS:,} files with names of usual length are read"


def is_archive(name: str) -> bool:
    """Return whether a file's name is that of an archive that can be read."""
    return name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """Return an archive's name without its suffix."""
    suffix = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)]


def clean_name(name: str) -> str | None:
    """Return a member's name as a relative path, or None if it leads elsewhere."""
    drive = len(name) > 1 and name[1] == ":" and name[0].isalpha()
    path = posixpath.normpath(name)
    return None if name.startswith("/") or drive or ".." in name.split("/") or path == "." or "\0" in name else path


def open_archive(path: Path) -> Archive:
    """Return the contents of an archive, which stay known until the file changes.

    Raises:
        OSError: it cannot be read.
        UnreadableError: it is damaged, or too large once it is unpacked.
    """
    status = path.stat()
    return _open(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _open(path: Path, size: int, mtime: int) -> Archive:
    name = path.name.lower()
    try:
        if name.endswith(".zip") or (not name.endswith(SUFFIXES) and zipfile.is_zipfile(path)):  # a download has no suffix
            return _index_zip(path)
        return _index_tar(_unpacked_tar(path) if name.endswith(PACKED_TAR) else path)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        NotImplementedError,
        RecursionError,  # a header that belongs to a header that belongs to a header …
    ) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError("a damaged archive, or one that is cut short") from error


def _index_zip(path: Path) -> Archive:
    archive = Archive(path)
    with open_regular(path) as file, zipfile.ZipFile(_Bounded(file, MOST_DIRECTORY)) as opened:
        end = path.stat().st_size
        for info in opened.infolist():
            name = info.filename.replace("\\", "/")  # as some programs of Windows write them
            if info.is_dir() or name.endswith("/"):
                continue
            if info.flag_bits & _ENCRYPTED:
                archive.refused.append((clean_name(name) or name, "encrypted"))
            elif info.compress_type != zipfile.ZIP_STORED and info.compress_type not in _UNPACKERS:
                archive.refused.append((clean_name(name) or name, "compressed in a way that is not read"))
            else:
                archive.add(
                    name, Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC), end
                )
    return archive


def _index_tar(path: Path) -> Archive:
    archive = Archive(path)
    links: list[tuple[str, str]] = []
    with open_regular(path) as file, tarfile.open(fileobj=_Bounded(file, MOST_HEADER), mode="r:") as opened:
        end = path.stat().st_size
        for info in _headers(opened):
            if info.isreg() and not info.issparse():
                archive.add(info.name, Member(info.offset_data, info.size, info.size), end)
            elif info.issym() or info.islnk():
                start = PurePosixPath(info.name).parent if info.issym() else PurePosixPath()
                links.append((info.name, os.path.normpath(start / info.linkname)))
            elif not info.isdir():
                archive.refused.append((clean_name(info.name) or info.name, "neither a file nor a folder"))
        file.seek(opened.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0") or opened.offset + tarfile.BLOCKSIZE > end:
            archive.notes.append("is damaged or cut short: what follows its last whole member is lost")
    for name, target in links:
        if target in archive.members:
            archive.add(name, archive.members[target], end)
        else:
            archive.refused.append((clean_name(name) or name, "a link to something that is not in the archive"))
    return archive


def _headers(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a TAR up to its end, or to where it is damaged."""
    first = True
    while True:
        try:
            info = opened.next()
        except tarfile.TarError:
            if first:
                raise
            return
        if info is None:
            return
        yield info
        first = False
        opened.members = []  # type: ignore[attr-defined]  # which would keep all headers in memory


def _unpacked_tar(path: Path) -> Path:
    """Return a compressed TAR as it lies unpacked in the cache."""
    kind = path.name.lower()
    opener: Any = lzma.open if kind.endswith("xz") else bz2.open if kind.endswith("bz2") else gzip.open

    def parts() -> Iterator[bytes]:
        with open_regular(path) as file, opener(file) as content:
            try:
                yield from iter(lambda: content.read1(2**20), b"")  # read would lose what comes before a cut
            except EOFError:
                return  # what there is of it is read
            except OSError as error:  # gzip's and bz2's own errors have no number
                if error.errno is not None:
                    raise
                raise UnreadableError("a damaged archive, or one that is cut short") from error

    return unpacked(path, "", ".tar", parts(), path.stat().st_size)


def parts_of(archive: Archive, member: Member) -> Iterator[bytes]:
    """Yield the content of a member, unpacked as it is read.

    Raises:
        OSError: the archive cannot be read.
        UnreadableError: the member is damaged.
    """
    left, checksum, length = member.packed, 0, 0
    unpacker = _UNPACKERS[member.method]() if member.method else None
    with open_regular(archive.path) as file:
        file.seek(member.start)
        if member.method is not None:
            header = file.read(_LOCAL_HEADER)
            if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
                raise UnreadableError("it is damaged in its archive")
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
        while left and (piece := file.read(min(left, PIECE if unpacker else 2**20))):
            left -= len(piece)
            if unpacker:
                if unpacker.eof:
                    break
                try:
                    piece = unpacker.decompress(piece)
                except (zlib.error, OSError) as error:
                    raise UnreadableError("it is damaged in its archive") from error
            length += len(piece)
            if length > member.size:
                break
            checksum = zlib.crc32(piece, checksum)
            yield piece
    if length != member.size or member.checksum not in (None, checksum):
        raise UnreadableError("it is damaged in its archive")


def read_member(archive: Archive, name: str, most: int) -> bytes:
    """Return the content of a member of at most ``most`` bytes.

    Raises:
        OSError: the archive cannot be read.
        UnreadableError: there is no such member, it is larger, or it is damaged.
    """
    member = archive.members.get(name)
    if member is None:
        raise UnreadableError("its archive has no such member")
    if member.size > most:
        raise UnreadableError(f"it is larger than {most / MEGABYTE:g} MiB, the limit for such a file")
    return b"".join(parts_of(archive, member))
