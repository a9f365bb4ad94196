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
MARKS: Mapping[bytes, str] = MappingProxyType(  # that of UTF-32 begins with that of UTF-16
    {
        codecs.BOM_UTF32_LE: "utf-32",
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
        codecs.BOM_UTF8: "utf-8-sig",
    }
)


class UnreadableError(ValueError):
    """Raised when something to be read is damaged, too large, or no file at all; the message is one sentence."""


def reason_of(error: Exception) -> str:
    """Return why something cannot be read, without its name: the same words wherever the reason is the same."""
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)


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
    """Return the text of a regular file; see :func:`decode_text`.

    Raises:
        OSError: the file is missing or cannot be read.
        UnreadableError: it is not a regular file, larger than ``most`` bytes, or not such a text.
    """
    return decode_text(read_regular(path, most), str(path))


def decode_text(content: bytes, name: str) -> str:
    """Return a text in UTF-8, UTF-16 or UTF-32, without a byte order mark and with ``\\n`` at line ends.

    Older encodings, of which each gives the same bytes another meaning, are refused rather than guessed.

    Args:
        name: where it comes from, for the error message.

    Raises:
        UnreadableError: it is not such a text.
    """
    encoding = _encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        place = f" (line {line} cannot be read as such)" if encoding.startswith("utf-8") else ""
        raise UnreadableError(f"{name} is not a text in UTF-8 or UTF-16{place}: save it as UTF-8") from error
    if "\0" in text:
        raise UnreadableError(f"{name} is not a text in UTF-8 or UTF-16 (it has bytes of value 0): save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding_of(content: bytes) -> str:
    """Return the encoding that a text states in its first bytes, or shows by where it has bytes of value 0."""
    stated = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), None)
    if stated is not None:
        return stated
    first, second = content[::2].count(0), content[1::2].count(0)
    if len(content) % 2 == 0 and min(first, second) == 0 and 4 * max(first, second) > len(content):
        return "utf-16-be" if first else "utf-16-le"  # more than half of its characters are Latin letters
    return "utf-8"
