"""Captions for training on text: a dataset's own text column, or its class names in sentence templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.json_files import read_json
from ..storage.config import ConditionConfig
from ..storage.presets import dataset_name
from .classes import label_columns, plain_columns

if TYPE_CHECKING:
    from datasets import Dataset

TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "an image of a {}",
    "a close-up photo of a {}",
    "a {}",
    "{}",
)
"""Templates for photographs of things; {} is the class name."""

DATASET_TEMPLATES = {
    "fashion_mnist": ("a black and white photo of a {}", "a photo of a {}", "a picture of a {}", "a {}", "{}"),
    "oxford_flowers": (
        "a photo of a {}",
        "a photo of a {}, a type of flower",
        "a close-up photo of a {}",
        "a {} flower",
        "a {}",
        "{}",
    ),
}
"""Templates for datasets that :data:`TEMPLATES` do not suit."""

# Preferred text columns where a dataset has several: usual names of English captions.
TEXT_COLUMNS = ("en_text", "text", "caption", "en_caption", "text_en", "caption_en", "prompt", "txt", "description")

# Common words for class names that are not used in speech.
SPOKEN = {"trouser": "pair of trousers"}

SYNONYMS = Path(__file__).parent / "synonyms.json"
"""Phrases for classes, by the class's readable name: "one" takes an article in a template, "many" (plurals) does not."""

# Names that take "an": not "european", "ewe", "one-piece", "unicorn" or "used car", but "hourglass", 8, 11 and 18.
_VOWEL_SOUND = re.compile(r"[ai]|e(?!u|we)|o(?!ne\b)|u(?!ni|s[ae])|hour|honest|heir|8|1[18]\b")
_SLOT = re.compile(r"(\b[Aa]n?\s+)?\{\}")
_COMPOUND = re.compile(r"\{\}\s+\w")  # "a {} flower": the name qualifies a noun, so that a plural does not fit


def templates_for(data: str) -> tuple[str, ...]:
    """Return the templates that suit a dataset, given its short name, hub id or folder."""
    return DATASET_TEMPLATES.get(dataset_name(data).replace("-", "_"), TEMPLATES)


def check_templates(templates: Sequence[str]) -> None:
    """Check that there are templates and that each has a place for the class name.

    Raises:
        ValueError: there are none, or one has no such place.
    """
    if not templates:
        raise ValueError("no caption templates given: give at least one, such as 'a photo of a {}'")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"caption template {template!r} has no place for the class name: write {{}} where it belongs")


def readable_name(class_name: str) -> str:
    """Return a class name as lower-case prose: "T - shirt / top" -> "t-shirt or top", "golden_retriever" -> "golden retriever".

    Of synonyms separated by commas ("tench, Tinca tinca"), the first is used.
    """
    name = class_name.split(",")[0].replace("_", " ").lower()
    name = re.sub(r"\s*/\s*", " or ", name)
    name = re.sub(r"\s+-\s+", "-", name)
    name = " ".join(name.split())
    return SPOKEN.get(name, name)


@dataclass(frozen=True)
class Phrase:
    """A name of a class: a noun phrase in the singular, or one that takes no article."""

    text: str
    plural: bool = False


@cache
def synonyms() -> dict[str, tuple[Phrase, ...]]:
    """Return the phrases listed for classes in :data:`SYNONYMS`, by the class's readable name."""
    listed = read_json(SYNONYMS)
    return {
        name: (*(Phrase(text) for text in words.get("one", ())), *(Phrase(text, plural=True) for text in words.get("many", ())))
        for name, words in listed.items()
    }


def captions_for(
    class_names: Iterable[str], templates: Sequence[str] = TEMPLATES, with_synonyms: bool = False
) -> list[list[str]]:
    """Return the captions of each class: its name as prose in each template, with "a" or "an" as the name requires.

    Args:
        class_names: names of the classes.
        templates: sentences with a place for the name.
        with_synonyms: also put the class's :func:`synonyms`, if any, into the templates.

    Returns:
        One list per class, in the order of ``class_names``, without duplicates, beginning with the class's own name.

    Raises:
        ValueError: there are no templates, or one has no "{}".
    """
    check_templates(templates)
    names = [readable_name(name) for name in class_names]
    phrases = [[Phrase(name), *(synonyms().get(name, ()) if with_synonyms else ())] for name in names]
    return [
        list(dict.fromkeys(caption for phrase in own for template in templates if (caption := _fill(template, phrase))))
        for own in phrases
    ]


