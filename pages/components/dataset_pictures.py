"""The pictures of a dataset: one of them, and small ones from all over it to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from pages.components.data_report import surveyor
from pages.components.thumbnails import SIDE
from pipelines.common.images import Pixels
from pipelines.common.parallel import in_parallel
from pipelines.common.picture_files import open_picture
from pipelines.datasets.classes import label_columns
from pipelines.datasets.decoded import Pictures, Row
from pipelines.datasets.decoding import fit_image, read_cell
from pipelines.datasets.image_sets import pictures_in
from pipelines.datasets.sources import resolve, split_names
from pipelines.datasets.surveyor import Opened
from pipelines.storage.config import DataConfig

OFFERED = 24  # thumbnails
JUMP = 5 / 8  # of the distance between two thumbnails, to the next set of them: neighbours may be almost alike


@dataclass(frozen=True)
class Offer:
    """Some pictures of a dataset.

    Attributes:
        row: row of the one that was asked for.
        small: a small square of each by its row, (H, W, C); those that cannot be read are left out.
        classes: the class of each; empty if the dataset has none.
        others: row whose offer is of other pictures; None if these are all.
    """

    row: int
    small: Mapping[int, Pixels]
    classes: Sequence[str]
    others: int | None


def opened(name: str) -> Opened:
    """Return a dataset, which is opened once for all pages."""
    return surveyor().open(resolve(DataConfig(data=name)))


def picture_at(name: str, number: int) -> bytes:
    """Return a picture file of the training split; numbers beyond the last row start over.

    Raises:
        ValueError, OSError: the dataset or this picture cannot be read.
    """
    pictures = _pictures(name, opened(name))
    row = number % len(pictures.dataset)
    try:
        [(_, cell)] = pictures.cells(np.array([row]))
        return read_cell(cell, pictures.folders)
    except (OSError, ValueError) as error:
        raise ValueError(f"row {row} of this dataset: {error}; choose another row") from error


def offer_around(name: str, number: int) -> Offer:
    """Return pictures that are spread evenly over the training split, among them the one of :func:`picture_at`.

    Raises:
        ValueError, OSError: the dataset cannot be read.
    """
    found = opened(name)
    length = len(_pictures(name, found).dataset)
    stride = -(-length // OFFERED)
    row = number % length
    first = row % stride
    others = min(row - first + (first + max(1, int(JUMP * stride))) % stride, length - 1) if stride > 1 else None
    small, classes = _offered(name, found, tuple(range(first, length, stride)))
    return Offer(row, small, classes, others)


@st.cache_data(max_entries=64, show_spinner="Reading pictures…", hash_funcs={Opened: lambda found: found.number})
def _offered(name: str, found: Opened, rows: Sequence[int]) -> tuple[dict[int, Pixels], list[str]]:
    pictures = _pictures(name, found)
    made = in_parallel(lambda row: _small(pictures, row), pictures.cells(np.array(rows)))
    small = {row: pixels for row, pixels in zip(rows, made, strict=True) if pixels is not None}
    return small, _classes(pictures, list(small))


def _pictures(name: str, found: Opened) -> Pictures:
    config = resolve(DataConfig(data=name))
    splits = found.source.splits
    return pictures_in(splits[split_names(splits, config)[0]], config)


def _small(pictures: Pictures, row: Row) -> Pixels | None:
    """Return the middle of a picture as a small square, (H, W, C); None if it cannot be read."""
    try:
        image = open_picture(read_cell(row[1], pictures.folders))
    except Exception:  # whatever is wrong with one picture; choosing it by its number says so
        return None
    return np.atleast_3d(np.asarray(fit_image(image, min(SIDE, *image.size), "crop")))


def _classes(pictures: Pictures, rows: Sequence[int]) -> list[str]:
    """Return the name of the class of each row; none unless there is one column of classes."""
    columns = label_columns(pictures.dataset)
    if len(columns) != 1 or not rows:
        return []
    names = pictures.dataset.features[columns[0]].names
    labels = pictures.dataset.select_columns(columns).select(rows)[columns[0]][:]
    return ["" if label is None or label < 0 else names[label] for label in labels]
