"""Reading metrics.jsonl, also while it grows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PIECE = 1 << 24  # bytes read at a time, about; parsing takes a few times the memory of the text


class MetricsLog:
    """A file of one JSON object a line; :meth:`read` parses only what was appended since the last time.

    A resume cuts the log back and writes it anew: where the last line that was read is no longer in its place, the whole file
    is read again. Several threads may read.
    """

    def __init__(self, path: Path) -> None:
        import pandas as pd

        self.path = path
        self._lock = Lock()
        self._rows, self._last_line, self._end = pd.DataFrame(), b"", 0

    def read(self) -> pd.DataFrame:
        """One row per line so far; torn or foreign lines are skipped.

        Raises:
            OSError: the file is gone or cannot be read.
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
    """``text`` up to its last line end: what follows may still be being written."""
    return text[: text.rfind(b"\n") + 1]


def parse_lines(text: bytes) -> pd.DataFrame:
    """One row per JSON object; lines that are none are skipped."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import json as arrow_json

    try:
        return arrow_json.read_json(io.BytesIO(text)).to_pandas().dropna(how="all")  # a line "null" is a row of nothing
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # a line that is no JSON object, or a NaN
        return pd.DataFrame(list(readable_lines(text)))


def readable_lines(text: bytes) -> Iterator[dict[str, Any]]:
    """The lines of ``text`` that are JSON objects."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