def _fill(template: str, phrase: Phrase) -> str:
    """Insert a phrase into the template, with the article that it requires; return "" where a plural does not fit."""
    if phrase.plural and _COMPOUND.search(template):
        return ""

    def place(slot: re.Match[str]) -> str:
        if slot[1] is None or phrase.plural:
            return phrase.text
        return f"{slot[1][0]}{'n' if _VOWEL_SOUND.match(phrase.text) else ''} {phrase.text}"

    return _SLOT.sub(place, template)


def text_columns(dataset: Dataset) -> list[str]:
    """Return the columns of text."""
    return [name for name in plain_columns(dataset) if "string" in dataset.features[name].dtype]


def text_column(dataset: Dataset, name: str | None = None) -> str:
    """Return the column of captions: ``name``, the only text column, or the one with a usual name of English captions.

    Raises:
        ValueError: there is no such column, or the choice is ambiguous; the message lists the text columns.
    """
    texts = text_columns(dataset)
    return _choose(dataset, "text", texts, _usual(texts)[:1] or texts, name)


def _usual(columns: Sequence[str]) -> list[str]:
    """Return the columns with a usual name of English captions, in any case, the most usual first."""
    return [column for wanted in TEXT_COLUMNS for column in columns if column.casefold() == wanted]


def own_captions(dataset: Dataset) -> str | None:
    """Return the column of usual name that new runs take captions from although there are classes; None if there is none."""
    return next(iter(_usual(text_columns(dataset))), None) if has_labels(dataset) else None


def caption_column(dataset: Dataset, wanted: ConditionConfig) -> str | None:
    """Return the column that a new run takes captions from although there are classes; None to make them from the classes."""
    by_class = wanted.label_column or wanted.templates or wanted.synonyms
    return wanted.text_column or (None if by_class else own_captions(dataset))


NONE = {
    "label": "these data have no classes: {}sort the pictures into at least two folders, one for each class, or choose a "
    "network that takes none",
    "text": "these data have no captions: {}put a text file of the same name beside each picture, or choose a network that "
    "takes none",
}
"""What to do about data without a kind of column; {} is a further remedy."""


def label_column(dataset: Dataset, name: str | None = None) -> str:
    """Return the column of class labels: ``name``, the only one of that type, or the one called "label".

    Raises:
        ValueError: there is no such column, or the choice is ambiguous; the message lists the label columns.
    """
    labels = label_columns(dataset)
    return _choose(dataset, "label", labels, ["label"] if "label" in labels else labels, name)


def has_labels(dataset: Dataset) -> bool:
    """Return whether there is a column of class labels."""
    return bool(label_columns(dataset))


def class_names(dataset: Dataset, column: str | None = None) -> list[str]:
    """Return the names of the classes, in the order of their numbers.

    Args:
        dataset: a dataset with a column of labels.
        column: see :func:`label_column`.
    """
    return list(dataset.features[label_column(dataset, column)].names)


def _choose(dataset: Dataset, kind: str, columns: list[str], preferred: list[str], name: str | None) -> str:
    if name in columns or (name is None and len(preferred) == 1):
        return name or preferred[0]
    others = [column for column in plain_columns(dataset) if column not in columns]
    if not columns and (name is None or not others):
        advice = f"name the column that holds them ({', '.join(others)}) with --{kind}-column, " if others else ""
        raise ValueError(NONE[kind].format(advice))
    if name is None:
        asked = f"{len(columns)} {kind} columns"
    elif name in dataset.features:
        asked = f"column {name!r} is not a {kind} column"
    else:
        asked = f"no {kind} column {name!r}"
    raise ValueError(f"{asked} in this dataset: choose one of {', '.join([*columns, *others])} with --{kind}-column")
