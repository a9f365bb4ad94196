"""The pictures of a dataset, decoded in parallel into one array of images as the network sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..common.parallel import in_parallel
from ..common.picture_files import read_picture, sample_values
from ..common.reading import UnreadableError, reason_of
from ..common.reports import ProgressBar
from ..common.sample_values import Range, Values, choose_range
from ..storage.pixel_stack import Pixels, PixelStack
from .decoding import as_channels, fit_image, picture_name, read_cell
from .files.inventory import Unused
from .splits import Rows, picture_key

if TYPE_CHECKING:
    from datasets import Dataset

Cell = Mapping[str, Any] | None
Row = tuple[int, Cell]  # its number in the split, and its picture file
BAR_AFTER = 1.0  # seconds of work before a progress bar appears


@dataclass(frozen=True)
class Pictures:
    """The picture files in the image column of a split; ``folders`` are those in which they may lie."""

    dataset: Dataset
    column: str
    folders: Sequence[Path]

    @cached_property
    def _files(self) -> Dataset:
        import datasets

        return self.dataset.select_columns([self.column]).cast_column(self.column, datasets.Image(decode=False))

    def cells(self, rows: Rows) -> Iterator[Row]:
        """Yield the number of each row with its cell, in that order."""
        for row, found in zip(rows, self._files.select(rows), strict=True):
            yield int(row), found[self.column]


class Part(NamedTuple):
    """Some of the pictures of a split."""

    pictures: Pictures
    rows: Rows


class Fit(NamedTuple):
    """How pictures become squares; see :func:`pipelines.datasets.decoding.fit_image`."""

    size: int
    fit: str


class Facts(NamedTuple):
    """What is known of a decoded picture beside its pixels; see :class:`pipelines.common.conversion.Picture`."""

    row: int
    key: int
    values: Values | None
    told: tuple[str, ...]


class Decoded(NamedTuple):
    """Decoded pictures, in order, and those that cannot be read; there is no stack if none can be read."""

    stack: PixelStack | None
    facts: list[Facts]
    skipped: list[Unused]


class NoReadableImage(ValueError):
    """Raised when none of the pictures can be read; ``skipped`` names them."""

    def __init__(self, data: str, skipped: Sequence[Unused]) -> None:
        example = f" (the first: {skipped[0]})" if skipped else ""
        super().__init__(f"no readable image in {data}{example}")
        self.skipped = tuple(skipped)


def decode(part: Part, fit: Fit, rest: Sequence[Part], data: str) -> Decoded:
    """Decode pictures in parallel.

    Where files do not declare the range of their sample values, it is chosen once for all of the data: after a look at each
    picture alone, those for which the range turns out to be another are decoded again.

    Args:
        rest: the other pictures of the data, which share the range.
        data: name of the data, for messages.

    Raises:
        TooLarge: the images fit neither into memory nor on the disk.
        UnreadableError: a picture has changed meanwhile.
    """
    pictures, rows = part
    stack: PixelStack | None = None
    facts: list[Facts] = []
    skipped: list[Unused] = []
    with ProgressBar("reading the images", len(rows), "image", leave=False, delay=BAR_AFTER) as bar:
        for result in in_parallel(partial(_decode_one, pictures, fit, {}), pictures.cells(rows)):
            if isinstance(result, Unused):
                skipped.append(result)
            else:
                pixels, about = result
                stack = stack or PixelStack(len(rows), pixels.shape, f"{len(rows):,} images of {data}")
                stack.put(len(facts), pixels)
                facts.append(about)
            bar.update()
    undeclared = {place: each.values for place, each in enumerate(facts) if each.values and not each.values.declared}
    ranges = _common_ranges(undeclared.values(), rest)
    again = [place for place, values in undeclared.items() if values.range != ranges[values.kind]]
    if again and stack is not None:
        cells = pictures.cells(np.array([facts[place].row for place in again]))
        for place, result in zip(again, in_parallel(partial(_decode_one, pictures, fit, ranges), cells), strict=True):
            if isinstance(result, Unused):
                raise UnreadableError(f"{result}, but it could be read a moment ago: start again")
            pixels, about = result
            stack.put(place, pixels)
            facts[place] = about._replace(key=facts[place].key)  # a key is of a picture alone, whatever others there are
    return Decoded(stack, facts, skipped)


def _decode_one(pictures: Pictures, fit: Fit, ranges: Mapping[str, Range], at: Row) -> tuple[Pixels, Facts] | Unused:
    """Decode and fit one picture -> (C, H, W), or say why it cannot be used."""
    row, cell = at
    try:
        picture = read_picture(read_cell(cell, pictures.folders), ranges=ranges)
        image = fit_image(picture.image, *fit)
    except Exception as error:  # whatever is wrong with one picture, the others are used
        return Unused(picture_name(cell, row, pictures.dataset.split, pictures.folders), reason_of(error))
    return as_channels(image), Facts(row, picture_key(picture.stored), picture.values, picture.told)


def _common_ranges(found: Iterable[Values], rest: Sequence[Part]) -> dict[str, Range]:
    """Return the range of each kind of undeclared sample values that was found, given those of the rest of the data too."""
    known = list(found)
    kinds = {values.kind for values in known}
    for pictures, rows in rest if kinds else ():
        known += filter(None, in_parallel(partial(_values_of, pictures), pictures.cells(rows)))
    extremes = {kind: [(values.low, values.high) for values in known if values.kind == kind] for kind in kinds}
    return {kind: choose_range(kind, min(low for low, _ in of), max(high for _, high in of)) for kind, of in extremes.items()}


def _values_of(pictures: Pictures, at: Row) -> Values | None:
    """Return the undeclared sample values of one picture; None if it has none, or cannot be read."""
    try:
        values = sample_values(read_cell(at[1], pictures.folders))
    except Exception:  # it is told where the picture is read
        return None
    return None if values is None or values.declared else values
