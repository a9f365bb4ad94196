"""What was found in a dataset: the rows of its splits, and everything that is not one, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...common.text import counted, some

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass(frozen=True)
class Unused:
    """A file, a member of an archive or a row of a table that is not used.

    Attributes:
        path: relative to the dataset's folder; "archive.zip/a/b.png" in archives, "data.parquet, row 7" in tables (rows are
            counted from 0).
        reason: why it is not used, in the same words wherever the reason is the same.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        """Return the path and the reason as one line."""
        return f"{' '.join(self.path.split())}: {self.reason}"


@dataclass(frozen=True)
class Source:
    """An opened dataset, whose images are not decoded yet.

    Attributes:
        splits: rows of images, with their classes (``label``) and captions (``text``) where there are any.
        found: number of files, members of archives and rows of tables that were looked at.
        described: number of those that describe or contain others: tables, archives, captions, a README.
        unused: those that are not used. ``found == described + len(unused) +`` all rows of the splits, always.
        origins: where each split comes from, in words.
        notes: what else was decided, a sentence each.
    """

    splits: DatasetDict
    found: int
    described: int
    unused: tuple[Unused, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def nothing_usable(name: object, found: int, described: int, unused: Sequence[Unused]) -> str:
    """Return the sentence that says why no picture of a dataset can be used, grouped by reason."""
    if not found:
        return f"no picture in {name}: the folder is empty"
    by_reason: dict[str, list[str]] = {}
    for each in unused:
        by_reason.setdefault(each.reason, []).append(each.path)
    reasons = [f"{reason}: {some(paths)}" for reason, paths in by_reason.items()]
    reasons += [f"{described:,} that only describe or contain others"] * bool(described)
    return f"no picture in {name} can be used, of {counted(found, 'file')} found ({'; '.join(reasons)})"
