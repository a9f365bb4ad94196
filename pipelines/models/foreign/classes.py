"""Names of the classes of an imported model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...common.reading import MEGABYTE, read_text
from ...common.settings import LONGEST
from ...common.text import one_line
from .weight_files import Notes

KEYS = ("id2label", "class_names", "labels", "classes")


def class_names(count: int, places: Iterable[tuple[str, Mapping[str, Any]]], notes: Notes) -> tuple[str, ...]:
    """Return the names of ``count`` classes: from the first place that lists them, else their numbers.

    Args:
        places: the name and the values of each configuration or model card that may list them.
        notes: gets a sentence on where they come from.
    """
    for place, values in places:
        for key in KEYS:
            listed = _listed(values.get(key))
            if not listed:
                continue
            names = tuple(listed.get(number, str(number)) for number in range(count))
            if len(set(names)) < count:
                notes.append(f"{key} of {place} gives two classes the same name: classes are called by their numbers")
                break
            missing = count - len(listed.keys() & set(range(count)))
            extra = len(listed.keys() - set(range(count)))
            notes.append(
                f"the names of {count} classes are those of {key} in {place}"
                + f"; {missing} without a name are called by their numbers" * bool(missing)
                + f"; {extra} names for other numbers are not used" * bool(extra)
            )
            return names
    notes.append(f"the network takes {count} classes, called by their numbers, because no names were found")
    return tuple(map(str, range(count)))


def _listed(value: Any) -> dict[int, str]:
    """Return names by number, from a list or from a mapping of numbers to names."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {}
    plain = {key: name for key, name in value.items() if isinstance(key, str | int) and isinstance(name, str | int | float)}
    pairs = {int(key): one_line(name, LONGEST) for key, name in plain.items() if str(key).isdecimal() and len(str(key)) < 7}
    return {number: name for number, name in pairs.items() if name}


def model_card(folder: Path, notes: Notes) -> dict[str, Any]:
    """Return the metadata of the model card in a folder; empty if there is none."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    import yaml

    try:
        _, head, *_ = (read_text(path, MEGABYTE) + "\n").split("---\n", 2)
        values = yaml.safe_load(head)
    except (ValueError, OSError, yaml.YAMLError, RecursionError):
        notes.append(f"{path.name} has no metadata that can be read")
        return {}
    return values if isinstance(values, dict) else {}
