"""Writing files and folders whole or not at all, and the project's folder."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..common.reading import UnreadableError, open_regular
from ..common.temporary import is_leftover, temporary_path
from .disk import refuse_unwritable

ROOT = Path(__file__).resolve().parents[2]  # the project's folder
CLASSIFIERS = ROOT / "classifiers"  # shipped classifiers


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``; if the block succeeds, it is flushed to disk and replaces ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write does not name its file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def refuse_taken(folder: Path) -> None:
    """Raise ValueError if a folder to be written exists and is not empty, or cannot be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} already exists: choose another folder, or remove it first")
    refuse_unwritable(folder, "choose another folder")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder of the same name; if the block succeeds, it becomes ``folder``, and otherwise nothing remains.

    Raises:
        ValueError: ``folder`` exists and is not empty.
    """
    folder = folder.resolve()
    refuse_taken(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}")
    for abandoned in folder.parent.glob(f"{glob.escape(hidden.name)}.tmp-*"):
        if is_leftover(abandoned) and not abandoned.is_symlink():
            shutil.rmtree(abandoned, ignore_errors=True)
    temporary = temporary_path(hidden)
    made = temporary / folder.name
    try:
        made.mkdir(parents=True)
        yield made
        made.replace(folder)
    except OSError as error:
        error.filename = str(error.filename or folder).replace(str(made), str(folder))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_file(path: Path) -> bool:
    """Return whether there is a regular file that can be reached, also where ``Path.is_file`` raises: in a closed folder."""
    try:
        return path.is_file()
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def tail(path: Path, most: int = 2**16) -> bytes:
    """Return the last ``most`` bytes of a file, from the start of a line; empty if there is no file."""
    try:
        with open_regular(path) as file:
            start = max(0, file.seek(0, os.SEEK_END) - most)
            file.seek(start)
            text = file.read()
    except (OSError, UnreadableError):
        return b""
    return re.sub(rb"\A[^\r\n]*[\r\n]", b"", text) if start else text
