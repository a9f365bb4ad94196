"""Damage valid files: bytes, JSON, lines of JSON, safetensors. Every choice comes from the ``random.Random`` given."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

DEPTHS = (10, 200, 1_000, 20_000, 100_000)  # of nested brackets
RAW = "\x00raw\x00"  # stands for text that JSON's own encoder would not write
ADDRESS = "http://example.invalid/pixel.png"  # nobody may ask for it
PICTURE = f"![picture]({ADDRESS})"  # which a browser fetches if it is rendered
ODD_TEXT = (
    "",
    " ",
    "\x00",
    "\ud800",
    "x" * 100_000,
    "a\nb\r\n# c",
    "```\n# out\n```",
    "$(touch pwned); `touch pwned`",
    "../../../etc/passwd",
    "/dev/zero",
    "all",
    "nan",
    PICTURE,
    f'<img src="{ADDRESS}">',
    "owner/name",
)
ODD_NUMBERS = (0, -1, 1, 2, 7, 255, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 0.5, -0.0, 5e-324, 1e308, -1e308, 1e20)
ODD_VALUES = (None, True, False, [], {}, [[]], [None], {"": None}, *ODD_NUMBERS, *ODD_TEXT)
UNQUOTED = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, "-", "nul", "0x10", "1,", "'a'")


def mutate_bytes(random: Random, data: bytes) -> bytes:
    """Flip, remove, repeat, overwrite or insert a few bytes, or cut the end off."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        start = random.randrange(len(damaged) + 1)
        length = min(random.choice((1, 2, 4, 16, 256, 4096)), len(damaged) - start)
        kind = random.choice(("flip", "overwrite", "remove", "repeat", "insert", "cut"))
        if kind == "flip" and start < len(damaged):
            damaged[start] ^= 1 << random.randrange(8)
        elif kind == "overwrite":
            damaged[start : start + length] = random.choice((b"\xff", b"\x00", b"\x80", b"\x7f")) * length
        elif kind == "remove":
            del damaged[start : start + length]
        elif kind == "repeat":
            damaged[start:start] = damaged[start : start + length] * random.choice((1, 2, 50))
        elif kind == "insert":
            damaged[start:start] = random.randbytes(random.choice((1, 4, 64)))
        elif kind == "cut" and random.random() < 0.5:
            del damaged[start:]
    return bytes(damaged)


def mutate_json(random: Random, document: bytes) -> bytes:
    """Change one place of a JSON document, or its text as a whole."""
    kind = random.choice(("place", "place", "place", "place", "nested", "unquoted", "encoding", "bytes", "whole"))
    if kind == "bytes":
        return mutate_bytes(random, document)
    if kind == "whole":
        return random.choice((b"", b"null", b"[]", b"{}", b"0", b'""', b"[" * 100_000, b'{"a":' * 20_000, b"\x00" * 4096))
    if kind == "encoding":
        encode = random.choice((_as_utf_16, _with_mark, _with_stray_bytes, _spaced))
        return encode(document)
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):  # damaged before
        return mutate_bytes(random, document)
    raw = ""
    if kind == "nested":
        depth, (opening, closing) = random.choice(DEPTHS), random.choice((("[", "]"), ('{"a":', "}")))
        raw = opening * depth + random.choice(("", "0") if opening == "[" else ("0",)) + closing * depth
    elif kind == "unquoted":
        raw = random.choice(UNQUOTED)
    changed = _at_some_place(random, value, (lambda _: RAW) if raw else lambda old: _other(random, old))
    return json.dumps(changed).replace(json.dumps(RAW), raw).encode()


def _as_utf_16(document: bytes) -> bytes:
    return document.decode("utf-8", "replace").encode("utf-16")


def _with_mark(document: bytes) -> bytes:
    return b"\xef\xbb\xbf" + document


def _with_stray_bytes(document: bytes) -> bytes:
    return document.replace(b'"', b'"\xff\xfe', 3)


def _spaced(document: bytes) -> bytes:
    return b" " * 5_000_000 + document


