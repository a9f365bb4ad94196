"""TensorBoard's event files, read without TensorFlow or TensorBoard: records with checksums, which contain protobuf messages.

The format of the records is TFRecord's; the messages are Event and Summary of TensorFlow (``event.proto``, ``summary.proto``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from ...common.reading import UnreadableError
from .protobuf import fields, real, signed, submessage
from .terms import RawLog

LARGEST_RECORD = 2**12  # bytes; larger ones are pictures, texts or graphs, and are skipped
MOST_RECORDS = 300_000
HEADER, CHECKSUM = struct.Struct("<QI"), struct.Struct("<I")
FORMS = {1: "<f", 2: "<d"}  # of numbers, by the number of the type in TensorFlow's types.proto


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


TABLE = _crc_table()


def masked_crc(content: bytes) -> int:
    """Return the checksum of TFRecord: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_event_file(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is an event file."""
    if len(start) < HEADER.size:
        return False
    _, checksum = HEADER.unpack_from(start)
    return masked_crc(start[:8]) == checksum


def read_events(file: BinaryIO, log: RawLog) -> None:
    """Add the scalars of an event file to a log. What comes after a damaged record is lost, which is noted."""
    try:
        for record in _records(file):
            _add_event(record, log)
    except UnreadableError as error:
        log.notes.append(f"it has {error} at byte {file.tell():,}, and only what comes before it is shown")


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the small records of a file.

    Raises:
        UnreadableError: one of them is damaged, or the file ends within it.
    """
    size = file.seek(0, 2)
    file.seek(0)
    for _ in range(MOST_RECORDS):
        header = file.read(HEADER.size)
        if not header:
            return
        if len(header) < HEADER.size:
            raise UnreadableError("an entry that is not whole")
        length, checksum = HEADER.unpack(header)
        if masked_crc(header[:8]) != checksum:
            raise UnreadableError("a damaged entry")
        if file.tell() + length + CHECKSUM.size > size:
            raise UnreadableError("an entry that is not whole")
        if length > LARGEST_RECORD:
            file.seek(length + CHECKSUM.size, 1)
            continue
        record = file.read(length)
        if CHECKSUM.unpack(file.read(CHECKSUM.size)) != (masked_crc(record),):
            raise UnreadableError("a damaged entry")
        yield record
    raise UnreadableError(f"more than {MOST_RECORDS:,} entries")


def _add_event(record: bytes, log: RawLog) -> None:
    time, step, summaries = 0.0, 0, []
    for number, value in fields(record):
        if number == 1:
            time = real(value, "<d")
        elif number == 2:
            step = signed(value)
        elif number == 5:
            summaries.append(submessage(value))
    for summary in summaries:
        for number, value in fields(summary):
            if number == 1 and (found := _scalar(submessage(value))) is not None:
                tag, scalar = found
                log.add(tag, step, scalar, time)


def _scalar(value: bytes) -> tuple[str, float] | None:
    """Return the tag and the number of a value of a summary; None if it is a picture, a text or the like."""
    tag, number = "", None
    for field, content in fields(value):
        if field == 1:
            tag = submessage(content).decode(errors="replace")
        elif field == 2:
            number = real(content, "<f")
        elif field == 8:
            number = _single_number(submessage(content))
    return None if number is None else (tag, number)


def _single_number(tensor: bytes) -> float | None:
    """Return the number in a tensor of one float or double, None of any other."""
    form, content = "", b""
    for field, value in fields(tensor):
        if field == 1 and isinstance(value, int):
            form = FORMS.get(value, "")
        elif field in (4, 5, 6):  # as bytes, float_val or double_val
            content = submessage(value)
    return real(content, form) if form and len(content) == struct.calcsize(form) else None
