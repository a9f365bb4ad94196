"""The end of a sampling whose numbers are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..common.finite import NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.samplers import Step


def refuse_divergence(steps: Iterator[Step], count: int, network: str) -> Iterator[Step]:
    """Yield the steps of a sampler as long as their estimates are finite.

    To ask an accelerator for a number is to wait for it, so there the question is asked once, before the sample is yielded.

    Args:
        steps: the steps.
        count: the index of the last one, which holds the sample.
        network: name of the model, for the error message.

    Raises:
        NotFiniteError: an estimate contains NaN or infinite numbers.
    """
    import torch

    indices, sums = list[int](), list["Tensor"]()  # a sum is finite if all its terms are, and one operation
    for step in steps:
        indices.append(step.index)
        sums.append(step.x0.sum())
        if step.index == count or step.x0.device.type == "cpu":
            for index, total in zip(indices, torch.stack(sums).tolist(), strict=True):
                if not math.isfinite(total):
                    raise NotFiniteError(network, f"in step {index + 1} of {count}")
            indices, sums = [], []
        yield step
