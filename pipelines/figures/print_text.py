"""Text on paper: its width, its shortening and its lines."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from ..common.text import one_line

SMALL, NORMAL, CAPTION = 7.0, 8.0, 7.0  # points; journals want at least 7
LINE_SPACING = 1.25
_MEASURED_AT = 720  # dots per inch


def as_printed(text: str) -> str:
    """Return text as one line in which Matplotlib finds no formula."""
    return one_line(text).replace("$", r"\$")


@lru_cache(maxsize=4096)
def inches(text: str, size: float) -> float:
    """Return the width of a line of text."""
    renderer = RendererAgg(1, 1, _MEASURED_AT)
    return renderer.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0] / _MEASURED_AT


def fitting(text: str, size: float, width: float) -> str:
    """Return text, shortened in its middle if it is wider than ``width``, since names of runs often differ at the end."""
    text = one_line(text)
    kept = len(text)
    short = text
    while inches(short, size) > width and kept > 2:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def small_print(caption: str, width: float) -> list[str]:
    """Break a caption into lines of at most ``width`` inches."""
    lines: list[str] = []
    for word in one_line(caption, 2000).split():
        word = fitting(word, CAPTION, width - 0.04)
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and inches(longer, CAPTION) <= width - 0.04:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line.replace("$", r"\$") for line in lines]
