"""Numbers that must be finite: a network that has diverged, or whose file is damaged, computes NaN or infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class NotFiniteError(ValueError):
    """Raised where a network has computed NaN or infinite numbers."""

    def __init__(self, network: str, doing: str) -> None:
        super().__init__(
            f"{network} computed NaN or infinite numbers {doing}: its weights are damaged or have diverged, so choose other "
            "weights, or train it again with a smaller --lr"
        )


def refuse_not_finite(numbers: Tensor, network: str, doing: str) -> None:
    """Raise NotFiniteError unless all numbers are finite; this waits for the device.

    Args:
        numbers: any tensor that the network has computed.
        network: name of the model or part of a model, for the message.
        doing: what it was computing, for the message: "in step 3 of 20", say.
    """
    if not bool(numbers.isfinite().all()):
        raise NotFiniteError(network, doing)
