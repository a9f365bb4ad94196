"""The condition of an image, passed unchanged from the caller to the network, which alone interprets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """Conditions of a batch of B images: classes, words, augmentation, calls, or several of these; immutable, so safe to share.

    Attributes:
        labels: (B,) int64 class numbers.
        tokens: (B, L, D) float32, one embedding per token; an encoder pads all prompts to one length L.
        mask: (B, L) bool, True where ``tokens`` holds a word, False for padding.
        dropped: (B,) bool, True where the network uses its null condition instead; all False by default.
        augment: (B, A) float32, the augmentation of training images; None or zeros mean none. Never dropped.
        calls: (B,) int64, the number of network calls in which the images are sampled, the same for all of them, for a network
            that serves several numbers. Never dropped.

    Example:
        >>> condition = Condition(labels=torch.tensor([3, 7]))
        >>> both = condition.beside(condition.null())  # as guidance asks a network, in one batch
        >>> both.labels.tolist(), both.dropped.tolist()
        ([3, 7, 3, 7], [False, False, True, True])
    """

    labels: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    dropped: Tensor | None = None
    augment: Tensor | None = None
    calls: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("tokens and mask belong together: give both or neither")
        first = next((part for part in (self.labels, self.tokens, self.augment, self.calls) if part is not None), None)
        if first is None:
            raise ValueError("empty condition: give labels, or tokens with their mask (use None for no condition)")
        if self.dropped is None:
            object.__setattr__(self, "dropped", torch.zeros(len(first), dtype=torch.bool, device=first.device))
        sizes = [len(part) for part in self._parts if part is not None]
        if len(set(sizes)) > 1:
            raise ValueError(f"the parts of a condition have batch sizes {sizes}, which must be equal")

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.labels, self.tokens, self.mask, self.dropped, self.augment, self.calls

    def __len__(self) -> int:
        assert self.dropped is not None
        return len(self.dropped)

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """Apply ``function`` to every tensor."""
        return Condition(*(None if part is None else function(part) for part in self._parts))

    def select(self, images: Tensor | slice) -> Condition:
        """Return the conditions of the given images, in the given order."""
        return self.map(lambda part: part[images])

    def to(self, device: torch.device | str) -> Condition:
        """Return the condition on another device."""
        return self.map(lambda part: part.to(device))

    def drop(self, where: Tensor) -> Condition:
        """Return the condition, also dropped where ``where``, (B,) bool, is True."""
        assert self.dropped is not None
        return replace(self, dropped=self.dropped | where)

    def null(self) -> Condition:
        """Return the condition dropped for every image, for an unconditional estimate."""
        return self.drop(torch.ones_like(self.dropped))  # type: ignore[arg-type]

    def beside(self, other: Condition) -> Condition:
        """Concatenate this condition with ``other``, which must be of the same kind and length, into one batch.

        Raises:
            ValueError: only one of them has labels, tokens or augmentation, or their tokens differ in length or width.
        """
        pairs = list(zip(self._parts, other._parts, strict=True))
        if any((a is None) != (b is None) or (a is not None and a.shape[1:] != b.shape[1:]) for a, b in pairs):  # type: ignore[union-attr]
            raise ValueError(f"{self.kind} cannot share a batch with {other.kind}: encode both in the same way")
        return Condition(*(None if a is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[list-item]

    @property
    def kind(self) -> str:
        """A description of the parts, for error messages."""
        words = [] if self.tokens is None else ["tokens of shape {}×{}".format(*self.tokens.shape[1:])]
        return " and ".join((["labels"] if self.labels is not None else []) + words)
