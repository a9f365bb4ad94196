"""The runs from the hub that stand in the dashboard's lists: a file of their ids, beside the user's own runs."""

from __future__ import annotations

import json
from pathlib import Path

from ..common.json_files import read_json
from ..common.public import is_public
from .files import write_text
from .hub_id import HubId
from .runs import usual_roots

LIST = "hub.json"  # in the user's folder of runs


def _list() -> Path:
    *_, own = usual_roots()
    return own / LIST


def added() -> list[HubId]:
    """Return the ids of the added runs, each with its commit, the newest last; none on a public dashboard.

    Raises:
        ValueError, OSError: the list cannot be read.
    """
    if is_public():
        return []
    try:
        ids = read_json(_list())
    except (FileNotFoundError, NotADirectoryError):  # where there are no runs either, which is said elsewhere
        return []
    if not isinstance(ids, list) or not all(isinstance(text, str) for text in ids):
        raise ValueError(f"{_list()} is damaged: it should be a list of ids of runs on the hub; remove it, and add them again")
    return [hub for text in ids if (hub := HubId.parse(text)) is not None and hub.is_fixed]


def add(hub: HubId) -> None:
    """Add a run with its commit to the list; another commit of the same run is replaced."""
    _change([hub], hub)


def remove(hub: HubId) -> None:
    """Remove a run from the list; its files stay in the hub's cache."""
    _change([], hub)


def _change(new: list[HubId], old: HubId) -> None:
    from filelock import FileLock  # whose import takes a tenth of Home's

    _list().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_list().with_suffix(".lock"), timeout=30):
        kept = [hub for hub in added() if hub.title != old.title]
        write_text(_list(), json.dumps([str(hub) for hub in kept + new], indent=1) + "\n")
