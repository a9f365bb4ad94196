"""The data report: what was found in a dataset, what of it is used, and why the rest is not.

It is made by :mod:`pipelines.datasets.survey`, worded by :mod:`pipelines.datasets.report_text`, and kept in each run's folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..common.json_files import read_json
from ..common.settings import settings_from
from .files.inventory import Unused

MOST_PATHS = 50_000  # kept in all: a report stays readable, and below the limit of JSON files

Size = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Group:
    """Files that are not used for the same reason.

    Attributes:
        reason: why they are not used.
        count: number of them.
        paths: their names; if there are very many, only the first.
    """

    reason: str
    count: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class SplitReport:
    """A split of the dataset.

    Attributes:
        name: its name.
        origin: where it comes from, in words.
        pictures: number of its pictures, readable or not.
        trained, held_out: how many of them are trained on, and held out for validation.
    """

    name: str
    origin: str
    pictures: int
    trained: int = 0
    held_out: int = 0


@dataclass(frozen=True)
class ClassReport:
    """The classes of the training split.

    Attributes:
        column: the column that they come from.
        counts: number of pictures of each.
        without: number of pictures without a class.
    """

    column: str
    counts: dict[str, int]
    without: int


@dataclass(frozen=True)
class CaptionReport:
    """The captions of the training split, as a text-conditional network gets them.

    Attributes:
        source: the column that they come from, or the classes, in words.
        pictures, without: number of pictures with and without a caption.
        longest: the longest caption.
        examples: some captions.
        limit: number of tokens that the text encoder reads, if it is known.
        too_long: number of pictures whose caption is longer, if the limit is known.
    """

    source: str
    pictures: int
    without: int
    longest: str = ""
    examples: tuple[str, ...] = ()
    limit: int | None = None
    too_long: int | None = None


@dataclass(frozen=True)
class PictureReport:
    """The pictures that are used, as they are in their files.

    Attributes:
        smallest, largest, commonest: sizes, by the number of pixels and by the number of pictures.
        of_commonest: number of pictures of the commonest size.
        enlarged, reduced: number of pictures that become larger or smaller to fit the network.
        lost: mean share of a picture that is cropped away or, padded, of the square that stays black.
        most_lost: the largest such share.
        colours, depths, formats: number of pictures of each kind.
    """

    smallest: Size
    largest: Size
    commonest: Size
    of_commonest: int
    enlarged: int
    reduced: int
    lost: float
    most_lost: float
    colours: dict[str, int]
    depths: dict[str, int]
    formats: dict[str, int]


@dataclass(frozen=True)
class CopyReport:
    """Pictures that are in the data more than once.

    Attributes:
        trained, held_out: number of pictures among each that have the same pixels as an earlier one.
        across, near: number of held-out pictures that are, or nearly are, training pictures too.
    """

    trained: int
    held_out: int
    across: int
    near: int


@dataclass(frozen=True)
class DataReport:
    """What was found in a dataset, and what becomes of it in training.

    Attributes:
        data: the dataset as it was named, and ``place`` its folder or hub id.
        image_size, fit: how the pictures are made to fit the network.
        inside: whether the pictures lie inside files, in archives or tables, instead of being files.
        found: number of files, members of archives and rows of tables.
        described: number of those that describe or contain the pictures.
        unused: those that are not used, by reason, the most frequent first.
        splits: all splits, used or not.
        classes, captions: None if there are none.
        pictures, copies: None if the pictures have not been decoded.
        notes: what else was decided, a sentence each.
        problem: why the data cannot be trained on; empty if they can.
        about: one sentence on the data, for the model card.
    """

    data: str
    place: str
    image_size: int
    fit: Literal["crop", "pad"]
    inside: bool
    found: int
    described: int
    unused: tuple[Group, ...]
    splits: tuple[SplitReport, ...]
    classes: ClassReport | None = None
    captions: CaptionReport | None = None
    pictures: PictureReport | None = None
    copies: CopyReport | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    about: str = ""

    @property
    def trained(self) -> int:
        """Number of pictures that are trained on."""
        return sum(split.trained for split in self.splits)

    @property
    def held_out(self) -> int:
        """Number of pictures that are held out for validation."""
        return sum(split.held_out for split in self.splits)

    @property
    def left_out(self) -> int:
        """Number of files that are not used."""
        return sum(group.count for group in self.unused)

    def to_json(self) -> str:
        """Return the report as JSON, from which :func:`read_report` restores it."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def read_report(path: Path) -> DataReport:
    """Read the report that a run keeps.

    Raises:
        OSError, ValueError: there is none, or it is damaged.
    """
    return settings_from(DataReport, read_json(path), str(path))


def grouped(unused: Iterable[Unused]) -> tuple[Group, ...]:
    """Return files that are not used by reason, the most frequent reason first."""
    paths: dict[str, list[str]] = {}
    for each in unused:
        paths.setdefault(each.reason, []).append(os.fsencode(each.path).decode(errors="replace"))  # names need not be text
    groups, left = [], MOST_PATHS
    for reason, own in sorted(paths.items(), key=lambda item: -len(item[1])):
        groups.append(Group(reason, len(own), tuple(own[:left])))
        left -= len(groups[-1].paths)
    return tuple(groups)
