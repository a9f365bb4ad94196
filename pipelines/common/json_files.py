"""The one reader of JSON that comes from a file, a picture or another program, none of which is trusted.

Whatever the text, the reader returns a value or raises :class:`UnreadableError`; it neither exhausts the stack nor the memory.
The rules are those of Python's own reader (of equal keys the last counts; NaN and Infinity, which a diverged run writes, are
numbers), with limits: the size of the text, 200 levels of nesting, whole numbers of 64 bits, and valid Unicode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import from_json

from .reading import MEGABYTE, UnreadableError, read_regular

MOST = 16 * MEGABYTE  # bytes of text
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # at the start of files saved by some editors
ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
LONG_NUMBER = b"0" * 19  # no shorter number needs more than 64 bits


def parse_json(text: str | bytes, source: str = "the text", most: int | None = None) -> Any:
    """Parse JSON.

    Args:
        text: the text, in UTF-8 if bytes.
        source: where it comes from, for the error message.
        most: maximum number of bytes; ``MOST`` by default.

    Raises:
        UnreadableError: it is too large, not valid JSON, or beyond the limits.
    """
    most = MOST if most is None else most
    encoded = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(encoded) > most:
        raise UnreadableError(f"{source} has more than {most // MEGABYTE} MiB of JSON, the limit")
    if not encoded.strip():
        raise UnreadableError(f"{source} is empty")
    try:
        value = from_json(encoded.removeprefix(BYTE_ORDER_MARK))
    except ValueError as error:
        raise UnreadableError(f"{source} is not valid JSON: {error}") from error
    if LONG_NUMBER in encoded.translate(ZEROS) and not _in_64_bits(value):
        raise UnreadableError(f"{source} has a whole number of more than 64 bits")
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: the file is missing or cannot be opened.
        UnreadableError: it is not a regular file, too large, not valid JSON, or beyond the limits.
    """
    return parse_json(read_regular(path, MOST), str(path))


def _in_64_bits(value: Any) -> bool:
    """Return whether no whole number in a parsed value needs more than 64 bits."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            return False
    return True
