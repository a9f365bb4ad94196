"""The ceiling: the speed at which this machine computes the 3×3 convolutions of our networks alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .timing import Run, Times

SHAPES = ((64, 32), (128, 16), (128, 8))  # (channels, side)
FLOPS = {"cpu": 2e9}  # operations per measurement, enough to time it
FLOPS_OF_AN_ACCELERATOR = 1e12


@dataclass(frozen=True)
class Convolution:
    """A channels-last 3×3 convolution, repeated to about as many FLOPS as timing on the device needs."""

    channels: int
    side: int
    batch: int
    dtype: torch.dtype
    device: torch.device

    @property
    def name(self) -> str:
        """A description: precision, channels and side."""
        return f"{str(self.dtype).removeprefix('torch.')}, {self.channels} channels at {self.side}×{self.side}"

    @property
    def flops_of_call(self) -> int:
        """Floating-point operations of one convolution; a multiply-add is two."""
        return 2 * 9 * self.channels**2 * self.side**2 * self.batch

    @property
    def calls(self) -> int:
        """Number of convolutions in one measurement."""
        return max(1, round(FLOPS.get(self.device.type, FLOPS_OF_AN_ACCELERATOR) / self.flops_of_call))

    def prepare(self) -> Run:
        """Prepare the function to time."""
        layout = {"device": self.device, "dtype": self.dtype, "memory_format": torch.channels_last}
        x = torch.randn(self.batch, self.channels, self.side, self.side).to(**layout)
        weight = torch.randn(self.channels, self.channels, 3, 3).to(**layout)

        def run() -> None:
            for _ in range(self.calls):
                F.conv2d(x, weight, padding=1)

        return run


def convolutions(batch: int, dtypes: Iterable[torch.dtype], device: torch.device) -> list[Convolution]:
    """Return all shapes in all ``dtypes``."""
    return [Convolution(*shape, batch, dtype, device) for dtype in dtypes for shape in SHAPES]


def ceilings(times: dict[str, Times], measured: list[Convolution]) -> dict[torch.dtype, tuple[float, str]]:
    """Return for each precision the GFLOP/s and the name of the fastest convolution."""
    best: dict[torch.dtype, tuple[float, str]] = {}
    for each in measured:
        rate = each.calls * each.flops_of_call / float(np.median(times[each.name])) / 1e9
        best[each.dtype] = max(best.get(each.dtype, (0.0, "")), (rate, each.name))
    return best
