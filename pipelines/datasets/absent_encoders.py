"""Text encoders that are not on this machine, but whose encodings of captions are in the cache.

Where captions were encoded once, for example on a machine with the hub, a training can go on, or start elsewhere, with the
cache alone: the network sees nothing of a caption but its encoding. Importing this module does not load torch.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..common.json_files import read_json
from ..common.settings import settings_from
from ..storage.cache import cache_folder, cache_key
from ..storage.files import write_text
from .encoded_text import TextEncoder

if TYPE_CHECKING:
    from .encoded_text import EncodedText, Word


@dataclass(frozen=True)
class Remembered:
    """What a run records of a text encoder, and what its cached encodings are found by; see :class:`TextEncoder`."""

    name: str
    width: int
    length: int
    fingerprint: str
    weights_digest: str


@dataclass(frozen=True)
class AbsentEncoder(Remembered):
    """A :class:`TextEncoder` that is known, but cannot encode: whatever is not in the cache is refused."""

    missing: str
    """A sentence that says what is missing, and what to do."""

    def encode(self, texts: list[str]) -> EncodedText:
        """Raise ValueError."""
        self._refuse()

    def lost_words(self, text: str) -> list[str]:
        """Raise ValueError."""
        self._refuse()

    def cut_note(self, text: str) -> str:
        """Raise ValueError."""
        self._refuse()

    def words(self, text: str) -> list[Word]:
        """Raise ValueError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError(self.missing)


def remember(asked: str, encoder: TextEncoder) -> None:
    """Note beside the cached encodings what encoder has made them.

    Args:
        asked: the name under which a run asks for it.
        encoder: the encoder; one that is absent is noted already.
    """
    if isinstance(encoder, AbsentEncoder):
        return
    known = Remembered(encoder.name, encoder.width, encoder.length, encoder.fingerprint, encoder.weights_digest)
    if _remembered(asked) != known:
        with suppress(OSError):  # a cache that cannot be written has been told of
            write_text(_path(asked), json.dumps(vars(known), indent=1))


def absent_encoder(asked: str, missing: str) -> AbsentEncoder | None:
    """Return the encoder that :func:`remember` has noted under a name; None if there is none.

    Args:
        asked: the name.
        missing: why the encoder itself cannot be had, for whoever wants to encode more.
    """
    known = _remembered(asked)
    return None if known is None else AbsentEncoder(**vars(known), missing=missing)


def _remembered(asked: str) -> Remembered | None:
    path = _path(asked)
    try:
        return settings_from(Remembered, read_json(path), str(path))
    except (OSError, ValueError):  # missing or damaged
        return None


def _path(asked: str) -> Path:
    return cache_folder() / "text" / f"{cache_key(asked)}.json"
