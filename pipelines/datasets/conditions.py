"""What the network is told about each image it learns from: classes and captions, from the data to batches of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_core.condition import Condition

from ..common.devices import send
from ..common.indices import evenly_spaced
from ..storage.config import ConditionConfig, RunConfig
from .captions import captions_for, class_names, has_labels, label_column, templates_for, text_column
from .classes import labels_in
from .image_sets import ImageSet
from .sources import open_dataset, split_names
from .text_encoders import TextEncoder, encode_cached, make_encoder

if TYPE_CHECKING:
    from datasets import Dataset

encoder_called = lru_cache(maxsize=2)(make_encoder)  # loading one takes longer than most prompts
EXAMPLES = 64  # captions kept to show samples of
NO_CAPTION = ""


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is known of N images: their classes, or their captions. From images without, the condition is always withheld.

    Attributes:
        labels: (N,) int64 class numbers, −1 where an image has none; None for a network that reads captions.
        captions: (N, K) int64, the rows of ``tokens`` that describe each image, in K ways; −1 where it has no caption.
        tokens, mask: (U, L, D) and (U, L), every different caption as an encoder gives it.
    """

    labels: Tensor | None = None
    captions: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None

    def to(self, device: torch.device) -> Conditions:
        """The same on another device."""
        parts = (self.labels, self.captions, self.tokens, self.mask)
        return Conditions(*(None if part is None else part.to(device) for part in parts))

    @property
    def unknown(self) -> int:
        """How many images have no class, or no caption."""
        known = self.labels if self.captions is None else self.captions[:, 0]
        assert known is not None
        return int((known < 0).sum())

    def of(self, images: Tensor, choice: Tensor | None = None) -> Condition:
        """The condition of some images.

        Args:
            images: (B,) image numbers.
            choice: (B,) in [0, 1): which of an image's captions; the first by default.
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


def load_conditions(config: RunConfig, sets: Sequence[ImageSet]) -> tuple[ConditionConfig, list[Conditions]]:
    """What a conditional network is told about the images of the training set and the held-out one.

    Args:
        config: with the data's settings filled in.
        sets: the training images and the held-out ones, as :func:`pipelines.datasets.image_sets.load_images` gives them.

    Returns:
        The configuration with what has been read from the data filled in, and one :class:`Conditions` a set.

    Raises:
        ValueError: the dataset has no classes (or captions), or the encoder cannot be had or is not the one that the run
            has learnt with.
    """
    tables = _tables(config)
    condition = config.condition
    if config.network.takes == "class":
        column = label_column(tables[0], condition.label_column)
        classes = class_names(tables[0], column)
        labels = [_labels(table, column, part) for table, part in zip(tables, sets, strict=True)]
        if (labels[0] < 0).all():
            raise ValueError(f"no training image of {config.data.data} has a class in its column {column!r}")
        return replace(condition, classes=tuple(classes), examples=()), [Conditions(labels=part) for part in labels]
    encoder = trained_encoder(condition) if condition.text_dim else encoder_called(condition.encoder)
    described = [_captions(table, condition, config.data.data, part.rows) for table, part in zip(tables, sets, strict=True)]
    unique = list(dict.fromkeys(caption for part in described for row in part for caption in row if caption))
    if not unique:
        raise ValueError(f"no image of {config.data.data} has a caption")
    text = encode_cached(encoder, unique)
    number = {caption: row for row, caption in enumerate(unique)} | {NO_CAPTION: -1}
    captions = [torch.tensor([[number[caption] for caption in row] for row in part]) for part in described]
    said = [{row[0] for row in part} - {NO_CAPTION} for part in described]
    examples = tuple(sorted(said[1] or said[0]))
    shown = evenly_spaced(len(examples), EXAMPLES)
    filled = replace(
        condition,
        text_dim=encoder.width,
        encoder_digest=encoder.weights_digest,
        examples=tuple(examples[i] for i in shown),
    )
    return filled, [Conditions(captions=part, tokens=text.tokens, mask=text.mask) for part in captions]


def refuse_other_classes(config: RunConfig, found: ConditionConfig) -> None:
    """Fail where the data have other classes than the run has learnt: each would be taken for another.

    Args:
        found: what :func:`load_conditions` has read from the data.
    """
    learnt = config.condition.classes
    if learnt and learnt != found.classes:
        raise ValueError(
            f"{config.data.data} has {len(found.classes)} classes that are not the {len(learnt)} which this run has learnt: "
            "put the images back as they were, or begin a new run with --init-from"
        )


def held_out_labels(config: RunConfig, held_out: ImageSet, classes: Sequence[str]) -> Tensor | None:
    """The classes of held-out images, (N,) int64; None where one has none, or the data has others than ``classes``."""
    _, table = _tables(config)
    if not has_labels(table):
        return None
    column = label_column(table, config.condition.label_column)
    labels = _labels(table, column, held_out)
    return labels if class_names(table, column) == list(classes) and (labels >= 0).all() else None


def _tables(config: RunConfig) -> tuple[Dataset, Dataset]:
    """Where the training images and the held-out ones come from."""
    splits = open_dataset(config.data.data, config.data.only_classes)
    train_name, held_out_name = split_names(splits, config.data)
    return splits[train_name], splits[held_out_name or train_name]


def _labels(table: Dataset, column: str, images: ImageSet) -> Tensor:
    return torch.from_numpy(labels_in(table, column)[images.rows])


def _captions(table: Dataset, condition: ConditionConfig, data: str, rows: NDArray[np.int64]) -> list[list[str]]:
    """The captions of each of ``rows``, equally many ways for all: from the classes, where no column of text is named."""
    if condition.text_column is None and has_labels(table):
        column = label_column(table, condition.label_column)
        templates = condition.templates or templates_for(data)
        by_class = [
            [captions[way % len(captions)] for way in range(len(templates))]
            for captions in captions_for(class_names(table, column), templates)
        ]
        by_class.append([NO_CAPTION] * len(templates))  # the last one is for rows without a class, −1
        return [by_class[label] for label in labels_in(table, column)[rows]]
    texts = table[text_column(table, condition.text_column)]
    said = (texts[row] or NO_CAPTION for row in rows.tolist())
    return [[text if text.strip() else NO_CAPTION] for text in said]


def trained_encoder(config: ConditionConfig) -> TextEncoder:
    """The text encoder that a model was trained with.

    Raises:
        ValueError: it cannot be had, or what goes by its name is another one.
    """
    encoder = encoder_called(config.encoder)
    same = not config.encoder_digest or encoder.weights_digest == config.encoder_digest
    if encoder.width != config.text_dim or not same:
        raise ValueError(
            f"the text encoder {encoder.name!r} makes vectors of {encoder.width} numbers with weights "
            f"{encoder.weights_digest[:12]}; this model was trained with {config.encoder!r}, which made {config.text_dim} with "
            f"weights {config.encoder_digest[:12] or 'unknown'}: put that one in its place"
        )
    return encoder
