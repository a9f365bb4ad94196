"""What a dashboard that strangers may open allows: the mode of ``NOISESCOPE_PUBLIC=1``, and its bounds.

A public dashboard shows the published runs and generates images with them, each visitor and all of them together within
:class:`Bounds`. It does not train, evaluate, download, delete or read what an address names, and tells nothing of its machine.
Whoever draws or computes asks here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from .reading import MEGABYTE
from .text import shorten

VARIABLE = "NOISESCOPE_PUBLIC"
ROOT = Path(__file__).resolve().parents[2]
ABSOLUTE = re.compile(r"(?<![\w.:/])(?:/[^\s/'\"“”<>,;:()]+)+/?")


@dataclass(frozen=True)
class Bounds:
    """What visitors of a public dashboard may ask for. The variable NOISESCOPE_PUBLIC_CALLS sets ``calls``, and so on."""

    calls: int = 20_000
    """Network calls of one request, counted for each image or latents of 32×32; larger ones count as several."""
    waiting: int = 2
    """Requests of one visitor that wait or are computed."""
    queue: int = 12
    """Requests of all visitors that wait or are computed."""
    memory: int = 1024
    """MiB of the results that all visitors together look at."""
    upload: int = 8
    """MiB of a picture file."""
    pixels: int = 16
    """Millions of pixels of a picture."""

    @property
    def picture_bytes(self) -> int:
        """Bytes of a picture file."""
        return self.upload * MEGABYTE

    @property
    def picture_pixels(self) -> int:
        """Pixels of a picture."""
        return self.pixels * 10**6


def is_public() -> bool:
    """Return whether strangers may open this dashboard.

    Raises:
        ValueError: the variable has another value than 1, 0 or none.
    """
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE}={value!r}: give 1 for a dashboard that strangers may open, or 0")
    return value == "1"


def bounds() -> Bounds:
    """Return the bounds of a public dashboard, from the environment.

    Raises:
        ValueError: a variable is no whole number of 1 or more.
    """
    given: dict[str, int] = {}
    for field in fields(Bounds):
        variable = f"{VARIABLE}_{field.name.upper()}"
        if text := os.environ.get(variable, ""):
            if not (text.isdecimal() and len(text) < 16 and int(text)):
                raise ValueError(f"{variable}={shorten(text, 40)!r}: choose a whole number of 1 or more")
            given[field.name] = int(text)
    return Bounds(**given)


def upload_limit() -> int | None:
    """Return the MiB of a file that visitors of a public dashboard may upload; None elsewhere."""
    return bounds().upload if is_public() else None


def without_places(text: str) -> str:
    """Return a text without the folders in it on a public dashboard: of a path outside the project, the last part alone."""
    if not is_public():
        return text
    for folder in (ROOT, Path.home()):  # whose names may contain spaces
        text = text.replace(f"{folder}{os.sep}", "")
    return ABSOLUTE.sub(lambda path: Path(path[0]).name, text)
