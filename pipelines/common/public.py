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
from typing import Annotated

from .reading import MEGABYTE
from .settings import Between, Settings, SettingsError

VARIABLE = "NOISESCOPE_PUBLIC"
ROOT = Path(__file__).resolve().parents[2]
ABSOLUTE = re.compile(r"(?<![\w.:/])(?:/[^\s/'\"“”<>,;:()]+)+/?")


@dataclass(frozen=True)
class Bounds(Settings):
    """What visitors of a public dashboard may ask for. The variable NOISESCOPE_PUBLIC_CALLS sets ``calls``, and so on."""

    calls: Annotated[int, Between(1)] = 20_000
    """Network calls of one request, counted for each image of 32×32 pixels; larger images count as several."""
    waiting: Annotated[int, Between(1)] = 2
    """Requests of one visitor that wait or are computed."""
    queue: Annotated[int, Between(1)] = 12
    """Requests of all visitors that wait or are computed."""
    memory: Annotated[int, Between(1)] = 1024
    """MiB of the results that all visitors together look at."""
    upload: Annotated[int, Between(1)] = 8
    """MiB of a picture file."""
    pixels: Annotated[int, Between(1)] = 16
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
        ValueError: a variable has a value that is not allowed.
    """
    given = {field.name: os.environ.get(f"{VARIABLE}_{field.name.upper()}", "") for field in fields(Bounds)}
    try:
        return Bounds(**{name: int(text) for name, text in given.items() if text})
    except SettingsError as error:
        raise ValueError(f"{VARIABLE}_…: {error}") from error
    except ValueError:
        wrong = next(name for name, text in given.items() if text and not text.strip().lstrip("+-").isdecimal())
        raise ValueError(f"{VARIABLE}_{wrong.upper()}={given[wrong]!r}: choose a whole number of 1 or more") from None


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
