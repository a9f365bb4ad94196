"""The glossary: docs/GLOSSARY.md, whose entries are also the tooltips of the dashboard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GLOSSARY = Path(__file__).parents[2] / "docs" / "GLOSSARY.md"
HEADING = re.compile(r"^(#{2,3}) (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One entry of the glossary.

    Attributes:
        title: the term.
        section: the heading above it.
        sentence: what it means, in one sentence.
        more: further paragraphs, as Markdown; empty if there are none.
    """

    title: str
    section: str
    sentence: str
    more: str

    @property
    def anchor(self) -> str:
        """Its anchor, the same on GitHub and on the Glossary page."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")


@cache
def glossary() -> dict[str, Entry]:
    """Return the entries by title, in the order of the document."""
    _, *parts = HEADING.split(GLOSSARY.read_text(encoding="utf-8"))
    entries, section = {}, ""
    for level, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if level == "##":
            section = title
            continue
        sentence, _, more = text.strip().partition("\n\n")
        entries[title] = Entry(title, section, " ".join(sentence.split("\n")), more)
    return entries


def entry(name: str) -> Entry:
    """Return the entry of a term, which may begin with a small letter.

    Raises:
        KeyError: there is none.
    """
    entries = glossary()
    found = entries.get(name) or entries.get(name[:1].upper() + name[1:])
    if found is None:
        raise KeyError(f"{name!r} is not in {GLOSSARY.name}: add it, or choose one of {', '.join(entries)}")
    return found


def term(name: str) -> str:
    """Return the sentence that explains a term; fail as :func:`entry` does."""
    return entry(name).sentence


def matching(entries: Iterable[Entry], wanted: str) -> list[Entry]:
    """Return the entries that contain a text: first those of this title, then those with it in their title, then the others.

    Case and accents do not matter.
    """
    text = _plain(wanted)

    def distance(entry: Entry) -> tuple[bool, bool]:
        title = _plain(entry.title)
        return text != title, text not in title

    return sorted((one for one in entries if text in _plain(f"{one.title} {one.sentence} {one.more}")), key=distance)


def _plain(text: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part)).casefold().strip()
