"""The glossary on the pages: its sentences as tooltips, and links to its entries."""

from __future__ import annotations

from pipelines.common.glossary import glossary
from pipelines.common.glossary import term as term


def link(name: str) -> str:
    """Return Markdown that links to a term's entry on the Glossary page, which opens in a new tab."""
    term(name)
    return f"[{name}](glossary#{glossary()[name].anchor})"
