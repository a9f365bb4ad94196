"""JSON that nobody vouches for: any text is a value or one sentence, and nothing that is no file is waited for."""

import json
import math
import os
import random
import socket

import pytest

from pipelines.common import json_files
from pipelines.common.json_files import parse_json, read_json
from pipelines.common.reading import UnreadableError, open_regular

LIMITS = {
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested and closed": b"[" * 5000 + b"]" * 5000,
    "nesting behind a string of closing brackets": b'["' + b"]" * 5000 + b'",' + b"[" * 5000,
    "a number of 5000 digits": b"1" * 5000,
    "a number of 65 bits": b'{"a": [1, {"b": 18446744073709551616}]}',
    "a number of minus 65 bits": b"-9223372036854775809",
    "half a pair of surrogates": rb'"\ud800"',
    "no UTF-8": b'"\xff"',
    "zeros": b"\x00" * 100,
    "nothing": b"",
    "two values": b"{} {}",
    "a comment": b"// {}",
}


@pytest.mark.parametrize("text", LIMITS.values(), ids=LIMITS)
def test_what_is_beyond_the_limits_is_one_sentence(text):
    with pytest.raises(UnreadableError, match=r"^config") as refusal:
        parse_json(text, "config")
    assert len(str(refusal.value)) < 200
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [b"", b" \n"])
def test_an_empty_file_is_called_empty(text):
    with pytest.raises(UnreadableError, match=r"^config is empty$"):
        parse_json(text, "config")


def test_values_are_those_of_pythons_reader():
    value = {"a": [1, -2.5, None, True, "é\U0001f600\x00"], "b": {"": 2**64 - 1}, "c": -(2**63), "d": [[]]}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), "\ufeff" + json.dumps(value)):
        assert parse_json(text) == parse_json(text.encode()) == value
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    assert parse_json("[NaN, Infinity, -Infinity, 1e999]") == pytest.approx(
        [math.nan, math.inf, -math.inf, math.inf], nan_ok=True
    )


def test_any_damage_is_a_value_or_a_sentence():
    """Bytes removed, doubled, changed and inserted; what Python reads with equal limits is read alike."""
    draw = random.Random(0)
    whole = json.dumps({"step": 3, "loss": [0.5, 1e-9, None], "name": 'é"\\', "deep": [[[{"a": {}}]]]}).encode()
    for _ in range(3000):
        text = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(text))
            text[place : place + draw.randint(0, 3)] = draw.choice(
                [b"", b"[", b"]", b'"', b"\\u", b"\xff", b"9" * 30, b"-", b"1e5"]
            )
        try:
            value = parse_json(bytes(text))
        except UnreadableError:
            continue
        assert value == json.loads(bytes(text))


def test_a_large_text_is_not_parsed(monkeypatch, tmp_path):
    monkeypatch.setattr(json_files, "MOST", 100)
    assert parse_json("[" + " " * 98 + "]") == []
    (tmp_path / "large.json").write_text("[" + " " * 99 + "]")
    for read in (lambda: parse_json("[" + " " * 99 + "]"), lambda: read_json(tmp_path / "large.json")):
        with pytest.raises(UnreadableError, match="MiB"):
            read()


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to("true.json")
    (tmp_path / "true.json").write_text("true")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
        for name in ("pipe", "folder", "device"):
            with pytest.raises(UnreadableError, match=f"{name} is a .*, not a regular file"):
                read_json(tmp_path / name)
        for name in ("loop", "missing", "socket", "true.json/inside"):
            with pytest.raises(OSError, match=name):
                open_regular(tmp_path / name)
    assert read_json(tmp_path / "link") is True
