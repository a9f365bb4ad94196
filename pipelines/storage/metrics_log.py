"""Reading metrics.jsonl, even while it grows, and whatever its lines contain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..common.json_files import parse_json
from ..common.reading import MEGABYTE, UnreadableError, open_regular
from .files import tail

if TYPE_CHECKING:
    import pandas as pd

PIECE = 4 * MEGABYTE  # of text, whose parsed lines take several times its memory until they are in the table
MOST = 48 * MEGABYTE  # bytes of a log that are read, the newest; about 300,000 lines
MOST_ROWS = 300_000
LONGEST = 2**16  # bytes of a line
MOST_COLUMNS = 100
LONGEST_NAME = 100  # characters of a quantity's name
MOST_BINS = 1000  # of a loss by timestep
MARK = 256  # bytes before the end of what was read, which show whether the log has been written anew
LARGEST = 2**53  # number of steps, images and seconds: larger ones are not exact as a float
NUMBERS = frozenset((int, float))
BY_TIMESTEP = "loss_by_timestep"


class MetricsLog:
    """A file with one JSON object per line; :meth:`read` parses only what was appended since the last call.

    A resumed run truncates the log and writes it again: if what was read last is no longer in its place, the whole file is read
    again. Several threads may read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        import pandas as pd

        self._rows, self._mark, self._end = pd.DataFrame(), b"", 0
        self._damaged, self._left_out = 0, 0

    def read(self) -> pd.DataFrame:
        """Return one row per line so far, skipping torn or foreign lines (see :func:`read_line`).

        Raises:
            OSError: the file is missing or cannot be read.
            UnreadableError: it is not a regular file.
        """
        with self._lock, open_regular(self.path) as file:
            file.seek(self._end - len(self._mark))
            if file.read(len(self._mark)) != self._mark:
                self._forget()
            size = file.seek(0, 2)
            if self._end < size - MOST:
                self._forget()
                file.seek(size - MOST)
                next(whole_lines(file), None)  # begins in the middle
                self._left_out = self._end = file.tell()
            self._append(file)
            return self._rows.copy()

    @property
    def problem(self) -> str:
        """One sentence on what the last :meth:`read` left out; empty if nothing."""
        told = []
        if self._damaged:
            told.append(f"{self._damaged:,} damaged {'line' if self._damaged == 1 else 'lines'} skipped")
        if self._left_out:
            told.append(f"only the newest {MOST // MEGABYTE} MiB are read")
        return ", ".join(told)

    def _append(self, file: BinaryIO) -> None:
        """Parse the whole lines from ``self._end`` on."""
        import pandas as pd

        file.seek(self._end)
        pieces, columns = [self._rows], set(self._rows.columns)
        for lines in _pieces(whole_lines(file)):
            rows = []
            for line, row in zip(lines, read_lines(lines), strict=True):
                if row is not None and not columns.issuperset(row):
                    if len(columns.union(row)) > MOST_COLUMNS or max(map(len, row)) > LONGEST_NAME:
                        row = None
                    else:
                        columns.update(row)
                if row is not None:
                    rows.append(row)
                else:
                    self._damaged += bool(line.strip())
            pieces.append(pd.DataFrame(rows))
            self._end = file.tell()
        if any(map(len, pieces[1:])):
            self._rows = pd.concat(pieces, ignore_index=True).tail(MOST_ROWS).reset_index(drop=True)
        file.seek(max(0, self._end - MARK))
        self._mark = file.read(min(MARK, self._end))


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a log from where the file stands; cut those longer than LONGEST.

    A line that is still being written is left for the next time.
    """
    while line := file.readline(LONGEST):
        part, start = line, 0 if line.endswith(b"\n") else file.tell() - len(line)
        while not part.endswith(b"\n"):
            part = file.readline(LONGEST)
            if not part:
                file.seek(start)
                return
        yield line


def _pieces(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lines in lists of about PIECE bytes."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size > PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def newest_lines(path: Path, most: int = 2**16) -> list[dict[str, Any]]:
    """Return the lines of a log that lie in its last ``most`` bytes; none if there is no such file."""
    return [row for line in tail(path, most).splitlines() if (row := line_or_none(line)) is not None]


def line_or_none(line: bytes) -> dict[str, Any] | None:
    """Return a line of a log, None if it is none (see :func:`read_line`)."""
    try:
        return read_line(line)
    except UnreadableError:
        return None


def read_lines(lines: Sequence[bytes]) -> Iterable[dict[str, Any] | None]:
    """Return each line of a log as :func:`line_or_none` does, all parsed at once, which is faster, if none is damaged."""
    try:
        values = parse_json(b"[" + b",".join(lines) + b"]", "the lines")
    except UnreadableError:
        values = []
    return map(_row_or_none, values) if len(values) == len(lines) else map(line_or_none, lines)


def read_line(line: bytes) -> dict[str, Any]:
    """Parse one line of a log: an object with a whole number ``step``, whose other values are numbers.

    A ``loss_by_timestep`` is an array of numbers. A null counts as missing. Losses need not be finite: a run may diverge.

    Raises:
        UnreadableError: it is something else, or larger than a line of a log can be.
    """
    return _row(parse_json(line, "the line") if len(line) < LONGEST else None)


def _row_or_none(value: Any) -> dict[str, Any] | None:
    try:
        return _row(value)
    except UnreadableError:
        return None


def _row(row: Any) -> dict[str, Any]:
    """Return the parsed value of a line as a row, or raise UnreadableError (see :func:`read_line`)."""
    if not isinstance(row, dict):
        raise UnreadableError("the line is not a JSON object, or too long")
    if None in row.values():
        row = {name: value for name, value in row.items() if value is not None}
    bins = row.pop(BY_TIMESTEP, None)
    if not NUMBERS.issuperset(map(type, row.values())):
        raise UnreadableError("the line has a value that is not a number")
    step, images, seconds = row.get("step"), row.get("images_seen", 0), row.get("seconds", 0)
    if type(step) is not int or not (0 <= step < LARGEST and 0 <= images < LARGEST and 0 <= seconds < LARGEST):
        raise UnreadableError("the line has no step, or a count or time out of range")
    if bins is not None:
        if not isinstance(bins, list) or len(bins) > MOST_BINS or not NUMBERS.issuperset(map(type, bins)):
            raise UnreadableError(f"the {BY_TIMESTEP} of the line is not an array of numbers")
        row[BY_TIMESTEP] = np.array(bins, np.float64)
    return row
