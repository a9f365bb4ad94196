"""Computing images at once, and in smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..common.command_line import out_of_memory
from ..common.machine import TooLarge

if TYPE_CHECKING:
    import torch


def within_memory(device: torch.device, count: int, compute: Callable[[int], Iterator[None]]) -> Iterator[None]:
    """Compute ``count`` images in one batch; if memory runs out, without captured calls, then in smaller batches.

    Args:
        compute: computes all images from the start, with the given batch size.

    Raises:
        TooLarge: memory runs out even for one image at a time.
    """
    at_once, freed = max(1, count), False
    while True:
        try:
            yield from compute(at_once)
            return
        except (RuntimeError, MemoryError, TooLarge) as error:
            if not out_of_memory(error):
                raise
            from ..models.captured import GRAPHS

            if GRAPHS.clear() and not freed:
                freed = True
                continue
            if at_once == 1:
                raise TooLarge(
                    f"out of memory on {device} even for one image at a time: close other programs or choose a smaller model"
                ) from error
            at_once = (at_once + 1) // 2
