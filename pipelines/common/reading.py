"""Reading files that another person may have made: regular files of limited size, nothing that waits or never ends."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

MEGABYTE = 2**20
KINDS: Mapping[int, str] = MappingProxyType(
    {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
)


class UnreadableError(ValueError):
    """Raised when something to be read is damaged, too large, or no file at all; the message is one sentence."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Opening a named pipe would wait for a writer; reading a device may never end.

    Raises:
        OSError: the file is missing or cannot be opened.
        UnreadableError: it is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise UnreadableError(f"{path} is {KINDS.get(kind, 'no file')}, not a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises:
        OSError: the file is missing or cannot be read.
        UnreadableError: it is not a regular file, or larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UnreadableError(f"{path} is larger than {most / MEGABYTE:g} MiB, the limit for such a file")
    return content


def read_text(path: Path, most: int) -> str:
    """Return the text of a regular file in UTF-8, or in UTF-16 with a byte order mark, as some editors write it.

    Raises:
        OSError: the file is missing or cannot be read.
        UnreadableError: it is not a regular file, larger than ``most`` bytes, or not such a text.
    """
    content = read_regular(path, most)
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{path} is not a text in UTF-8: save it as one") from error
