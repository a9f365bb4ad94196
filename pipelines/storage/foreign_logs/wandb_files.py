"""Files that Weights & Biases writes offline (``run-….wandb``): protobuf messages in the blocks of a LevelDB log."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ...common.reading import MEGABYTE, UnreadableError
from .protobuf import fields, real, signed, submessage
from .terms import RawLog

MARK = b":W&B"
FILE_HEADER, HEADER = struct.Struct("<4sHB"), struct.Struct("<IHB")
BLOCK = 2**15
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
LARGEST_RECORD = MEGABYTE  # larger ones hold output or settings
MOST_RECORDS = 300_000
HISTORY, RUN = 2, 17  # fields of a record


def read_wandb(file: BinaryIO, log: RawLog) -> None:
    """Add the history of an offline file to a log, and take the name of its run. What comes after a damaged record is lost."""
    file.seek(FILE_HEADER.size)
    try:
        for number, record in enumerate(_records(file)):
            for field, value in fields(record):
                if field == HISTORY:
                    log.add_row(_row(submessage(value)), number)
                elif field == RUN:
                    names = [
                        submessage(content).decode(errors="replace") for kind, content in fields(submessage(value)) if kind == 8
                    ]
                    log.name = next(filter(None, names), log.name)
    except UnreadableError as error:
        log.notes.append(f"it has {error} at byte {file.tell():,}, and only what comes before it is shown")


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the records of a file, which may be spread over blocks.

    Raises:
        UnreadableError: one of them is damaged, or the file ends within it.
    """
    record, count = b"", 0
    while count < MOST_RECORDS:
        room = BLOCK - file.tell() % BLOCK
        if room < HEADER.size:
            file.seek(room, 1)
        header = file.read(HEADER.size)
        if not header and not record:
            return
        if len(header) < HEADER.size:
            raise UnreadableError("an entry that is not whole")
        checksum, length, kind = HEADER.unpack(header)
        part = file.read(length)
        if len(part) < length:
            raise UnreadableError("an entry that is not whole")
        if kind not in (FULL, FIRST, MIDDLE, LAST) or zlib.crc32(part, zlib.crc32(header[-1:])) != checksum:
            raise UnreadableError("a damaged entry")
        record = part if kind in (FULL, FIRST) else record + part if len(record) <= LARGEST_RECORD else record
        if kind in (FULL, LAST):
            if len(record) <= LARGEST_RECORD:
                yield record
            record, count = b"", count + 1
    raise UnreadableError(f"more than {MOST_RECORDS:,} entries")


def _row(history: bytes) -> dict[str, float]:
    """Return the numbers that were logged at a step."""
    row = {}
    for field, value in fields(history):
        if field == 1:
            name, number = _item(submessage(value))
            if number is not None:
                row[name] = number
    return row


def _item(item: bytes) -> tuple[str, float | None]:
    """Return the name and the number of an item; None if it is no number."""
    names, number = [], None
    for field, value in fields(item):
        if field in (1, 2):  # a key, or the parts of a nested one
            names.append(submessage(value).decode(errors="replace"))
        elif field == 5:
            coded = signed(value) % 2**64
            number = float(coded >> 1 ^ -(coded & 1))
        elif field == 6:
            number = real(value, "<d")
        elif field == 16:
            number = _number(submessage(value))
    return ".".join(filter(None, names)), number


def _number(text: bytes) -> float | None:
    """Return a value in JSON if it is a number."""
    try:
        return float(text) if len(text) < 100 else None
    except ValueError:
        return None
