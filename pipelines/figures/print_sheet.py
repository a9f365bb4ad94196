"""Drawing a sheet of pictures with Matplotlib."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.images import Pixels, enlarge
from .print_text import SMALL, as_printed, fitting, inches
from .sheet import Sheet

GAP = 0.02  # inches between pictures
BETWEEN = 0.05  # inches between rows
TITLE = 0.14  # inches of a line of titles
LABELS = 0.3  # at most: share of the width


def draw_sheet(figure: Figure, sheet: Sheet, width: float, below: float) -> None:
    """Draw a sheet on an empty figure and set the figure's size.

    Every pixel of a picture covers a whole number of dots, unless pictures are too large for that: so no program blurs them.

    Args:
        width: of the figure, in inches.
        below: inches to leave free below the sheet.
    """
    dots = figure.dpi
    labels = [fitting(row.label, SMALL, LABELS * width) for row in sheet.rows]
    left = max((inches(label, SMALL) + 0.06 for label in labels if label), default=0.0)
    high, wide = sheet.rows[0].pictures[0].shape[:2]
    room = (width - left - GAP * (sheet.across - 1)) / sheet.across
    factor = math.floor(room * dots / wide)
    cell = (factor * wide / dots, factor * high / dots) if factor else (room, room * high / wide)
    lines = [math.ceil(len(row.pictures) / sheet.across) for row in sheet.rows]
    titles = TITLE * bool(sheet.columns)
    height = titles + sum(lines) * (cell[1] + GAP) + BETWEEN * (len(lines) - 1) + below + 0.02
    figure.set_size_inches(width, math.ceil(height * dots) / dots)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(figure.get_figheight(), 0))
    axes.set_axis_off()
    for column, title in enumerate(sheet.columns):
        middle = left + column * (cell[0] + GAP) + cell[0] / 2
        shown = as_printed(fitting(title, SMALL, cell[0] + GAP))
        axes.text(middle, titles - 0.03, shown, fontsize=SMALL, ha="center", va="baseline")
    top = titles
    for label, row, count in zip(labels, sheet.rows, lines, strict=True):
        middle = top + (count * (cell[1] + GAP) - GAP) / 2
        axes.text(left - 0.06, middle, as_printed(label), fontsize=SMALL, ha="right", va="center")
        for number, picture in enumerate(row.pictures):
            corner = left + number % sheet.across * (cell[0] + GAP), top + number // sheet.across * (cell[1] + GAP)
            _place(axes, picture, max(1, factor), corner, cell)
        top += count * (cell[1] + GAP) + BETWEEN


def _place(axes: Axes, picture: Pixels, factor: int, corner: tuple[float, float], cell: tuple[float, float]) -> None:
    """Place an enlarged picture with its upper left corner at a dot."""
    dots = axes.get_figure(root=True).dpi
    x, y = (round(value * dots) / dots for value in corner)
    coloured = np.broadcast_to(picture, (*picture.shape[:2], 3))
    extent = (x, x + cell[0], y + cell[1], y)
    axes.imshow(enlarge(coloured, factor), extent=extent, interpolation="none", aspect="auto", resample=False)
