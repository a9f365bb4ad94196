"""Survey the classes and captions of a dataset, for its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..common.indices import evenly_spaced
from ..common.text import counted
from ..storage.config import ConditionConfig
from .captions import (
    caption_column,
    captions_for,
    class_names,
    has_labels,
    label_column,
    templates_for,
    text_column,
    text_columns,
)
from .classes import labels_in
from .pretrained import kind_of, local_encoder
from .report import CaptionReport, ClassReport
from .splits import Rows
from .text_encoders import TOKENS

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer

EXAMPLES = 3


def survey_conditions(
    table: Dataset, rows: Rows, wanted: ConditionConfig, data: str
) -> tuple[ClassReport | None, CaptionReport | None, list[str]]:
    """Return the classes and captions of some rows, as training would take them, and what is ambiguous about them."""
    classes, captions, notes = None, None, []
    if has_labels(table):
        try:
            classes = _classes(table, rows, label_column(table, wanted.label_column))
        except ValueError as error:
            if wanted.label_column:
                raise
            notes.append(f"classes: {error}")
    own = caption_column(table, wanted)
    if classes is not None and own is None:
        captions = _class_captions(table, rows, classes.column, wanted, data)
    elif text_columns(table) or wanted.text_column:
        try:
            column = text_column(table, own)
            said = table.select_columns([column]).select(rows)[column][:]
            captions = _caption_report(f"column {column!r}", said, wanted.encoder)
        except ValueError as error:
            if wanted.text_column:
                raise
            notes.append(f"captions: {error}")
    return classes, captions, notes


def _classes(table: Dataset, rows: Rows, column: str) -> ClassReport:
    labels = labels_in(table, column)[rows]
    names = class_names(table, column)
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    return ClassReport(column, dict(zip(names, counts.tolist(), strict=True)), int((labels < 0).sum()))


def _class_captions(table: Dataset, rows: Rows, column: str, wanted: ConditionConfig, data: str) -> CaptionReport:
    """Return the captions that are made from the classes; of each picture, the longest that it may have."""
    templates = wanted.templates or templates_for(data)
    made = captions_for(class_names(table, column), templates, wanted.synonyms)
    labels = labels_in(table, column)[rows]
    longest = [max(own, key=len) for own in made]
    said = [longest[label] if label >= 0 else None for label in labels]
    examples = tuple(dict.fromkeys(own[0] for own in made))[:EXAMPLES]
    source = f"made from the classes with {counted(len(templates), 'template')}"
    if others := text_columns(table):
        source += f" (--text-column takes those of column {' or '.join(map(repr, others))} instead)"
    return _caption_report(source, said, wanted.encoder, examples)


def _caption_report(
    source: str, said: Sequence[str | None], encoder: str, examples: tuple[str, ...] | None = None
) -> CaptionReport:
    captions = Counter(" ".join(text.split()) for text in said if text and text.strip())
    count = captions.total()
    if examples is None:
        distinct = list(captions)
        examples = tuple(distinct[i] for i in evenly_spaced(len(distinct), EXAMPLES))
    limit, too_long = _beyond_encoder(captions, encoder)
    return CaptionReport(source, count, len(said) - count, max(captions, key=len, default=""), examples, limit, too_long)


def _beyond_encoder(captions: Counter[str], name: str) -> tuple[int | None, int | None]:
    """Return the number of tokens that the encoder reads and the number of captions with more; None if that is not known."""
    tokenizer = _tokenizer(name)
    if tokenizer is None:
        return None, None
    lengths = (len(encoding.ids) for encoding in tokenizer.encode_batch(list(captions)))
    return TOKENS, sum(number for number, length in zip(captions.values(), lengths, strict=True) if length > TOKENS)


@lru_cache(maxsize=2)
def _tokenizer(name: str) -> Tokenizer | None:
    """Return the tokenizer of a sentence-transformers model that is on this machine; None for others, which take longer."""
    try:
        from tokenizers import Tokenizer

        folder = local_encoder(name)
        if folder is None or kind_of(folder) != "sentence-transformers":
            return None
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # no tokenizers, or a folder that is no encoder: training on captions says so
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
