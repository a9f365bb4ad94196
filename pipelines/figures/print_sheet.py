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
LABEL_GAP, EDGE = 0.06, 0.03  # inches beside labels
DOTS_PER_INCH = 600  # as fine as printers are, so that pixels of pictures look equally large


def draw_sheet(figure: Figure, sheet: Sheet, width: float, below: float) -> None:
    """Draw a sheet on an empty figure and set the figure's size.

    Args:
        width: of the figure, in inches.
        below: inches to leave free below the sheet.
    """
    labels = [fitting(row.label, SMALL, LABELS * width) for row in sheet.rows]
    left = max((inches(label, SMALL) + LABEL_GAP + EDGE for label in labels if label), default=0.0)
    side = (width - left - GAP * (sheet.across - 1)) / sheet.across
    step = side + GAP
    cells = [(side, side * row.pictures[0].shape[0] / row.pictures[0].shape[1]) for row in sheet.rows]
    lines = [math.ceil(len(row.pictures) / sheet.across) for row in sheet.rows]
    top = TITLE * bool(sheet.columns)
    high = sum(count * (cell[1] + GAP) for count, cell in zip(lines, cells, strict=True))
    height = top + high + BETWEEN * (len(lines) - 1) + below
    figure.set_size_inches(width, math.ceil(height * DOTS_PER_INCH) / DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(figure.get_figheight(), 0))
    axes.set_axis_off()
    end = 0.0  # of the last title
    for column, title in enumerate(sheet.columns):
        middle, half = left + column * step + side / 2, inches(title, SMALL) / 2
        if middle - half >= end:
            axes.text(middle, top - 0.03, as_printed(title), fontsize=SMALL, ha="center", va="baseline")
            end = middle + half + BETWEEN
    for label, row, cell, count in zip(labels, sheet.rows, cells, lines, strict=True):
        middle = top + (count * (cell[1] + GAP) - GAP) / 2
        axes.text(left - LABEL_GAP, middle, as_printed(label), fontsize=SMALL, ha="right", va="center")
        for number, picture in enumerate(row.pictures):
            _place(axes, picture, left + number % sheet.across * step, top + number // sheet.across * (cell[1] + GAP), cell)
        top += count * (cell[1] + GAP) + BETWEEN


def _place(axes: Axes, picture: Pixels, left: float, top: float, cell: tuple[float, float]) -> None:
    """Place a picture at dots, enlarged by a whole factor first, so that no program blurs its pixels."""
    left, right, bottom, top = (
        round(edge * DOTS_PER_INCH) / DOTS_PER_INCH for edge in (left, left + cell[0], top + cell[1], top)
    )
    factor = max(1, round(cell[0] * DOTS_PER_INCH / picture.shape[1]))
    coloured = np.broadcast_to(picture, (*picture.shape[:2], 3))
    axes.imshow(
        enlarge(coloured, factor), extent=(left, right, bottom, top), interpolation="none", aspect="auto", resample=False
    )
