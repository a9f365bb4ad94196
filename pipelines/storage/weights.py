"""Tensors in safetensors files; nothing is ever unpickled. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor
from ..common.machine import refuse_beyond_memory
from .files import atomic


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    from safetensors.torch import save

    with atomic(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    The tensors are copies: safetensors maps the file into memory, and a process that reads a mapped tensor is killed by the
    system if the file has meanwhile been overwritten with a shorter one.

    Raises:
        ValueError: there is no such file, it is not a valid safetensors file, or it is larger than the memory.
    """
    refuse_too_large(path)
    with open_tensors(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a NaN or an infinite number in float32, or None."""
    return next((name for name, tensor in tensors.items() if not bool(tensor.float().isfinite().all())), None)


def refuse_too_large(path: Path) -> None:
    """Raise TooLarge if a file is plainly larger than the memory; one with a hole may claim any size."""
    if path.is_file():
        refuse_beyond_memory(path.stat().st_size, f"reading {path}", "it is damaged, or needs a larger machine")


def described_tensors(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and the type ("F32") of each tensor of a safetensors file, from its header alone.

    Raises:
        ValueError: there is no such file, or it is not a valid safetensors file.
    """
    with open_tensors(path, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


@contextmanager
def open_tensors(path: Path, framework: str) -> Iterator[Any]:
    """Open a safetensors file to read its metadata, and its tensors as arrays of ``framework`` ("pt" or "numpy").

    Raises:
        ValueError: there is no such file, or it is not a valid safetensors file.
    """
    if not path.is_file():
        raise ValueError(f"no weights at {path}: give a run folder with a model.safetensors, or a .safetensors file")
    try:
        with _name_as_text(path) as name:
            file = safe_open(name, framework=framework)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a valid safetensors file: it may be truncated or in another format; "
            "Noisescope reads safetensors only and never unpickles"
        ) from error
    with file:
        yield file


@contextmanager
def _name_as_text(path: Path) -> Iterator[str]:
    """Yield a name under which safetensors finds a file: the bytes of its path need not be text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
        return
    yield str(path)
