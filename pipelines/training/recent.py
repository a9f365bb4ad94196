"""Losses and gradient norms of the steps since the last line of the log."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor


class RecentLosses:
    """Losses and gradient norms, kept on the device until they are logged or saved, so that no step waits for them."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._grad_norms: list[Tensor] = []

    def add(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Add those of a step."""
        self._losses.append(loss)
        self._grad_norms.append(grad_norm)

    @property
    def last(self) -> float:
        """Loss of the last step in this process."""
        return float(self._losses[-1])

    def numbers(self, accelerator: Accelerator) -> tuple[list[float], list[float]]:
        """Return the losses and the gradient norms, averaged over processes."""
        if not self._losses:
            return [], []
        losses: Tensor = accelerator.reduce(torch.stack(self._losses).float(), "mean")
        return losses.tolist(), torch.stack(self._grad_norms).float().tolist()

    def clear(self) -> None:
        """Forget all."""
        self._losses, self._grad_norms = [], []

    def restore(self, losses: Sequence[float], grad_norms: Sequence[float], device: torch.device) -> None:
        """Hold those that were saved."""
        self._losses = [torch.tensor(loss, device=device) for loss in losses]
        self._grad_norms = [torch.tensor(norm, device=device) for norm in grad_norms]
