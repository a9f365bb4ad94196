"""Text from elsewhere, made fit to be shown."""

from __future__ import annotations


def shorten(text: str, length: int) -> str:
    """Return ``text``, shortened with an ellipsis if it has more than ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
