"""The fields of protobuf messages, without their description: enough for the few that are needed of logs."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ...common.reading import UnreadableError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LENGTHS = {FIXED64: 8, FIXED32: 4}


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field: a whole number, or the bytes of a fixed number, a text or a message.

    Raises:
        UnreadableError: the message is damaged.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in LENGTHS:
            length = LENGTHS[kind]
        else:
            raise UnreadableError("a damaged entry")
        if place + length > len(message):
            raise UnreadableError("a damaged entry")
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return the whole number that begins at a place, and the place after it."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
        shift += 7
    raise UnreadableError("a damaged entry")


def submessage(value: int | bytes) -> bytes:
    """Return the value of a field that is a text, a message or a fixed number.

    Raises:
        UnreadableError: it is something else.
    """
    if isinstance(value, bytes):
        return value
    raise UnreadableError("a damaged entry")


def signed(value: int | bytes) -> int:
    """Return the value of an int64 field.

    Raises:
        UnreadableError: it is something else.
    """
    if isinstance(value, bytes):
        raise UnreadableError("a damaged entry")
    return value - 2**64 if value >= 2**63 else value


def real(value: int | bytes, form: str) -> float:
    """Return the value of a field that is a fixed number: "<f" for a float, "<d" for a double.

    Raises:
        UnreadableError: it is something else.
    """
    content = submessage(value)
    if len(content) != struct.calcsize(form):
        raise UnreadableError("a damaged entry")
    return float(struct.unpack(form, content)[0])
