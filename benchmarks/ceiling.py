"""The ceiling: how fast this machine computes the 3×3 convolutions of our networks, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .timing import Run, Times

SHAPES = ((64, 32), (128, 16), (128, 8))  # (channels, side)
FLOPS = {"cpu": 2e9}  # of one measurement, so that it is long enough to time
FLOPS_OF_AN_ACCELERATOR = 1e12


@dataclass(frozen=True)
class Convolution:
    """A channels-last 3×3 convolution, repeated until it costs about as many FLOPS as the device needs to be timed."""

    channels: int
    side: int
    batch: int
    dtype: torch.dtype
    device: torch.device

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{str(self.dtype).removeprefix('torch.')}, {self.channels} channels at {self.side}×{self.side}"

    @property
    def flops_of_call(self) -> int:
        """Floating-point operations of one convolution; a multiply-add is two."""
        return 2 * 9 * self.channels**2 * self.side**2 * self.batch

    @property
    def calls(self) -> int:
        """How many make up one measurement."""
        return max(1, round(FLOPS.get(self.device.type, FLOPS_OF_AN_ACCELERATOR) / self.flops_of_call))

    def prepare(self) -> Run:
        """What to time."""
        layout = {"device": self.device, "dtype": self.dtype, "memory_format": torch.channels_last}
        x = torch.randn(self.batch, self.channels, self.side, self.side).to(**layout)
        weight = torch.randn(self.channels, self.channels, 3, 3).to(**layout)

        def run() -> None:
            for _ in range(self.calls):
                F.conv2d(x, weight, padding=1)

        return run


def convolutions(batch: int, dtypes: Iterable[torch.dtype], device: torch.device) -> list[Convolution]:
    """All shapes in all ``dtypes``."""
    return [Convolution(*shape, batch, dtype, device) for dtype in dtypes for shape in SHAPES]


def ceilings(times: dict[str, Times], measured: list[Convolution]) -> dict[torch.dtype, tuple[float, str]]:
    """By precision: GFLOP/s of the fastest convolution, and which one that is."""
    best: dict[torch.dtype, tuple[float, str]] = {}
    for each in measured:
        rate = each.calls * each.flops_of_call / float(np.median(times[each.name])) / 1e9
        best[each.dtype] = max(best.get(each.dtype, (0.0, "")), (rate, each.name))
    return best