def _other(random: Random, old: Any) -> Any:
    """Return a value to put in the place of ``old``: often of the same type, so that it is not refused for its type alone."""
    if isinstance(old, bool | None) or random.random() < 0.4:
        return random.choice(ODD_VALUES)
    if isinstance(old, int | float):
        changes = (lambda: -old, lambda: old * 1000, lambda: old + 0.5, lambda: str(old), lambda: random.choice(ODD_NUMBERS))
        return random.choice(changes)()
    if isinstance(old, str):
        return random.choice((old + "x", old[:-1], old.upper(), f"../{old}", *ODD_TEXT))
    if isinstance(old, list):
        return random.choice(([], [*old, *old], old[:-1], old[::-1], [old], [*old, random.choice(ODD_VALUES)]))
    return random.choice(([], old | {"unknown": 1}, list(old.items()), {}))


def _at_some_place(random: Random, value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a JSON value with one of its parts changed or removed; large parts do not hide small ones."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return change(value)
    if isinstance(value, list):
        place = random.randrange(len(value))
        return [*value[:place], _at_some_place(random, value[place], change), *value[place + 1 :]]
    key = random.choice(list(value))
    if random.random() < 0.15:
        return {name: part for name, part in value.items() if name != key}
    return value | {key: _at_some_place(random, value[key], change)}


def mutate_lines(random: Random, log: bytes) -> bytes:
    """Damage one or several lines of a log of JSON objects."""
    lines = log.splitlines()
    for _ in range(random.choice((1, 1, 3, len(lines)))):
        place = random.randrange(len(lines))
        lines[place] = mutate_json(random, lines[place]).replace(b"\n", b" ")
    if random.random() < 0.1:
        random.shuffle(lines)
    return b"\n".join(lines) + random.choice((b"\n", b"", b"\n\n\r\n"))


def split_tensors(file: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a safetensors file into its header and its data."""
    (length,) = struct.unpack("<Q", file[:8])
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def join_tensors(header: bytes, data: bytes) -> bytes:
    """Join the header of a safetensors file, as JSON text, and its data."""
    return struct.pack("<Q", len(header)) + header + data


def mutate_tensors(random: Random, file: bytes) -> bytes:
    """Damage a safetensors file: its bytes, its header, the JSON in its metadata, its names, or the tensors' values."""
    header, data = split_tensors(file)
    names = [name for name in header if name != "__metadata__"]
    name = random.choice(names)
    kind = random.choice(("bytes", "length", "header", "metadata", "remove", "rename", "tensor", "values", "values", "values"))
    if kind == "bytes":
        return mutate_bytes(random, file)
    if kind == "length":
        return struct.pack("<Q", random.choice((0, 1, len(file), 2**32, 2**63, 2**64 - 1))) + file[8:]
    if kind == "header":
        return join_tensors(mutate_json(random, json.dumps(header).encode()), data)
    if kind == "metadata":
        known = header.get("__metadata__", {})
        key = random.choice([*known, "unknown"])
        told = mutate_json(random, known.get(key, "{}").encode()).decode("utf-8", "replace")
        header["__metadata__"] = known | {key: told}
    elif kind == "remove":
        for lost in random.sample(names, random.choice((1, 1, len(names) // 2, len(names)))):
            del header[lost]
    elif kind == "rename":
        header[random.choice((f"{name}.x", random.choice(ODD_TEXT), name.upper()))] = header.pop(name)
    elif kind == "tensor":
        field, values = random.choice(
            (
                ("dtype", ("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", 3)),
                ("shape", ([], [0], [1], [-1], [2**40, 2**40], [10**9], header[name]["shape"][::-1], None)),
                ("data_offsets", ([0, 0], [0, len(data)], [len(data), 0], [-1, 4], [0, 2**63], [1], None)),
            )
        )
        header[name] = header[name] | {field: random.choice(values)}
    else:
        return join_tensors(json.dumps(header).encode(), _with_other_values(random, header, data, names))
    return join_tensors(json.dumps(header).encode(), data)


def _with_other_values(random: Random, header: dict[str, Any], data: bytes, names: list[str]) -> bytes:
    """Set numbers of one or all tensors to NaN, infinity, 1e20, the largest one, or zero."""
    number = random.choice((float("nan"), float("inf"), -float("inf"), 1e20, 3e38, 0.0))
    changed = bytearray(data)
    for name in random.choice((names, [random.choice(names)])):
        begin, end = header[name]["data_offsets"]
        width = {"F32": 4, "BF16": 2}.get(header[name]["dtype"], 0)
        if width and end > begin:
            value = struct.pack("<f", number)[4 - width :]  # bfloat16 is the upper half of float32
            count = (end - begin) // width
            first = random.randrange(count)
            last = random.choice((first + 1, count))
            changed[begin + first * width : begin + last * width] = value * (last - first)
    return bytes(changed)
