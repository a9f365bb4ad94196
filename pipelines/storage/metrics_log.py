"""Reading metrics.jsonl, even while it grows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..common.json_files import parse_json

if TYPE_CHECKING:
    import pandas as pd

PIECE = 1 << 24  # approximate bytes read at a time; parsing takes a few times the memory of the text


class MetricsLog:
    """A file with one JSON object per line; :meth:`read` parses only what was appended since the last call.

    A resumed run truncates the log and writes it again: if the last line read is no longer in its place, the whole file is read
    again. Several threads may read.
    """

    def __init__(self, path: Path) -> None:
        import pandas as pd

        self.path = path
        self._lock = Lock()
        self._rows, self._last_line, self._end = pd.DataFrame(), b"", 0

    def read(self) -> pd.DataFrame:
        """Return one row per line so far, skipping torn or foreign lines.

        Raises:
            OSError: the file is missing or cannot be read.
        """
        import pandas as pd

        with self._lock, self.path.open("rb") as file:
            file.seek(self._end - len(self._last_line))
            if file.read(len(self._last_line)) != self._last_line:
                self._rows, self._last_line, self._end = pd.DataFrame(), b"", 0
                file.seek(0)
            pieces = [self._rows]
            while whole := _whole_lines(file.read(PIECE) + file.readline()):
                pieces.append(parse_lines(whole))
                self._last_line = whole[whole.rfind(b"\n", 0, -1) + 1 :]
                self._end += len(whole)
                file.seek(self._end)
            if len(pieces) > 1:
                self._rows = pd.concat(pieces, ignore_index=True)
            return self._rows.copy()


def _whole_lines(text: bytes) -> bytes:
    """Return ``text`` up to its last line end; what follows may be incomplete."""
    return text[: text.rfind(b"\n") + 1]


def parse_lines(text: bytes) -> pd.DataFrame:
    """Return one row per JSON object, skipping other lines."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import json as arrow_json

    try:
        return arrow_json.read_json(io.BytesIO(text)).to_pandas().dropna(how="all")  # a line "null" becomes an empty row
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a line that is not a JSON object, or a NaN
        return pd.DataFrame(list(readable_lines(text)))


def readable_lines(text: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines of ``text`` that are JSON objects."""
    for line in text.splitlines():
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
