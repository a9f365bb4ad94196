"""Encoded texts, and the protocol of the encoders that make them. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

START_MARK, END_MARK = "‹start›", "‹end›"  # names of the tokens before and after a text


@dataclass(frozen=True, eq=False)
class EncodedText:
    """Encodings of B texts, all padded to L tokens of width D; on the CPU."""

    tokens: Tensor
    """(B, L, D) float32: the last hidden state of every token; arbitrary at padding."""
    mask: Tensor
    """(B, L) bool: True at tokens of the text, False at padding."""
    pooled: Tensor
    """(B, D) float32: one vector for the whole text."""

    def __getitem__(self, rows: Sequence[int] | Tensor) -> EncodedText:
        """Return the texts at ``rows``, in that order."""
        return EncodedText(self.tokens[rows], self.mask[rows], self.pooled[rows])


@dataclass(frozen=True)
class Word:
    """A word of a text and the tokens that represent it."""

    text: str
    tokens: tuple[int, ...]
    """Their positions, from 0 to L − 1, in the output of :meth:`TextEncoder.encode`."""


class TextEncoder(Protocol):
    """Frozen, deterministic encoder of texts; a text's vectors do not depend on the other texts."""

    @property
    def name(self) -> str:
        """Name recorded in a run's config; :func:`make_encoder` loads the same encoder from it."""

    @property
    def width(self) -> int:
        """Length D of a vector."""

    @property
    def length(self) -> int:
        """Number L of tokens to which every text is padded or truncated, including the marks of its start and end."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digits that change whenever the encoder's output would change."""

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights alone, the same for every copy of the model."""

    def encode(self, texts: list[str]) -> EncodedText:
        """Encode B texts; a text of more than L tokens is truncated, with a warning that lists the lost words."""

    def lost_words(self, text: str) -> list[str]:
        """Return the words at the end of ``text`` that do not fit."""

    def cut_note(self, text: str) -> str:
        """Return a sentence that lists the words of ``text`` that do not fit; empty if all do."""

    def words(self, text: str) -> list[Word]:
        """Return the words of ``text`` that fit, with the marks around them; together they cover all tokens in the mask."""
