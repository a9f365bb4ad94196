"""Evenly spaced indices: how many, both ends, and even."""

import numpy as np
import pytest

from pipelines.common.indices import evenly_spaced


@pytest.mark.parametrize("count", [1, 2, 5, 21])
def test_they_are_even_and_hold_both_ends(count):
    for length in (1, 2, 5, 21, 22, 51, 1001):
        chosen = evenly_spaced(length, count)
        assert len(chosen) == min(count, length)
        assert chosen[0] == 0
        assert chosen[-1] == (length - 1 if count > 1 else 0)
        gaps = np.diff(chosen)
        assert not len(gaps) or 1 <= gaps.min() <= gaps.max() <= gaps.min() + 1
