"""Alignment of generations with different steps by noise level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .generation import Frame, Generation

SAME_LEVEL = 0.05  # log-SNRs closer than this count as equal


def shared_log_snrs(columns: Iterable[Generation]) -> list[float]:
    """Return the log-SNRs of all frames of the generations, noisiest first, with nearly equal ones merged."""
    levels: list[float] = []
    for level in sorted(frame.log_snr for column in columns for frame in column.frames):
        if not levels or (level != levels[-1] and level - levels[-1] > SAME_LEVEL):
            levels.append(level)
    return levels


def frame_at(frames: Sequence[Frame], log_snr: float) -> Frame:
    """Return the frame whose noise level is nearest to ``log_snr``; inf gives the sample, −inf the noisiest frame."""
    if math.isinf(log_snr):
        return frames[-1 if log_snr > 0 else 0]
    return min(frames, key=lambda frame: abs(frame.log_snr - log_snr))
