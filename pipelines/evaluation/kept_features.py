"""Features kept in the cache, for permutation tests between models that are measured one after the other.

They are not part of a run: those of one setting may take a megabyte, and can be computed again from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..storage.cache import cache_key, cached_tensors, find_cached, is_cached
from .distances import Features, Reference
from .judges import Judge

KIND = "features"
OF_REFERENCE = ("features", "judge", "reference_images", "reference_digest")  # the settings that determine them


def keep_features(fingerprint: str, asked: Mapping[str, Any], samples: Features, reference: Reference) -> None:
    """Keep the features of samples and of the training images that they are compared with.

    Args:
        fingerprint: of the weights.
        asked: the settings of the measurement (:attr:`Result.asked`).
    """
    import torch

    kept = {_samples_key(fingerprint, asked): samples, _reference_key(asked): reference.features}
    for key, features in kept.items():
        tensors = {"features": torch.from_numpy(features).float()}
        cached_tensors(KIND, key, partial(dict, tensors))


def kept_or_seen(judge: Judge, digest: str, count: int, see: Callable[[], Features]) -> Features:
    """Return a judge's features of real images, which are kept and found as those of an evaluation's training images are.

    Args:
        digest, count: of the images.
        see: lets the judge see them.
    """
    import torch

    asked = {"features": judge.name, "judge": judge.digest, "reference_images": count, "reference_digest": digest}
    found = cached_tensors(KIND, _reference_key(asked), lambda: {"features": torch.from_numpy(see()).float()})
    return found["features"].double().numpy()


def has_features(fingerprint: str, asked: Mapping[str, Any]) -> bool:
    """Return whether the features of samples and of what they were compared with seem to have been kept."""
    return all(is_cached(KIND, key) for key in (_samples_key(fingerprint, asked), _reference_key(asked)))


def kept_samples(fingerprint: str, asked: Mapping[str, Any]) -> Features | None:
    """Return the features of samples, (N, D), or None if they have not been kept."""
    return _kept(_samples_key(fingerprint, asked))


def kept_reference(asked: Mapping[str, Any]) -> Reference | None:
    """Return the training images that samples were compared with, or None if they have not been kept."""
    features = _kept(_reference_key(asked))
    return None if features is None else Reference(features)


def _kept(key: str) -> Features | None:
    found = find_cached(KIND, key)
    return None if found is None else found["features"].double().numpy()


def _samples_key(fingerprint: str, asked: Mapping[str, Any]) -> str:
    return cache_key([fingerprint, {key: value for key, value in asked.items() if key != "shown"}])


def _reference_key(asked: Mapping[str, Any]) -> str:
    return cache_key([asked.get(key) for key in OF_REFERENCE])
