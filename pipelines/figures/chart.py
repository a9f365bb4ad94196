"""What a figure shows: panels, axes and marks. One description is drawn on screens (screen.py) and on paper (paper.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from .style import MARKING, PLAIN, Look

Numbers = Sequence[float] | NDArray[Any]
NOWHERE = (math.nan,)  # of what is in the legend only, which leaves out what has no points


@dataclass(frozen=True)
class Axis:
    """One axis of a panel."""

    title: str = ""
    log: bool = False
    fine: bool = False
    """Whether 1, 2 and 5 of each decade of a logarithmic axis are labelled."""
    limits: tuple[float, float] | None = None
    from_zero: bool = False
    ticks: Mapping[float, str] | None = None
    """The labels by position; by default the renderer chooses."""
    shown: bool = True
    """Whether the axis has labels and a grid, and can be zoomed."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Points that are joined by a line, or not. Curves of the same name share an entry of the legend."""

    x: Numbers
    y: Numbers
    name: str = ""
    look: Look = PLAIN
    line: bool = True
    points: bool = False
    """Whether every point has a marker."""
    steps: bool = False
    """Whether the line is horizontal around every point, with jumps halfway."""
    quiet: bool = False
    """Whether it accompanies another curve: without an entry in the legend and a text under the pointer."""
    x_interval: tuple[Numbers, Numbers] | None = None
    """The lower and upper ends of an interval around every x, drawn as bars."""
    y_interval: tuple[Numbers, Numbers] | None = None
    about: Sequence[str] = ()
    """A text for every point, shown under the pointer instead of its coordinates."""


@dataclass(frozen=True, eq=False)
class Band:
    """The area between two curves over the same x; it belongs to the curve of the same name."""

    x: Numbers
    low: Numbers
    high: Numbers
    name: str
    look: Look


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars at positions. Several of them in one panel are stacked."""

    at: Numbers
    length: Numbers
    name: str
    look: Look
    horizontal: bool = False
    gap: float = 0.2
    """The part of the distance between bars that is left free."""
    quiet: bool = False
    """Whether they have no entry in the legend."""


@dataclass(frozen=True, eq=False)
class Heat:
    """Positive values on a grid as colours, on the chart's :class:`ColorScale`; NaN is left blank."""

    x: Numbers
    y: Numbers
    values: NDArray[Any]
    """(y, x)"""
    name: str
    about: str
    """What a value is, under the pointer."""


@dataclass(frozen=True)
class Rule:
    """A straight line across a panel, at an x or at a y."""

    x: float | None = None
    y: float | None = None
    look: Look = MARKING
    text: str = ""
    """Its entry in the legend; in a chart without a legend, it is written beside the rule."""


@dataclass(frozen=True)
class Note:
    """Text in a panel, or above it."""

    text: str
    y: float | None = None
    """In units of the y axis; None is above the panel."""
    right: bool = False
    """Whether it ends at the right edge of the panel rather than beginning at the left."""
    line: int = 0
    """The line above the panel, counted upwards."""
    color: str = ""


Mark = Curve | Band | Bars | Heat | Rule | Note


@dataclass(frozen=True)
class Panel:
    """A pair of axes and what they show."""

    marks: tuple[Mark, ...]
    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""
    subtitle: str = ""
    height: int = 240
    """In CSS pixels, without labels."""

    @property
    def notes_above(self) -> int:
        """The number of lines that notes take above the panel."""
        return max((mark.line + 1 for mark in self.marks if isinstance(mark, Note) and mark.y is None), default=0)


@dataclass(frozen=True)
class ColorScale:
    """The logarithmic scale of the colours of all :class:`Heat` marks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    title: str


@dataclass(frozen=True)
class Chart:
    """A figure: panels row by row."""

    panels: tuple[Panel, ...]
    columns: int = 1
    shared_x: bool = False
    """Whether panels one above the other have the same x axis, zoomed into together and named below the last of them."""
    shared_y: bool = False
    legend: bool = True
    end_labels: bool = False
    """Whether the curves of the first panel are named at their ends, where there is room for it, in place of the legend."""
    key: tuple[Curve, ...] = ()
    """What the legend explains instead of every curve, where colours say one thing about them and symbols another."""
    hover: Literal["x", "x unified", "closest"] = "x"
    colors: ColorScale | None = None
    zoom: tuple[object, ...] = ()
    """What the axes show; on a screen, the user's zoom survives new data while it stays the same."""
    caption: str = ""
    """What is shown and where it comes from: runs, seeds, samplers, fingerprints of weights."""

    @property
    def entries(self) -> dict[str, Curve | Bars]:
        """What the legend explains: the first mark of each name."""
        entries: dict[str, Curve | Bars] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if isinstance(mark, (Curve, Bars)) and mark.name and not mark.quiet:
                    entries.setdefault(mark.name, mark)
        return entries

    @property
    def rows(self) -> int:
        """The number of rows of panels."""
        return -(-len(self.panels) // self.columns)
