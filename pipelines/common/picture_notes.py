"""Sentences about how the pictures of a dataset were read, with their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .sample_values import Values, about_values
from .text import counted

MOST = 8  # sentences of one kind; the rest are counted together


def notes_of(told: Iterable[str], values: Iterable[Values]) -> tuple[str, ...]:
    """Return what there is to tell about pictures, a sentence for each kind.

    Args:
        told: of all of them (see :class:`pipelines.common.conversion.Picture`).
        values: of those with other samples than plain bytes.
    """
    counts = Counter(told).most_common()
    notes = [f"{counted(number, 'picture')} {what}" for what, number in counts[:MOST]]
    if rest := sum(number for _, number in counts[MOST:]):
        notes.append(f"{rest:,} more of {len(counts) - MOST} other kinds, most of them with other colour profiles")
    kinds: dict[tuple[str, object], list[Values]] = {}
    for each in values:
        kinds.setdefault((each.kind, each.range), []).append(each)
    return (*notes, *filter(None, map(about_values, kinds.values())))
