"""Charts and sheets of pictures on paper: PDF, SVG and PNG, as wide as one or two columns of a journal.

Matplotlib is not thread-safe and reads some of its settings only when it writes a file. So one figure is drawn and written at a
time, with this module's settings, whatever those of the process are; and no figure is known to pyplot.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import __version__
from ..storage.files import atomic
from .chart import Chart
from .formats import WIDTHS, Kind, Width, kind_of
from .print_chart import draw_chart
from .print_sheet import DOTS_PER_INCH as SHEET_DOTS
from .print_sheet import draw_sheet
from .print_text import CAPTION, LINE_SPACING, small_print
from .sheet import Sheet

CHART_DOTS = 300  # per inch
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that figures are the same everywhere
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "image.composite_image": False,  # pictures are embedded as they are
    "path.simplify": False,
    "pdf.fonttype": 42,  # TrueType: text remains text, which editors of journals ask for
    "svg.fonttype": "none",  # text remains text
    "svg.hashsalt": "noisescope",  # the same figure is the same file
}
_ONE_AT_A_TIME = RLock()


@contextmanager
def print_settings() -> Iterator[None]:
    """Draw with this module's settings, while nobody else draws."""
    with _ONE_AT_A_TIME, matplotlib.rc_context(SETTINGS):
        yield


def on_paper(shown: Chart | Sheet, width: Width = "double", caption: bool = True) -> Figure:
    """Draw a chart or a sheet with Matplotlib.

    Args:
        width: a key of WIDTHS.
        caption: whether the caption is printed below; it is in a file's metadata in any case.
    """
    with print_settings():
        inches = WIDTHS[width]
        lines = small_print(shown.caption, inches) if caption else []
        below = len(lines) * CAPTION * LINE_SPACING / 72 + 0.06 if lines else 0.0
        figure = Figure(dpi=CHART_DOTS if isinstance(shown, Chart) else SHEET_DOTS, facecolor="white")
        if isinstance(shown, Chart):
            draw_chart(figure, shown, inches, below)
        else:
            draw_sheet(figure, shown, inches, below)
        if lines:
            place: dict[str, Any] = {"x": 0.02 / inches, "y": 0.02 / figure.get_figheight(), "ha": "left", "va": "bottom"}
            figure.text(s="\n".join(lines), **place, fontsize=CAPTION, linespacing=LINE_SPACING, color="#555555")
        return figure


def file_content(shown: Chart | Sheet, kind: Kind, width: Width = "double", caption: bool = True) -> bytes:
    """Return a chart or a sheet as a file; the same figure is the same file, byte for byte."""
    metadata, buffer = _metadata(shown.caption, kind), io.BytesIO()
    with print_settings():
        figure = on_paper(shown, width, caption)
        if kind == "png" and isinstance(shown, Chart):
            _write_with_palette(figure, buffer, metadata)
        else:
            figure.savefig(buffer, format=kind, dpi="figure", metadata=metadata)
    return buffer.getvalue()


def _write_with_palette(figure: Figure, file: BinaryIO, metadata: dict[str, str]) -> None:
    """Write a drawing, which has few colours, as a PNG with a palette of 256: a third of the size."""
    told = PngInfo()
    for key, text in metadata.items():
        told.add_text(key, text)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawing = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    drawing = drawing.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    drawing.save(file, "png", optimize=True, dpi=(figure.dpi, figure.dpi), pnginfo=told)


def write_figure(shown: Chart | Sheet, path: Path, width: Width = "double", caption: bool = True) -> None:
    """Write a chart or a sheet to a file of the kind that its name says, whole or not at all.

    Raises:
        ValueError: the name ends otherwise than in .pdf, .svg or .png.
        OSError: the file cannot be written.
    """
    content = file_content(shown, kind_of(path), width, caption)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _metadata(caption: str, kind: Kind) -> dict[str, Any]:
    """Return what a file says about itself; no date, with which no two files would be the same."""
    maker = f"Noisescope {__version__}"
    metadata: dict[Kind, dict[str, Any]] = {
        "pdf": {"Creator": maker, "Subject": caption, "CreationDate": None},
        "svg": {"Creator": maker, "Description": caption, "Date": None},
        "png": {"Software": maker, "Description": caption},
    }
    return metadata[kind]
