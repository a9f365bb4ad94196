"""What an image should show: handed from whoever asks to the network, which alone interprets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """Classes, or words, or both, or how they were augmented, for a batch of B images; immutable, so that it can be shared.

    Attributes:
        labels: (B,) int64, class numbers.
        tokens: (B, L, D) float32, one embedding a word piece; an encoder pads all its prompts to one length L.
        mask: (B, L) bool, True where ``tokens`` holds a word and not padding.
        dropped: (B,) bool, True where the network shall use its null condition instead; nowhere by default.
        augment: (B, A) float32, what was done to training images; None, and zeros, stand for nothing. Never dropped.
    """

    labels: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    dropped: Tensor | None = None
    augment: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("tokens and their mask come together: give both or neither")
        first = next((part for part in (self.labels, self.tokens, self.augment) if part is not None), None)
        if first is None:
            raise ValueError("an empty condition: give labels, or tokens with their mask (None stands for no condition at all)")
        if self.dropped is None:
            object.__setattr__(self, "dropped", torch.zeros(len(first), dtype=torch.bool, device=first.device))
        sizes = [len(part) for part in self._parts if part is not None]
        if len(set(sizes)) > 1:
            raise ValueError(f"the parts of a condition have batch sizes {sizes}: they must be equal")

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.labels, self.tokens, self.mask, self.dropped, self.augment

    def __len__(self) -> int:
        assert self.dropped is not None
        return len(self.dropped)

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """``function`` of every part."""
        return Condition(*(None if part is None else function(part) for part in self._parts))

    def select(self, images: Tensor | slice) -> Condition:
        """The conditions of some of the images, by number, in that order."""
        return self.map(lambda part: part[images])

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return self.map(lambda part: part.to(device))

    def drop(self, where: Tensor) -> Condition:
        """The same, withheld from the images where ``where``, (B,) bool, is True."""
        assert self.dropped is not None
        return replace(self, dropped=self.dropped | where)

    def null(self) -> Condition:
        """The same, withheld from every image: what an unconditional estimate is asked for with."""
        return self.drop(torch.ones_like(self.dropped))  # type: ignore[arg-type]

    def beside(self, other: Condition) -> Condition:
        """One batch of this condition and ``other``, which must be of the same kind and length.

        Raises:
            ValueError: one has labels or tokens and the other does not, or their tokens differ in length or width.
        """
        pairs = list(zip(self._parts, other._parts, strict=True))
        if any((a is None) != (b is None) or (a is not None and a.shape[1:] != b.shape[1:]) for a, b in pairs):  # type: ignore[union-attr]
            raise ValueError(f"{self.kind} cannot share a batch with {other.kind}: encode both in the same way")
        return Condition(*(None if a is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[list-item]

    @property
    def kind(self) -> str:
        """What it consists of, in words."""
        words = [] if self.tokens is None else ["tokens of shape {}×{}".format(*self.tokens.shape[1:])]
        return " and ".join((["labels"] if self.labels is not None else []) + words)
