"""What a sheet of pictures shows: labelled rows of images, such as a film strip or a grid of samples for each timestep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..common.images import Pixels


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures with one label at their left; they take several lines if they are more than fit into one."""

    label: str
    pictures: Sequence[Pixels]
    """(H, W, C) each."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """Rows of pictures of the same size, with titles above the columns."""

    rows: tuple[Row, ...]
    across: int
    """The number of pictures in a line."""
    columns: tuple[str, ...] = ()
    """A title for each picture of a line, or none."""
    caption: str = ""
    """What is shown and where it comes from: runs, seeds, samplers, fingerprints of weights."""
