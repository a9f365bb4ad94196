"""Paths as people type them: ~ is the home folder, and a path that is kept means the same from every working directory."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str) -> str:
    """Return a path with ~ or ~user at its start replaced by that home folder; unchanged if there is no such user."""
    return os.path.expanduser(path)  # noqa: PTH111  (Path.expanduser raises RuntimeError for an unknown user)


def settled(path: str | Path) -> str:
    """Return the absolute path of a file or folder. Links keep their names; only before ``..`` are they followed."""
    whole = expanded(str(path))
    return os.path.realpath(whole) if ".." in Path(whole).parts else os.path.abspath(whole)  # noqa: PTH100


def is_weights(path: str | Path) -> bool:
    """Return whether a path is named as a file of weights is, in any case."""
    return Path(path).suffix.lower() == ".safetensors"


def folder_in(variable: str) -> Path | None:
    """Return the absolute path of the folder that an environment variable names; None if it is not set, or empty."""
    named = os.environ.get(variable, "")
    return Path(settled(named)) if named else None
