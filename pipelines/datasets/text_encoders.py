"""Frozen text encoders behind one protocol: CLIP's text models and sentence-transformers models.

An encoder turns prompts into one vector per token, for cross-attention, and one pooled vector per prompt. Only safetensors
are read. Importing this module does not load torch or transformers.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..common.extras import require_extra
from ..common.text import shorten
from ..storage.cache import cache_key, cached_tensors
from .encoded_text import END_MARK, START_MARK, EncodedText, TextEncoder, Word
from .pretrained import (
    CHOICES,
    MINILM,
    MINILM_HUB_ID,
    SETTINGS,
    WEIGHTS,
    be_quiet,
    find_encoder,
    first_line,
    kind_of,
    load_pretrained,
    refuse_endless_settings,
    refuse_pickles,
    sha256,
    weights_digest,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TOKENS = 32  # at most, that a sentence-transformers model reads
_CHUNK = 64  # texts encoded at once
_NAMED = 40  # at most: words listed in a warning about a truncated prompt
_WARNINGS = 5  # prompts per call that get their own warning


def make_encoder(name: str, device: str | torch.device = "cpu") -> TextEncoder:
    """Load a text encoder.

    Args:
        name: "minilm" (all-MiniLM-L6-v2), or the hub id or local folder of a CLIP or sentence-transformers model.
        device: where it computes; its output returns to the CPU.

    Raises:
        ValueError: there is no such encoder, or it is not available here; the message says what is allowed.
    """
    require_extra("text")
    kind = kind_of(find_encoder(name))
    if kind is None:
        raise ValueError(f"{name!r} holds neither a CLIP text model nor a sentence-transformers model: choose {CHOICES}")
    return CLIPTextEncoder(name, device) if kind == "clip" else SentenceTransformerEncoder(name, device)


class _PretrainedEncoder(ABC):
    """Base of both encoders: a tokenizer that pads to one length, and a frozen network."""

    name: str
    width: int
    length: int
    _kind: ClassVar[str]
    _tokenizer: Any
    _model: Any

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        import torch

        self.name = MINILM if name == MINILM_HUB_ID else name
        self._device = torch.device(device)
        self._folder = find_encoder(name)
        if kind_of(self._folder) != self._kind:
            raise ValueError(f"{name!r} is not a model for {type(self).__name__}: let make_encoder choose the class")
        refuse_pickles(name, self._folder)
        refuse_endless_settings(self._folder)
        try:
            self._load(self._folder)
            broken = next((name for name, each in self._model.named_parameters() if not bool(each.isfinite().all())), None)
            if broken:
                raise ValueError(f"its weights contain NaN or infinite numbers (first in {broken})")
            tokens, pooled = self._forward(self._tokenize([""]))
        except Exception as error:  # the libraries raise many kinds of errors
            raise ValueError(f"text encoder {name!r} could not be loaded from {self._folder}: {first_line(error)}") from error
        self.width = tokens.shape[-1]
        if pooled.shape[-1] != self.width:
            raise ValueError(
                f"text encoder {name!r} has tokens of width {self.width} but pooled vectors of width {pooled.shape[-1]}: "
                "choose an encoder with equal widths, such as minilm"
            )

    @abstractmethod
    def _load(self, folder: Path) -> None:
        """Set ``_tokenizer``, ``length`` and the network."""

    @abstractmethod
    def _forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Map tokenized texts to the last hidden state (B, L, D) and the pooled vectors (B, D)."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model's files and the length."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.length}".encode())
        for path in sorted(path for pattern in (*SETTINGS, WEIGHTS) for path in self._folder.rglob(pattern)):
            digest.update(f"{path.relative_to(self._folder)} {sha256(path)}".encode())
        return digest.hexdigest()

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the weight files."""
        return weights_digest(self._folder)

    def _tokenize(self, texts: list[str]) -> Any:
        # A lone surrogate (a broken byte on the command line) has no UTF-8 form, which is what tokenizers read.
        texts = [text.encode("utf-8", "replace").decode() for text in texts]
        # The settings never change: the tokenizer stores them, so that a change would disturb other threads.
        batch = self._tokenizer(texts, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt")
        return batch.to(self._device)

    def encode(self, texts: list[str]) -> EncodedText:
        """Encode B texts; a text of more than L tokens is truncated, with a warning that lists the lost words.

        Texts of similar length share a batch, which is no longer than the longest of them: most are far shorter than L.
        """
        import torch

        encoded = EncodedText(
            torch.zeros(len(texts), self.length, self.width),
            torch.empty(len(texts), self.length, dtype=torch.bool),
            torch.empty(len(texts), self.width),
        )
        cut = {}
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(texts), _CHUNK):
            rows = by_length[start : start + _CHUNK]
            chunk = [texts[row] for row in rows]
            batch = self._tokenize(chunk)
            mask = batch["attention_mask"].bool().cpu()
            longest = int((mask * torch.arange(self.length)).max()) + 1
            with torch.no_grad():
                tokens, pooled = self._forward({name: part[:, :longest] for name, part in batch.items()})
            encoded.tokens[rows, :longest] = tokens.cpu() * mask[:, :longest, None]
            encoded.mask[rows], encoded.pooled[rows] = mask, pooled.cpu()
            lost = zip(chunk, batch.encodings, strict=True)
            cut.update({text: words for text, encoding in lost if (words := _lost_words(text, encoding))})
        if not bool(encoded.tokens.isfinite().all() and encoded.pooled.isfinite().all()):
            raise ValueError(
                f"text encoder {self.name!r} computed NaN or infinite numbers: its weights are damaged, so fetch them again or "
                "choose another encoder"
            )
        self._warn({text: cut[text] for text in texts if text in cut})
        return encoded

    def lost_words(self, text: str) -> list[str]:
        """Return the words at the end of ``text`` that do not fit."""
        return _lost_words(text, self._tokenize([text]).encodings[0])

    def cut_note(self, text: str) -> str:
        """Return a sentence that lists the words of ``text`` that do not fit; empty if all do."""
        words = self.lost_words(text)
        return self._note(text, words) if words else ""

    def words(self, text: str) -> list[Word]:
        """Return the words of ``text`` that fit, with the marks around them; together they cover all tokens in the mask."""
        encoding = self._tokenize([text]).encodings[0]
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        places: dict[str | int, list[int]] = {START_MARK: []}
        for place, ((start, _), special) in enumerate(zip(encoding.offsets, encoding.special_tokens_mask, strict=True)):
            if not encoding.attention_mask[place]:
                continue
            # A token may begin with the space before its word.
            word = next((number for number, (_, end) in enumerate(spans) if start < end), len(spans) - 1)
            places.setdefault((END_MARK if place else START_MARK) if special else word, []).append(place)
        named = {key: key if isinstance(key, str) else text[slice(*spans[key])] for key in places}
        return [Word(named[key], tuple(tokens)) for key, tokens in places.items() if tokens]

    def _note(self, text: str, words: list[str]) -> str:
        named = ", ".join(shorten(word, 40) for word in words[:_NAMED])
        more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
        return (
            f"the prompt {shorten(text, 60)!r} is longer than the {self.length} tokens that {self.name} reads, "
            f"so these words are lost: {named}{more}"
        )

    def _warn(self, cut: Mapping[str, list[str]]) -> None:
        for text, words in list(cut.items())[:_WARNINGS]:
            warnings.warn(self._note(text, words), stacklevel=3)
        if len(cut) > _WARNINGS:
            warnings.warn(
                f"{len(cut) - _WARNINGS:,} more prompts are longer than the {self.length} tokens that {self.name} reads",
                stacklevel=3,
            )


