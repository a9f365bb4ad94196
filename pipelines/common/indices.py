"""Evenly spaced selection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(length: int, count: int) -> NDArray[np.int64]:
    """Return at most ``count`` of ``length`` indices, evenly spaced, including the first and (from two on) the last."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(np.int64)
