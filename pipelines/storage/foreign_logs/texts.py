"""Logs that are text: tables (CSV), also those that W&B and TensorBoard export, JSON and lines of JSON, trainer_state.json."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...common.json_files import parse_json
from ...common.reading import MEGABYTE, UnreadableError, decode_text
from .terms import CLOCK, MOST_RUNS, QUANTITIES, SECONDS, STEPS, RawLog, plain

MOST = 48 * MEGABYTE  # bytes of a text
MOST_DEPTH = 3  # of objects within a line
TENSORBOARD = ("wall_time", "step", "value")  # the columns of a table that TensorBoard's page exports
TENSORBOARD_NAME = re.compile(r"(?:run-(?P<run>.+)-)?tag-(?P<tag>.+)\.csv", re.IGNORECASE)
EXTREMES = re.compile(r"__(MIN|MAX)$")  # of what W&B's page has averaged
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_text_log(content: bytes, name: str, file: str) -> list[RawLog]:
    """Return the logs in a text.

    Args:
        name: of the run, unless the text has one.
        file: the file's name, for messages and for tables that say only there what they are of.

    Raises:
        UnreadableError: it is not such a text.
    """
    text = decode_text(content, file)
    start = text.lstrip()[:1]
    if not start:
        raise UnreadableError(f"{file} is empty")
    return _read_json(text, name, file) if start in "{[" else _read_table(text, name, file)


def _read_json(text: str, name: str, file: str) -> list[RawLog]:
    """Return the log in JSON: trainer_state.json, a list of objects, or an object per line."""
    notes: list[str] = []
    try:
        value = parse_json(text, file, MOST)
    except UnreadableError:
        if "\n" not in text.strip():
            raise
        value, kind = _lines(text, notes), "lines of JSON"
    else:
        kind = "JSON"
    if isinstance(value, dict) and isinstance(value.get("log_history"), list):
        value, kind = value["log_history"], "Trainer of transformers"
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnreadableError(f"{file} is no log: its JSON is neither a list of objects nor the state of a Trainer")
    log = RawLog(name, kind, notes=notes)
    for number, row in enumerate(rows):
        log.add_row(dict(numbers_in(row)), number)
    return [log]


def _lines(text: str, notes: list[str]) -> list[Any]:
    """Return the values of lines of JSON; those that are damaged, such as a last one that is not whole, are noted."""
    values, damaged = [], 0
    for line in text.split("\n"):
        if line.strip():
            try:
                values.append(parse_json(line))
            except UnreadableError:
                damaged += 1
    if damaged > len(values):
        raise UnreadableError("it is neither JSON nor lines of JSON")
    if damaged:
        notes.append(f"{damaged:,} damaged {'line is' if damaged == 1 else 'lines are'} skipped")
    return values


def numbers_in(row: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield the numbers of an object by name, also those of objects within it: their names are joined with /."""
    for name, value in row.items():
        if isinstance(value, dict) and depth < MOST_DEPTH and "_type" not in value:  # those with a type are pictures and tables
            yield from numbers_in(value, f"{before}{name}/", depth + 1)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield before + name, float(value)
        elif isinstance(value, str) and value in NOT_FINITE:
            yield before + name, NOT_FINITE[value]


def _read_table(text: str, name: str, file: str) -> list[RawLog]:
    """Return the logs in a table with a line of names."""
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = csv.reader(text.split("\n"), delimiter=separator)
        header = [column.strip() for column in next(lines, [])]
        rows = [_numbers(line) for line in lines if line]
    except csv.Error as error:
        raise UnreadableError(f"{file} is not a table of comma-separated values: {error}") from error
    names = [plain(column) for column in header]
    if len(header) < 2 or not rows:
        raise UnreadableError(
            f"{file} is no log: neither JSON, nor a table with a line of names, nor another file that is read"
        )
    if tuple(names) == TENSORBOARD and (found := TENSORBOARD_NAME.fullmatch(file)):
        header[2] = found["tag"]
        return [_log(header, rows, found["run"] or name, "table of TensorBoard")]
    if runs := _of_runs(header):
        shared = [index for index, column in enumerate(names) if column in (*STEPS, *SECONDS, *CLOCK)]
        logs = []
        for run, columns in list(runs.items())[:MOST_RUNS]:
            named = {**{index: header[index] for index in shared}, **columns}
            chosen = [[row[index] if index < len(row) else None for index in named] for row in rows]
            logs.append(_log(list(named.values()), chosen, run, "table of Weights & Biases"))
        return logs
    return [_log(header, rows, name, "table")]


def _of_runs(header: Sequence[str]) -> dict[str, dict[int, str]]:
    """Return the columns of each run in a table of W&B's page, which are called "run - quantity"; none in other tables."""
    runs: dict[str, dict[int, str]] = {}
    known = {name for names in QUANTITIES.values() for name in names}
    for index, column in enumerate(header):
        run, divider, quantity = column.rpartition(" - ")
        if divider and not EXTREMES.search(quantity) and plain(quantity) in known:
            runs.setdefault(run, {})[index] = quantity
    return runs


def _numbers(line: Iterable[str]) -> list[float | None]:
    return [_number(cell) for cell in line]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _log(names: Sequence[str], rows: Sequence[Sequence[float | None]], run: str, kind: str) -> RawLog:
    log = RawLog(run, kind)
    for number, row in enumerate(rows):
        log.add_row({name: value for name, value in zip(names, row, strict=False) if value is not None}, number)
    return log
