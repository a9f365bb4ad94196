"""Paths as people type them: ~ is the home folder, and a path means the same place from every working directory."""

from __future__ import annotations

import os


def expanded(path: str) -> str:
    """Return a path with ~ or ~user at its start replaced by that home folder; unchanged if there is no such user."""
    return os.path.expanduser(path)  # noqa: PTH111  (Path.expanduser raises RuntimeError for an unknown user)
