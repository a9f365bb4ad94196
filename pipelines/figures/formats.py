"""The files and widths that figures are printed in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Kind = Literal["pdf", "svg", "png"]
Width = Literal["single", "double"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WIDTHS: dict[Width, float] = {"single": 3.25, "double": 6.75}  # inches: a column of a journal, and a page of two columns


def kind_of(path: Path) -> Kind:
    """Return the kind of file that a name says.

    Raises:
        ValueError: it is none of KINDS.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise ValueError(f"{path}: figures are written as {', '.join(f'.{kind}' for kind in KINDS)}; choose such a name")
    return kind
