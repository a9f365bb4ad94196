"""Whether a student still makes all that its teacher makes: the classes of their samples, from the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SURE = 0.05  # probability that a class of equal models differs surely, over all classes together


@dataclass(frozen=True)
class ClassShare:
    """How many of two models' samples, in percent, show a class, and whether the difference is no chance.

    Attributes:
        name: of the class.
        first, second: of the first and of the second model's samples, in percent.
        sure: whether the shares differ by more than chance, allowing for the number of classes.
    """

    name: str
    first: float
    second: float
    sure: bool


@dataclass(frozen=True)
class ClassShares:
    """The classes of samples of two models from the same noise, as a classifier sees them.

    Attributes:
        shares: of each class.
        kept: share of the noise, in percent, of which both make the same class.
    """

    shares: tuple[ClassShare, ...]
    kept: float

    def __str__(self) -> str:
        """Return what changes from the first model to the second, in two sentences."""
        return " ".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        sure = sorted((one for one in self.shares if one.sure), key=lambda one: one.second - one.first)
        fewer = ", ".join(_told(one) for one in sure if one.second < one.first)
        more = ", ".join(_told(one) for one in sure[::-1] if one.second > one.first)
        tested = f"Class shares, each of {len(self.shares)} classes tested by itself"
        if sure:
            changes = [f"fewer of {fewer}"] * bool(fewer) + [f"more of {more}"] * bool(more)
            yield f"{tested}: surely {'; '.join(changes)}."
        else:
            largest = max(self.shares, key=lambda one: abs(one.second - one.first))
            yield f"{tested}: none differs surely, {_told(largest)} the most."
        yield f"{self.kept:.0f} % of the noise becomes the same class."


def _told(one: ClassShare) -> str:
    return f"{one.name} ({one.first:.1f} % → {one.second:.1f} %)"


def class_shares(first: Mapping[str, Any], second: Mapping[str, Any]) -> ClassShares | None:
    """Compare the classes of two models' samples, image by image; None if they were not seen by the same classifier.

    A class differs surely if McNemar's exact test says so: of the images that show it for one of the two models alone, either
    could be the one with the same probability.

    Args:
        first, second: what was found of the samples (:attr:`Result.found`), which start from the same noise.
    """
    known = [found["classes"] for found in (first, second) if found.get("classes")]
    if len(known) < 2 or known[0]["names"] != known[1]["names"] or len(known[0]["seen"]) != len(known[1]["seen"]):
        return None
    from scipy.special import bdtr

    names = known[0]["names"]
    one, other = (np.array(own["seen"]) for own in known)
    shares = []
    for number, name in enumerate(names):
        lost, won = int(((one == number) & (other != number)).sum()), int(((one != number) & (other == number)).sum())
        chance = min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5))) if lost + won else 1.0
        first_share, second_share = (100 * float((own == number).mean()) for own in (one, other))
        shares.append(ClassShare(name, first_share, second_share, chance < SURE / len(names)))
    return ClassShares(tuple(shares), 100 * float((one == other).mean()))
