"""Classes by their names: WordNet's numbers put into words, and datasets of only some classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..storage.config import find_class

if TYPE_CHECKING:
    from datasets import Dataset

_WORDNET_NUMBER = re.compile(r"n\d{8}")


def label_columns(dataset: Dataset) -> list[str]:
    """The columns of class labels."""
    import datasets

    return [column for column, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]


def labels_in(dataset: Dataset, column: str) -> NDArray[np.int64]:
    """(N,) the number of each row's class; −1 where it has none."""
    return np.array([-1 if label is None else label for label in dataset[column][:]], dtype=np.int64)


def name_in_words(dataset: Dataset) -> Dataset:
    """The same dataset, its classes named in words where copies of ImageNet only give WordNet's numbers.

    "n01443537" becomes "goldfish, Carassius auratus"; two classes of the same name (a crane, a crane) keep their numbers too.
    """
    for column in label_columns(dataset):
        names = dataset.features[column].names
        if any(map(_WORDNET_NUMBER.fullmatch, names)):
            words = _words_of_wordnet()
            spoken = [words.get(name, name) for name in names]
            often = Counter(spoken)
            spoken = [f"{said} ({name})" if often[said] > 1 else said for name, said in zip(names, spoken, strict=True)]
            dataset = _relabelled(dataset, column, labels_in(dataset, column), spoken)
    return dataset


@cache
def _words_of_wordnet() -> dict[str, str]:
    from timm.data import ImageNetInfo

    wordnet = ImageNetInfo("imagenet-22k")
    return {number: wordnet.label_name_to_description(number) for number in wordnet.label_names()}


def select_classes(dataset: Dataset, wanted: Sequence[str]) -> Dataset:
    """The rows of some classes, which are then the only ones, in the order and under the names that are given.

    Args:
        wanted: as :func:`find_class` takes them.

    Raises:
        ValueError: two of them are the same class, or no column of labels knows all of them; the sentence lists the classes
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
            renumbered = np.full(len(names) + 1, -1)  # the last one is for rows without a class, −1
            renumbered[found] = np.arange(len(found))
            labels = renumbered[labels_in(dataset, column)]
            return _relabelled(dataset, column, labels, wanted).select(np.flatnonzero(labels >= 0))
        unknown = ", ".join(repr(name) for name, number in zip(wanted, numbers, strict=True) if number is None)
        problem = f"no class {unknown} in this dataset: choose with --only-classes among {', '.join(names)}"
    raise ValueError(problem)


def _relabelled(dataset: Dataset, column: str, labels: NDArray[np.int64], names: Sequence[str]) -> Dataset:
    """Other labels in a column. Nothing is copied: a cast would write all images to the disk again."""
    import datasets

    feature = datasets.ClassLabel(names=list(names))
    return dataset.remove_columns(column).add_column(column, labels, feature=feature)