class CLIPTextEncoder(_PretrainedEncoder):
    """The text model of CLIP (Radford et al. 2021), through transformers.

    The tokens are the last hidden state after the final layer norm, and pooled is that of the end-of-text token. L is the
    model's own length, 77 for OpenAI's.

    Args:
        name: hub id or local folder of a CLIP model or of its text model.
        device: where it computes.

    Raises:
        ValueError: there is no such model, or it is not available here.
    """

    _kind = "clip"

    def _load(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        model: Any = load_pretrained("CLIPTextModel", folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = model.to(self._device).eval().requires_grad_(False)
        self.length = min(self._tokenizer.model_max_length, model.config.max_position_embeddings)

    def _forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        output = self._model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return output.last_hidden_state, output.pooler_output


class SentenceTransformerEncoder(_PretrainedEncoder):
    """A sentence-transformers model (Reimers and Gurevych 2019).

    The tokens are the last hidden state of each word piece, and pooled is the sentence embedding, which for all-MiniLM-L6-v2
    is their mean, normalised to length 1. L is 32: captions and most prompts have fewer than 30 pieces (about 24 words), and
    each piece costs time and memory in every cross-attention.

    Args:
        name: "minilm" for all-MiniLM-L6-v2 (D = 384), or a hub id or local folder.
        device: where it computes.

    Raises:
        ValueError: there is no such model, or it is not available here.
    """

    _kind = "sentence-transformers"

    def __init__(self, name: str = MINILM, device: str | torch.device = "cpu") -> None:
        super().__init__(name, device)

    def _load(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        be_quiet()
        model = SentenceTransformer(
            str(folder), device=str(self._device), local_files_only=True, model_kwargs={"use_safetensors": True}
        )
        self._tokenizer = model.tokenizer
        self._model = model.float().eval().requires_grad_(False)
        self.length = min(TOKENS, model.max_seq_length or TOKENS)

    def _forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        output = self._model(dict(batch))
        return output["token_embeddings"], output["sentence_embedding"]


def encode_cached(encoder: TextEncoder, texts: list[str], folder: str | Path | None = None) -> EncodedText:
    """Encode the captions of a dataset, or load what an earlier call with the same encoder and captions cached.

    Each distinct text is encoded once. The result has a row for every text, so pass only the distinct captions of a large
    dataset and index into them.

    Args:
        encoder: see :func:`make_encoder`.
        texts: B captions.
        folder: see :func:`pipelines.storage.cache.cached_tensors`.
    """
    distinct = sorted(set(texts))
    key = cache_key([encoder.fingerprint, distinct])
    encoded = EncodedText(**cached_tensors("text", key, lambda: vars(encoder.encode(distinct)), folder))
    rows = {text: row for row, text in enumerate(distinct)}
    return encoded[[rows[text] for text in texts]]


def _lost_words(text: str, tokens: Any) -> list[str]:
    """Return the words that were truncated or lost, given a tokenizers.Encoding with the tokens' places in the text."""
    if not tokens.overflowing:
        return []
    rest = tokens.overflowing[0]
    cut = min(start for (start, _), special in zip(rest.offsets, rest.special_tokens_mask, strict=True) if not special)
    return [word.group() for word in re.finditer(r"\S+", text) if word.end() > cut]
