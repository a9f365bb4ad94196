"""Classes and captions of training images, from the dataset to batches of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_core.condition import Condition

from ..common.devices import send
from ..common.indices import evenly_spaced
from ..storage.cache import cache_key
from ..storage.config import ConditionConfig, RunConfig
from .absent_encoders import absent_encoder, remember
from .captions import (
    caption_column,
    captions_for,
    class_names,
    has_labels,
    label_column,
    readable_name,
    synonyms,
    templates_for,
    text_column,
)
from .classes import labels_in
from .columns import with_conditions
from .encoded_text import TextEncoder
from .files.inventory import Source
from .image_sets import ImageSet
from .pretrained import MissingEncoderError
from .sources import split_names
from .text_encoders import encode_cached, make_encoder

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 64  # captions kept for sample grids
NO_CAPTION = ""


@dataclass(frozen=True, eq=False)
class Conditions:
    """Classes or captions of N images. An image without one is always unconditional.

    Attributes:
        labels: (N,) int64 class numbers, −1 where an image has none; None for a text-conditional network.
        captions: (N, K) int64, the rows of ``tokens`` with the K captions of each image; −1 where it has none.
        tokens, mask: (U, L, D) and (U, L), the encodings of the U distinct captions.
    """

    labels: Tensor | None = None
    captions: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device) -> Conditions:
        """Copy the conditions to another device."""
        parts = (self.labels, self.captions, self.tokens, self.mask)
        return Conditions(*(None if part is None else part.to(device) for part in parts))

    def __len__(self) -> int:
        known = self.labels if self.captions is None else self.captions
        assert known is not None
        return len(known)

    @property
    def unknown(self) -> int:
        """Number of images without a class, or without a caption."""
        known = self.labels if self.captions is None else self.captions[:, 0]
        assert known is not None
        return int((known < 0).sum())

    def of(self, images: Tensor, choice: Tensor | None = None) -> Condition:
        """Return the condition of some images.

        Args:
            images: (B,) image numbers.
            choice: (B,) in [0, 1), chooses among an image's captions; the first by default.
        """
        if self.labels is not None:
            labels = self.labels[send(images, self.labels.device)]
            return Condition(labels=labels.clamp(min=0), dropped=labels < 0)
        assert self.captions is not None
        assert self.tokens is not None
        assert self.mask is not None
        images = send(images, self.captions.device)
        way = torch.zeros_like(images) if choice is None else (send(choice, images.device) * self.captions.shape[1]).long()
        rows = self.captions[images, way]
        return Condition(tokens=self.tokens[rows], mask=self.mask[rows], dropped=rows < 0)


_make_encoder = lru_cache(maxsize=2)(make_encoder)  # loading takes longer than encoding most prompts
_LOADING = Lock()  # whoever asks while an encoder is loaded waits, instead of loading it once more


def encoder_called(name: str) -> TextEncoder:
    """Return a text encoder; one that is not on this machine, and cannot be fetched, if its encodings are in the cache.

    Raises:
        ValueError: see :func:`make_encoder`.
    """
    try:
        with _LOADING:
            return _make_encoder(name)
    except MissingEncoderError as error:
        if (absent := absent_encoder(name, str(error))) is None:
            raise
        return absent


def load_conditions(config: RunConfig, opened: Source, sets: Sequence[ImageSet]) -> tuple[ConditionConfig, list[Conditions]]:
    """Load the conditions of the training images and of the held-out ones for a conditional network.

    Args:
        config: a configuration with resolved data settings.
        opened: the dataset that it names.
        sets: the training images and the held-out ones, as returned by :func:`pipelines.datasets.image_sets.load_images`.

    Returns:
        The configuration completed from the data, and one :class:`Conditions` per set.

    Raises:
        ValueError: the dataset has no classes (or captions), or the encoder is not available or not the one that the run was
            trained with.
    """
    tables = _tables(config, opened)
    condition = config.condition
    if config.network.takes == "class":
        column = label_column(tables[0], condition.label_column)
        classes = class_names(tables[0], column)
        condition = replace(condition, digest=_digest(tables[0], condition, sets[0].rows, "class"))
        labels = [_labels(table, column, part) for table, part in zip(tables, sets, strict=True)]
        if (labels[0] < 0).all():
            raise ValueError(f"no training image of {config.data.data} has a class in its column {column!r}")
        return replace(condition, classes=tuple(classes), examples=()), [Conditions(labels=part) for part in labels]
    condition = _with_captions(condition, tables[0])
    encoder = _encoder(condition)
    described = [_captions(table, condition, config.data.data, part.rows) for table, part in zip(tables, sets, strict=True)]
    unique = list(dict.fromkeys(caption for part in described for row in part for caption in row if caption))
    if not unique:
        raise ValueError(f"no image of {config.data.data} has a caption")
    text = encode_cached(encoder, unique)
    remember(condition.encoder, encoder)
    number = {caption: row for row, caption in enumerate(unique)} | {NO_CAPTION: -1}
    captions = [torch.tensor([[number[caption] for caption in row] for row in part]) for part in described]
    said = [{row[0] for row in part} - {NO_CAPTION} for part in described]
    examples = tuple(sorted(said[1] or said[0]))
    shown = evenly_spaced(len(examples), EXAMPLES)
    filled = replace(
        condition,
        text_dim=encoder.width,
        encoder_digest=encoder.weights_digest,
        digest=_digest(tables[0], condition, sets[0].rows, "text"),
        examples=tuple(examples[i] for i in shown),
    )
    return filled, [Conditions(captions=part, tokens=text.tokens, mask=text.mask) for part in captions]


def refuse_without_conditions(config: RunConfig, opened: Source) -> None:
    """Raise ValueError if the dataset has no classes (or captions), or their encoder is not available.

    No image is decoded for it, which may take long.

    Args:
        config: a configuration of a conditional network, with resolved data settings.
        opened: the dataset that it names.
    """
    table, _ = _tables(config, opened)
    if config.network.takes == "class":
        class_names(table, config.condition.label_column)
    else:
        _captions(table, _with_captions(config.condition, table), config.data.data, np.arange(0))
        _encoder(config.condition)


def refuse_other_classes(config: RunConfig, found: ConditionConfig) -> None:
    """Raise ValueError if the data's classes, or those or the captions of training images, are not those of the run.

    Args:
        found: the configuration returned by :func:`load_conditions`.
    """
    data, own, learnt = config.data.data, config.condition, config.condition.classes
    if learnt and learnt != found.classes:
        raise ValueError(
            f"the {len(found.classes)} classes of {data} are not the {len(learnt)} that this run has learnt: "
            "restore the data, or start a new run with --init-from"
        )
    if own.digest not in ("", found.digest):
        raise ValueError(
            f"the {'classes' if learnt else 'captions'} of some training images of {data} have changed since this run started: "
            "restore them, or start a new run with --init-from"
        )


def held_out_labels(config: RunConfig, opened: Source, held_out: ImageSet, classes: Sequence[str]) -> Tensor | None:
    """Return the classes of held-out images, (N,) int64; None if one has none, or if the data's are not ``classes``."""
    _, table = _tables(config, opened)
    if not has_labels(table):
        return None
    column = label_column(table, config.condition.label_column)
    labels = _labels(table, column, held_out)
    return labels if class_names(table, column) == list(classes) and (labels >= 0).all() else None


