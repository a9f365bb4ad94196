"""Which words of a prompt a text-conditional model has learnt from, as far as its run has recorded its captions.

A run records some captions of its training (``condition.examples``), not all of them. If these were made from the names of
classes, all captions of these classes are known. The text encoder gives every other word a meaning too, but one that the
network has learnt to draw only as far as it is near that of a caption.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from ..storage.cache import cache_key, cached_tensors
from ..storage.config import ConditionConfig
from .captions import captions_for, templates_for
from .familiar import words_of

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 64  # captions encoded between two calls of ``pause``
_ENCODING = Lock()  # threads that ask for the nearest captions meanwhile wait, instead of encoding all captions as well

SMALL_WORDS = frozenset(
    words_of("a an and are as at by for from in into is it its of on or over than that the this to under with")
)


@dataclass(frozen=True)
class Nearest:
    """The recorded caption that is nearest to a prompt for the text encoder.

    Attributes:
        similarity: cosine of the angle between the two vectors, 1 for the same text.
    """

    caption: str
    similarity: float


@lru_cache(maxsize=32)
def recorded_captions(condition: ConditionConfig, data: str) -> tuple[str, ...]:
    """Return the captions of its training on ``data`` that a run has recorded, or that follow from what it has recorded."""
    templates = condition.templates or templates_for(data)
    names = [_name_in(templates[0], example) for example in condition.examples]
    if condition.text_column is not None or not all(names):
        return condition.examples
    made = captions_for([name for name in names if name], templates, condition.synonyms)
    return tuple(dict.fromkeys(caption for own in made for caption in own))


def _name_in(template: str, caption: str) -> str | None:
    """Return the class name that a caption made with a template is about; None if it was not made with it."""
    before, _, after = template.partition("{}")
    article = re.sub(r"\b([Aa])n?\s+$", r"\1n? ", re.escape(before).replace(r"\ ", " "))
    found = re.fullmatch(rf"{article}(.+){re.escape(after)}", caption)
    return found[1] if found else None


def unlearnt_words(prompt: str, captions: Sequence[str]) -> list[str]:
    """Return the words of a prompt, without small ones such as "the", that are in none of the captions in any number."""
    known = _stems(captions if isinstance(captions, tuple) else tuple(captions))
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in SMALL_WORDS and _stem(word) not in known]


@lru_cache(maxsize=32)
def _stems(captions: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_stem(word) for caption in captions for word in words_of(caption))


def _stem(word: str) -> str:
    """Return a word without the ending of its plural."""
    for ending, singular in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + singular
    return word


def nearest_caption(prompt: str, condition: ConditionConfig, data: str, pause: Callable[[], object] = lambda: None) -> Nearest:
    """Return the recorded caption that is nearest to a prompt for the model's text encoder.

    The first prompt that is no caption takes some seconds for thousands of captions, whose vectors are then kept on disk.

    Args:
        pause: called before each batch of captions is encoded; it may wait, or raise an error to give up.

    Raises:
        ValueError: the run has recorded no captions, or its encoder is not on this machine.
    """
    captions = sorted(recorded_captions(condition, data), key=len)  # those of similar length are encoded together
    if not captions:
        raise ValueError("the run has recorded no captions")
    if prompt in captions:
        return Nearest(prompt, 1.0)
    from torch.nn.functional import normalize

    from .conditions import trained_encoder

    with _ENCODING:
        known = _pooled(condition, tuple(captions), pause)
    asked = trained_encoder(condition).encode([prompt]).pooled
    similarities = normalize(known) @ normalize(asked)[0]
    best = int(similarities.argmax())
    return Nearest(captions[best], float(similarities[best]))


@lru_cache(maxsize=4)
def _pooled(condition: ConditionConfig, captions: tuple[str, ...], pause: Callable[[], object]) -> Tensor:
    """Return the pooled vectors of N captions, (N, D)."""
    import torch

    from .conditions import trained_encoder

    encoder = trained_encoder(condition)

    def encode() -> dict[str, Tensor]:
        parts = []
        for start in range(0, len(captions), AT_ONCE):
            pause()
            parts.append(encoder.encode(list(captions[start : start + AT_ONCE])).pooled)
        return {"pooled": torch.cat(parts)}

    return cached_tensors("text", cache_key([encoder.fingerprint, captions, "pooled"]), encode)["pooled"]
