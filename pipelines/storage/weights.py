"""Tensors in safetensors files; nothing is ever unpickled. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor
from .files import atomic


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    from safetensors.torch import save

    with atomic(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        ValueError: there is no such file, or it is not a valid safetensors file.
    """
    with open_tensors(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def open_tensors(path: Path, framework: str) -> Iterator[Any]:
    """Open a safetensors file to read its metadata, and its tensors as arrays of ``framework`` ("pt" or "numpy").

    Raises:
        ValueError: there is no such file, or it is not a valid safetensors file.
    """
    if not path.is_file():
        raise ValueError(f"no weights at {path}: give a run folder with a model.safetensors, or a .safetensors file")
    try:
        file = safe_open(path, framework=framework)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a valid safetensors file ({error}): it may be truncated or in another format; "
            "Noisescope reads safetensors only and never unpickles"
        ) from error
    with file:
        yield file
