"""Reading files that others have made: texts of several encodings, and what is no file of text."""

from __future__ import annotations

import os

import pytest

from pipelines.common.reading import UnreadableError, read_text

TEXT = "a café\na „rose“\n"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_text_is_read_whole_in_each_encoding_that_can_be_told(tmp_path, line_end):
    file = tmp_path / "text.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        file.write_bytes(TEXT.replace("\n", line_end).encode(encoding))
        assert read_text(file, 1000) == TEXT, encoding


@pytest.mark.parametrize(
    "content",
    [
        *("gris foncé\n".encode(encoding) for encoding in ("latin-1", "cp437")),
        "薔薇\n".encode("shift-jis"),
        "text".encode("utf-16")[:-1],
        "日本語の薔薇".encode("utf-16-le"),  # no byte of it is 0
        b"\x89PNG\r\n\x1a\n",
        b"a rose\0\na tulip\n",
        b"a rose\0a tulip\n",
        b"a" * 1001,
    ],
)
def test_anything_else_is_refused(tmp_path, content):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UnreadableError, match=r"text\.txt is (not a text in UTF-8|larger than)"):
        read_text(tmp_path / "text.txt", 1000)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnreadableError, match="is a named pipe"):
        read_text(tmp_path / "pipe.txt", 1000)
