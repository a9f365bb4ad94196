"""Class names: WordNet ids in words, and datasets restricted to some classes."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..storage.config import find_class

if TYPE_CHECKING:
    from datasets import Dataset

WORDNET = Path(__file__).parent / "wordnet" / "words.tsv.gz"
_WORDNET_NUMBER = re.compile(r"n\d{8}")


def label_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns of class labels."""
    import datasets

    return [column for column, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]


def plain_columns(dataset: Dataset) -> list[str]:
    """Return the columns of words and of whole numbers."""
    import datasets

    kinds = ("string", "large_string", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
    return [name for name, each in dataset.features.items() if isinstance(each, datasets.Value) and each.dtype in kinds]


def labels_in(dataset: Dataset, column: str) -> NDArray[np.int64]:
    """Return the class number of each row, (N,); −1 where it has no class."""
    return np.array([-1 if label is None else label for label in dataset[column][:]], dtype=np.int64)


def name_in_words(dataset: Dataset) -> Dataset:
    """Name the classes in words if a dataset, as copies of ImageNet do, only gives their WordNet ids.

    "n01443537" becomes "goldfish, Carassius auratus"; classes that share a name (crane: a bird, a machine) keep their ids too.
    """
    for column in label_columns(dataset):
        names = dataset.features[column].names
        if any(map(_WORDNET_NUMBER.fullmatch, names)):
            words = _words_of_wordnet()
            spoken = [words.get(name, name) for name in names]
            often = Counter(spoken)
            spoken = [f"{said} ({name})" if often[said] > 1 else said for name, said in zip(names, spoken, strict=True)]
            dataset = relabelled(dataset, column, labels_in(dataset, column), spoken)
    return dataset


@cache
def _words_of_wordnet() -> dict[str, str]:
    """Return the words of each WordNet id that ImageNet uses (see wordnet/README.md)."""
    lines = gzip.decompress(WORDNET.read_bytes()).decode().splitlines()
    return dict(line.split("\t") for line in lines)


def select_classes(dataset: Dataset, wanted: Sequence[str]) -> Dataset:
    """Select the rows of some classes, which become the only classes, in the given order and under the given names.

    Args:
        wanted: names or synonyms (see :func:`find_class`).

    Raises:
        ValueError: two of them are the same class, or no column of labels has all of them; the message lists the classes
            there are.
    """
    problem = "no column of classes in this dataset"
    for column in label_columns(dataset):
        names = dataset.features[column].names
        numbers = [find_class(names, name) for name in wanted]
        found = [number for number in numbers if number is not None]
        if len(found) == len(wanted):
            if len(set(found)) < len(found):
                raise ValueError(f"two of these are the same class: {', '.join(wanted)}")
            renumbered = np.full(len(names) + 1, -1)  # the last entry is for rows without a class, −1
            renumbered[found] = np.arange(len(found))
            labels = renumbered[labels_in(dataset, column)]
            return relabelled(dataset, column, labels, wanted).select(np.flatnonzero(labels >= 0))
        unknown = ", ".join(repr(name) for name, number in zip(wanted, numbers, strict=True) if number is None)
        problem = f"no class {unknown} in this dataset: choose --only-classes from {', '.join(names)}"
    raise ValueError(problem)


def relabelled(dataset: Dataset, column: str, labels: NDArray[np.int64], names: Sequence[str]) -> Dataset:
    """Replace the labels of a column. Nothing is copied, whereas a cast would write all images to disk again."""
    import datasets

    feature = datasets.ClassLabel(names=list(names))
    return dataset.remove_columns(column).add_column(column, labels, feature=feature)
