"""The end of a sampling whose numbers are no longer finite."""

from __future__ import annotations

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
    unknown: list[tuple[int, Tensor]] = []
    for step in steps:
        unknown.append((step.index, step.x0.isfinite().all()))
        if step.index == count or step.x0.device.type == "cpu":
            for index, finite in unknown:
                if not bool(finite):
                    raise NotFiniteError(network, f"in step {index + 1} of {count}")
            unknown.clear()
        yield step
