"""A trial of the batch size: whether an accelerator's memory holds a training step, found out before the first one is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from torch import nn

from ..common.command_line import out_of_memory
from ..common.devices import device_memory
from ..common.machine import TooLarge, in_words
from ..common.reports import report_progress
from .task import Task


def refuse_too_large_batch(task: Task[Any], resumed: bool) -> None:
    """Raise TooLarge if the device's memory does not hold a step of training; the message tells the largest batch that fits.

    The gradients of a part of a batch are computed, beside room for what the optimiser will keep of each parameter. The network
    stays as it was.

    Args:
        task: placed on its device, before the first step.
        resumed: whether the run has begun, so that its batch size cannot be changed.
    """
    optimizer, processes = task.config.optimizer, task.accelerator.num_processes
    size, most = optimizer.batch_size, optimizer.batch_size // (optimizer.accumulation * processes)
    report_progress("trying the batch size")
    fits = largest_that_fits(lambda count: _try(task, count), most)
    if processes > 1:  # all leave together
        found: Any = task.accelerator.gather(torch.tensor([fits], device=task.device))
        fits = int(found.min())
    if fits == most:
        return
    memory = in_words(device_memory(task.device))
    told = f"a training step on {most:,} images at once does not fit into the memory of {task.device} ({memory})"
    if resumed:
        raise TooLarge(f"{told}: close other programs that use it, or resume on a larger device")
    if not fits:
        raise TooLarge(f"{told}, nor does one on a single image: choose a smaller image_size or channels")
    roomy = max(1, fits * 9 // 10)  # memory that is used again and again is never as free as at first
    parts = next(parts for parts in range(1, size + 1) if size % (parts * processes) == 0 and size <= roomy * parts * processes)
    raise TooLarge(
        f"{told}, but one on {fits:,} does: choose --batch-size {fits * processes * optimizer.accumulation}, or keep {size:,} "
        f"with --accumulation {parts}"
    )


def largest_that_fits(attempt: Callable[[int], None], most: int) -> int:
    """Return the largest number up to ``most`` for which ``attempt`` does not run out of memory; 0 if there is none."""
    if _fits(attempt, most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(attempt, middle) else (low, middle)
    return low


def _fits(attempt: Callable[[int], None], count: int) -> bool:
    fits = True
    try:
        attempt(count)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        fits = False
    clear_device_cache(garbage_collection=not fits)  # a traceback keeps the tensors that were in use
    return fits


def _try(task: Task[Any], count: int) -> None:
    """Compute the gradients of ``count`` images of the last batch, whose loss has all its parts, and drop them."""
    step = task.config.optimizer.steps - 1
    network: nn.Module = task.network
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kept = [torch.empty_like(parameter) for parameter in parameters for _ in range(2)]  # AdamW's averages
    try:
        for batch in task.batches(step, [slice(count)], task.accelerator.process_index):
            task.accelerator.backward(task.loss(network, batch, step))
    finally:
        for parameter in parameters:
            parameter.grad = None
        kept.clear()