def _tables(config: RunConfig, opened: Source) -> tuple[Dataset, Dataset]:
    """Return the splits of the training images and of the held-out ones."""
    splits = with_conditions(opened.splits, config.condition)
    train_name, held_out_name = split_names(splits, config.data)
    return splits[train_name], splits[held_out_name or train_name]


def _with_captions(condition: ConditionConfig, table: Dataset) -> ConditionConfig:
    """Return the configuration with the data's own captions, unless captions are asked for by class or have been learnt."""
    return condition if condition.text_dim else replace(condition, text_column=caption_column(table, condition))


def _encoder(condition: ConditionConfig) -> TextEncoder:
    """Return the text encoder of a run, which was recorded if training has begun."""
    return trained_encoder(condition) if condition.text_dim else encoder_called(condition.encoder)


def _labels(table: Dataset, column: str, images: ImageSet) -> Tensor:
    return torch.from_numpy(labels_in(table, column)[images.rows])


def _digest(table: Dataset, condition: ConditionConfig, rows: NDArray[np.int64], takes: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the classes or the captions of some rows, in order."""
    if takes == "class" or (condition.text_column is None and has_labels(table)):
        column = label_column(table, condition.label_column)
        content: list[object] = [class_names(table, column), labels_in(table, column)[rows].tolist()]
    else:
        texts = table[text_column(table, condition.text_column)]
        content = [texts[row] for row in rows.tolist()]
    return cache_key(content)[:16]


def _captions(table: Dataset, condition: ConditionConfig, data: str, rows: NDArray[np.int64]) -> list[list[str]]:
    """Return the captions of each row, equally many for all; made from the classes unless a text column is named."""
    if condition.text_column is None and has_labels(table):
        column = label_column(table, condition.label_column)
        templates = condition.templates or templates_for(data)
        names = class_names(table, column)
        if condition.synonyms and not any(readable_name(name) in synonyms() for name in names):
            raise ValueError(f"no synonyms are listed for the {len(names)} classes of {data}: choose --synonyms False")
        captions = captions_for(names, templates, condition.synonyms)
        ways = max(map(len, captions))
        by_class = [[own[way % len(own)] for way in range(ways)] for own in captions]
        by_class.append([NO_CAPTION] * ways)  # the last entry is for rows without a class, −1
        return [by_class[label] for label in labels_in(table, column)[rows]]
    texts = table[text_column(table, condition.text_column)]
    said = (texts[row] or NO_CAPTION for row in rows.tolist())
    return [[text if text.strip() else NO_CAPTION] for text in said]


def trained_encoder(config: ConditionConfig) -> TextEncoder:
    """Return the text encoder that a model was trained with.

    Raises:
        ValueError: it is not available, or its name now refers to another encoder.
    """
    encoder = encoder_called(config.encoder)
    same = not config.encoder_digest or encoder.weights_digest == config.encoder_digest
    if encoder.width != config.text_dim or not same:
        raise ValueError(
            f"the text encoder {encoder.name!r} has width {encoder.width} and weights {encoder.weights_digest[:12]}, but this "
            f"model was trained with {config.encoder!r} of width {config.text_dim} and weights "
            f"{config.encoder_digest[:12] or 'unknown'}: restore that encoder"
        )
    return encoder
