"""Which classes and captions everybody knows, so that examples begin with these."""

from __future__ import annotations

import re
from collections.abc import Sequence

EVERYDAY = """
rose sunflower cat dog tulip horse bird fish goldfish banana apple car bus train ship airplane bicycle house tree daisy
lily dandelion daffodil poppy lotus orchid geranium carnation cow sheep pig lion tiger bear elephant monkey rabbit mouse
frog turtle snake duck chicken eagle penguin butterfly bee ladybug spider dragon teddy pizza orange strawberry lemon
grape mushroom pepper bread cake cup bottle chair table bed lamp clock book guitar piano umbrella bag coat dress shirt
t-shirt trousers trouser shoe sneaker boot ankle sandal pullover hat sun moon star cloud mountain volcano beach sea lake
river forest bridge tower castle church truck boat robot man woman child face circle square triangle heart
"""
"""Words for things that everybody can picture, the best known first."""

UNKNOWN = 10**6  # more words than any text has


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; a hyphen joins two."""
    return re.findall(r"[^\W_]+(?:[-'’][^\W_]+)*", text.casefold())


_RANK = {word: rank for rank, word in enumerate(words_of(EVERYDAY))}


def most_familiar(texts: Sequence[str], count: int) -> list[int]:
    """Return the numbers of the texts that are the easiest to picture, at most ``count``, the easiest first.

    A text is easy if it names an everyday thing and says little else beside what all texts say: "a photo of a rose" before
    "a photo of a lenten rose". Texts that name none keep their order.
    """
    said = [words_of(text) for text in texts]
    usual = set.intersection(*map(set, said)) if len(said) > 1 else set()

    def difficulty(number: int) -> tuple[int, int, int]:
        own = [word for word in said[number] if word not in usual]
        ranks = [_RANK[word] for word in own if word in _RANK]
        return (len(own), min(ranks), number) if ranks else (UNKNOWN, 0, number)

    return sorted(range(len(texts)), key=difficulty)[:count]
