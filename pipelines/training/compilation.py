"""Compilation of a network for training, which falls back to the uncompiled one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ..common.command_line import describe
from ..common.reports import report_progress


def compile_network(network: Any, attempt: Callable[[Any], None]) -> tuple[Any, str]:
    """Compile a network for batches of one shape.

    Args:
        network: the network, possibly wrapped for several processes.
        attempt: computes a batch with the compiled network and its gradients.

    Returns:
        The compiled network, or the given one if compilation fails, and a sentence that says which.
    """
    report_progress("compiling the network")
    started, compiled = time.monotonic(), torch.compile(network, dynamic=False)
    try:
        attempt(compiled)
    except Exception as error:  # the compiler raises many kinds of errors
        return network, f"the network could not be compiled and is trained without compilation: {describe(error)[:300]}"
    return compiled, f"compiled the network in {time.monotonic() - started:.0f} seconds"
