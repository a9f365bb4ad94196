"""The glossary on the pages: its sentences as tooltips, and links to its entries."""

from __future__ import annotations

import re
from urllib.parse import quote

from pipelines.common.glossary import entry, glossary
from pipelines.common.glossary import term as term

TERM = re.compile(r"\[\[([^]|]+)(?:\|([^]]+))?]]")


def tooltip(name: str) -> str | None:
    """Return the sentence on a name that somebody may have added, or None if the glossary has no such entry."""
    return term(name) if name in glossary() else None


def linked(text: str) -> str:
    """Return Markdown in which [[term]] and [[term|words]] link to the Glossary page, which opens in a new tab."""

    def link(found: re.Match[str]) -> str:
        name = " ".join(found[1].split())
        return f"[{found[2] or name}](glossary?search={quote(entry(name).title)})"

    return TERM.sub(link, text)
