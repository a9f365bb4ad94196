"""Recognising and reading logs of other software, by their content: files, and the files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ...common.command_line import describe
from ...common.paths import expanded
from ...common.reading import UnreadableError, open_regular
from . import stores, wandb_files
from .event_files import is_event_file, read_events
from .stores import mlflow_run_of, read_database, read_mlflow_run
from .terms import MOST_RUNS, ForeignLog, RawLog, in_our_terms
from .texts import MOST, read_text_log
from .wandb_files import read_wandb

READ = (
    "event files of TensorBoard, offline files and exported tables of Weights & Biases, stores of trackio and MLflow, "
    "trainer_state.json, and tables (CSV) or lines of JSON with a column of steps"
)
MOST_FILES, MOST_DEPTH = 2000, 6  # of a folder that is searched
TABLES = ("metrics.csv", "progress.csv", "log.csv", "history.csv", "metrics.jsonl", "stats.jsonl", "trainer_state.json")
DATABASES = (".db", ".sqlite", ".sqlite3")


def read_path(text: str) -> tuple[list[ForeignLog], list[str]]:
    """Return the logs in a file, or in a folder and those within it, and sentences on those that cannot be read.

    Raises:
        OSError, UnreadableError: there is none that can be read; the message says why.
    """
    path = Path(expanded(text))
    raw, problems = _read_folder(path) if path.is_dir() else ([*_read_file(path, _name_of(path))], [])
    logs = _told(raw, problems)
    if not logs:
        raise UnreadableError(problems[0] if problems else f"{path} has no log that is read here, which are: {READ}")
    return logs, problems


def read_upload(name: str, content: BinaryIO) -> list[ForeignLog]:
    """Return the logs in a file that has been uploaded.

    Raises:
        UnreadableError: it cannot be read; the message says why.
    """
    problems: list[str] = []
    logs = _told(_read_open(content, name, name), problems)
    if not logs:
        raise UnreadableError(problems[0])
    return logs


def stamp(text: str) -> tuple[object, ...]:
    """Return what changes when the files at a path do: their sizes and times of change."""
    path = Path(expanded(text))
    files = _found(path) if path.is_dir() else [path, path.with_name(f"{path.name}-wal")]
    stamps = []
    for file in files:
        with suppress(OSError):
            status = file.stat()
            stamps.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def _told(raw: Sequence[RawLog], problems: list[str]) -> list[ForeignLog]:
    """Return logs in our terms; what is wrong with the others is added to the problems."""
    logs = []
    for log in raw:
        try:
            logs.append(in_our_terms(log))
        except UnreadableError as error:
            problems.append(str(error))
    return logs


def _read_file(path: Path, name: str) -> list[RawLog]:
    with open_regular(path) as file:
        if file.read(len(stores.MARK)) == stores.MARK:
            return read_database(path)
        return _read_open(file, name, path.name)


def _read_open(file: BinaryIO, name: str, file_name: str) -> list[RawLog]:
    """Return the logs in a file that is no database."""
    file.seek(0)
    start = file.read(16)
    if start == stores.MARK:
        raise UnreadableError(f"{file_name} is a database: give its path instead")
    if start.startswith(wandb_files.MARK):
        log = RawLog(name, "Weights & Biases")
        read_wandb(file, log)
        return [log]
    if is_event_file(start) or "tfevents" in file_name:
        log = RawLog(name, "TensorBoard")
        read_events(file, log)
        return [log]
    file.seek(0)
    content = file.read(MOST + 1)
    if len(content) > MOST:
        raise UnreadableError(f"{file_name} is larger than {MOST >> 20} MiB, the limit for a text")
    try:
        return read_text_log(content, name, file_name)
    except UnreadableError as error:
        if b"\0" not in content:
            raise
        raise UnreadableError(f"{file_name} is no log that is read here, which are: {READ}") from error


def _name_of(file: Path) -> str:
    """Return the name of a log that has none of its own: the file's, or its folder's if files of all runs are called alike."""
    folder = file.absolute().parent
    if file.name in TABLES or "tfevents" in file.name:
        return folder.parent.name if folder.name.startswith("checkpoint-") else folder.name
    return file.name


def _read_folder(folder: Path) -> tuple[list[RawLog], list[str]]:
    """Return the runs in a folder, whose names are those of their folders, and sentences on what cannot be read."""
    groups: dict[Path, list[Path]] = {}
    for file in _found(folder):
        groups.setdefault(_run_of(file), []).append(file)
    logs, problems = [], []
    for run, files in groups.items():
        name = run.relative_to(folder.parent).as_posix() if run != folder else folder.absolute().name
        try:
            logs += _read_group(files, name) if mlflow_run_of(files[0]) is None else [read_mlflow_run(run, files)]
        except (UnreadableError, OSError) as error:
            problems.append(describe(error))
    with_values = [log for log in logs if log.values]
    if len(with_values) > MOST_RUNS:
        problems.append(f"{folder} has {len(with_values)} logs, of which {MOST_RUNS} are read: give the path of one of them")
    return with_values[:MOST_RUNS], problems


def _run_of(file: Path) -> Path:
    """Return the folder of the run that a file belongs to; the file itself if that may hold several."""
    if (run := mlflow_run_of(file)) is not None:
        return run
    if file.suffix in (*DATABASES, ".wandb"):
        return file
    return file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent


def _read_group(files: Sequence[Path], name: str) -> list[RawLog]:
    """Return the logs in the files of a run: event files together, as each start of a program begins another one; or else the
    longest file, since each saved state of a Trainer contains the log up to it.
    """
    events = [file for file in files if "tfevents" in file.name]
    if not events:
        return _read_file(max(files, key=lambda file: file.stat().st_size), name)
    log = RawLog(name, "TensorBoard")
    for path in events:
        with open_regular(path) as file:
            read_events(file, log)
    return [log]


def _found(folder: Path) -> list[Path]:
    """Return the files in a folder, and in those within it, that may be logs."""
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    seen = 0
    for place, folders, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        if depth >= MOST_DEPTH:
            folders.clear()
        folders.sort()
        for name in sorted(files):
            seen += 1
            if seen > MOST_FILES:
                return
            file = Path(place, name)
            known = name in TABLES or "tfevents" in name or file.suffix in (*DATABASES, ".wandb")
            if known or mlflow_run_of(file) is not None:
                yield file
