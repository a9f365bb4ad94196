"""Disk cache of tensors that are slow to compute: $NOISESCOPE_CACHE, or ~/.cache/noisescope."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.paths import folder_in, settled
from .disk import refuse_full, refuse_unwritable
from .weights import read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

CACHE_REMEDY = "set $NOISESCOPE_CACHE to another folder to keep them"


def cache_folder() -> Path:
    """Return the folder of all that is cached."""
    return folder_in("NOISESCOPE_CACHE") or Path(settled("~/.cache/noisescope"))


def adopt_compiler_cache() -> None:
    """Let torch's compiler keep its files in the cache; its own place has a guessable name in the shared temporary folder."""
    folder = cache_folder() / "compiler"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def cache_key(value: object) -> str:
    """Return the SHA-256 of a value that can be written as JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def find_cached(kind: str, key: str, folder: str | Path | None = None) -> Mapping[str, Tensor] | None:
    """Return the tensors cached under ``key``, or None if there are none or the file is damaged; see :func:`cached_tensors`."""
    return _read(_path(kind, key, folder))


def is_cached(kind: str, key: str) -> bool:
    """Return whether there is a file of tensors cached under ``key``, which is not read."""
    return _path(kind, key, None).is_file()


def cached_tensors(
    kind: str, key: str, make: Callable[[], Mapping[str, Tensor]], folder: str | Path | None = None, size: int = 0
) -> Mapping[str, Tensor]:
    """Return the tensors cached under ``key``, or make and cache them.

    A damaged file is replaced. If the folder cannot be written, or lacks room, a warning says so before the work is done.

    Args:
        kind: kind of tensors, the name of a subfolder of the cache.
        key: digest of everything that the tensors depend on, in hexadecimal digits.
        make: computes the tensors.
        folder: folder of the files, instead of the cache's subfolder.
        size: bytes that they will take, if known.
    """
    path = _path(kind, key, folder)
    found = _read(path)
    if found is not None:
        return found
    if not can_cache(kind, folder, size):
        return make()
    made = make()
    try:
        write_tensors(path, made, {"sha256": digest(made)})
    except OSError as error:
        warnings.warn(f"{kind} could not be cached in {path.parent} ({error.strerror})", stacklevel=3)
    return made


def can_cache(kind: str, folder: str | Path | None = None, size: int = 0) -> bool:
    """Return whether tensors can be cached, and warn if not; see :func:`cached_tensors`."""
    place = _path(kind, "", folder).parent
    try:
        refuse_unwritable(place, CACHE_REMEDY)
        refuse_full(place, size, kind, CACHE_REMEDY)
    except ValueError as error:
        warnings.warn(f"{kind} will not be cached: {error}", stacklevel=3)
        return False
    return True


def _path(kind: str, key: str, folder: str | Path | None) -> Path:
    return Path(folder or cache_folder() / kind) / f"{key}.safetensors"


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        tensors, metadata = read_tensors(path)
        return tensors if metadata["sha256"] == digest(tensors) else None
    except (ValueError, KeyError, OSError):  # missing, damaged, or another program's
        return None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names, shapes, dtypes and values of CPU tensors, in hexadecimal digits."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
