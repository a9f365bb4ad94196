"""Reading files that others have made: texts of several encodings, and what is no file of text."""

from __future__ import annotations

import os

import pytest

from pipelines.common.reading import UnreadableError, read_text

TEXT = "a café\na „rose“\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_is_read_as_editors_write_it(tmp_path, encoding):
    (tmp_path / "text.txt").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "text.txt", 1000) == TEXT


@pytest.mark.parametrize("content", ["café".encode("latin-1"), "text".encode("utf-16")[:-1], b"\x89PNG\r\n\x1a\n", b"a" * 1001])
def test_anything_else_is_refused(tmp_path, content):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UnreadableError, match=r"text\.txt is (not a text in UTF-8|larger than)"):
        read_text(tmp_path / "text.txt", 1000)


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UnreadableError, match="is a named pipe"):
        read_text(tmp_path / "pipe.txt", 1000)
