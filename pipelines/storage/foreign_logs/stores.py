"""Stores of several runs: the databases of trackio and MLflow, and MLflow's folders."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ...common.json_files import parse_json
from ...common.reading import MEGABYTE, UnreadableError, read_text
from .terms import MOST_RUNS, RawLog
from .texts import MOST, numbers_in

MARK = b"SQLite format 3\0"
LONGEST_QUERY = 10.0  # seconds
META, METRICS = "meta.yaml", "metrics"  # of a run in MLflow's folders
RUN_NAME = re.compile(r"^run_name: *['\"]?(.*?)['\"]?$", re.MULTILINE)
# The newest runs come first. All that is asked of them is their name and an id.
TRACKIO_RUNS = "SELECT {run}, MAX(run_name) FROM metrics GROUP BY {run} ORDER BY MAX(id) DESC LIMIT {most}"
TRACKIO_ROWS = "SELECT step, timestamp, metrics FROM metrics WHERE {run} = ? ORDER BY id"
MLFLOW_RUNS = "SELECT run_uuid, name FROM runs ORDER BY start_time DESC LIMIT {most}"
MLFLOW_ROWS = "SELECT key, step, timestamp, value FROM metrics WHERE run_uuid = ? AND NOT is_nan ORDER BY timestamp"


def read_database(path: Path) -> list[RawLog]:
    """Return the newest runs in a database of trackio or MLflow, which is only read, and bounded in time and size.

    Raises:
        UnreadableError: it is damaged or of something else.
    """
    with closing(_connect(path)) as database:
        try:
            columns = {name for _, name, *_ in database.execute("PRAGMA table_info(metrics)")}
            if {"run_name", "metrics", "step"} <= columns:
                return list(_trackio(database, "run_id" if "run_id" in columns else "run_name"))
            if {"run_uuid", "key", "value", "step"} <= columns:
                return list(_mlflow(database))
        except sqlite3.Error as error:
            raise UnreadableError(f"{path} cannot be read as a database: {error}") from error
    raise UnreadableError(f"{path} is a database, but neither of trackio nor of MLflow: it has no table of metrics")


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading; one in a folder that cannot be written is taken as nobody writes it."""
    deadline = time.monotonic() + LONGEST_QUERY
    place = path.resolve().as_uri()
    try:
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            database = sqlite3.connect(f"{place}?{mode}", uri=True)
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MEGABYTE)
            database.text_factory = lambda content: content.decode(errors="replace")
            with suppress(sqlite3.OperationalError):
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("SELECT COUNT(*) FROM sqlite_master")
                return database
            database.close()
    except sqlite3.Error as error:
        raise UnreadableError(f"{path} cannot be read as a database: {error}") from error
    raise UnreadableError(f"{path} cannot be read as a database")


def _trackio(database: sqlite3.Connection, run: str) -> Iterator[RawLog]:
    for identity, name in database.execute(TRACKIO_RUNS.format(run=run, most=MOST_RUNS)).fetchall():
        log = RawLog(str(name), "trackio")
        for number, (step, timestamp, text) in enumerate(database.execute(TRACKIO_ROWS.format(run=run), (identity,))):
            with suppress(UnreadableError):
                values = parse_json(text if isinstance(text, bytes) else str(text))
                row = dict(numbers_in(values)) if isinstance(values, dict) else {}
                log.add_row(row | {"step": _as_number(step)} | _time(timestamp), number)
        yield log


def _mlflow(database: sqlite3.Connection) -> Iterator[RawLog]:
    for identity, name in database.execute(MLFLOW_RUNS.format(most=MOST_RUNS)).fetchall():
        log = RawLog(str(name), "MLflow")
        for key, step, milliseconds, value in database.execute(MLFLOW_ROWS, (identity,)):
            log.add(str(key), int(_as_number(step)), _as_number(value), _as_number(milliseconds) / 1000)
        yield log


def _as_number(value: Any) -> float:
    """Return a value of a database, which may be of any type, as a number; −1 if it is none, which is no step."""
    return float(value) if isinstance(value, (int, float)) else -1.0


def _time(text: Any) -> dict[str, float]:
    """Return a time in the ISO format as a column of a row; none if it is not in that format."""
    try:
        return {"timestamp": datetime.fromisoformat(str(text)).timestamp()}
    except (ValueError, OverflowError, OSError):
        return {}


def mlflow_run_of(file: Path) -> Path | None:
    """Return the run in MLflow's folders to whose quantities a file belongs, or None."""
    around = (folder.parent for folder in file.parents if folder.name == METRICS)
    return next((run for run in around if (run / META).is_file()), None)


def read_mlflow_run(folder: Path, files: Sequence[Path]) -> RawLog:
    """Return a run in MLflow's folders, where each quantity has a file with lines of time, value and step.

    Args:
        files: those of its quantities.

    Raises:
        OSError, UnreadableError: a file cannot be read.
    """
    named = RUN_NAME.search(read_text(folder / META, MEGABYTE))
    log = RawLog(named[1] if named and named[1] else folder.name, "MLflow")
    for file in files:
        for line in read_text(file, MOST).split("\n"):
            with suppress(ValueError, OverflowError):
                milliseconds, value, step = line.split()[:3]
                log.add(file.relative_to(folder / METRICS).as_posix(), int(step), float(value), float(milliseconds) / 1000)
    return log
