"""Alignment of generations with different steps by noise level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from .generation import Frame, Generation

SAME_LEVEL = 0.05  # log-SNRs closer than this count as equal


def shared_log_snrs(columns: Iterable[Generation]) -> list[float]:
    """Return the log-SNRs of all frames of the generations, noisiest first, with nearly equal ones merged."""
    return _merged(frame.log_snr for column in columns for frame in column.frames)


def _merged(levels: Iterable[float]) -> list[float]:
    """Return log-SNRs, noisiest first, without those that nearly equal the one before."""
    merged: list[float] = []
    for level in sorted(levels):
        if not merged or (level != merged[-1] and level - merged[-1] > SAME_LEVEL):
            merged.append(level)
    return merged


def frame_at(frames: Sequence[Frame], log_snr: float) -> Frame:
    """Return the frame whose noise level is nearest to ``log_snr``; inf gives the sample, −inf the noisiest frame."""
    if math.isinf(log_snr):
        return frames[-1 if log_snr > 0 else 0]
    return min(frames, key=lambda frame: abs(frame.log_snr - log_snr))


@lru_cache(maxsize=32)  # a growing comparison asks whenever it is drawn
def aligned_rows(columns: tuple[tuple[float, ...], ...], most: int) -> tuple[tuple[int, ...], ...]:
    """Arrange the frames of columns in common rows from noise to sample, so that each row is a noise level.

    Levels at which all columns have a frame become rows first; others lie evenly between them.

    Args:
        columns: the log-SNRs of each column's frames, at least two, from the noise to the sample.
        most: rows, at least two.

    Returns:
        For each column, the index of its frame in each row; −1 where it has none that belongs there.
    """
    inner = [levels[1:-1] for levels in columns]  # all start in the first row, whatever their noise level, and end in the last
    union = _merged(level for levels in inner for level in levels)
    shared = [level for level in union if all(any(abs(level - own) <= SAME_LEVEL for own in levels) for levels in inner)]
    rows = list(_spread(union, shared, most - 2))
    return tuple((0, *_frames_in(rows, levels), len(levels) + 1) for levels in inner)


def _spread(levels: list[float], preferred: list[float], most: int) -> Iterator[float]:
    """Yield at most so many of the levels: the preferred ones, and equally many between any two of them."""
    if len(levels) <= most:
        yield from levels
        return
    if len(preferred) > most:
        levels, preferred = preferred, []
    parts = (most - len(preferred)) // (len(preferred) + 1) + 1  # of the way from one of them to the next
    ends = [-1, *map(levels.index, preferred), len(levels)]
    places = {start + (end - start) * part // parts for start, end in pairwise(ends) for part in range(1, parts + 1)}
    yield from (levels[place] for place in sorted(places - {-1, len(levels)}))


def _frames_in(rows: Sequence[float], levels: Sequence[float]) -> Iterator[int]:
    """Yield which frame stands in each row, counted from 1: the nearest one, unless it is nearer to another row; or −1."""
    for number, row in enumerate(rows):
        if not levels:
            yield -1
            continue
        nearest = min(range(len(levels)), key=lambda frame: abs(levels[frame] - row))
        at_home = min(range(len(rows)), key=lambda other: abs(levels[nearest] - rows[other])) == number
        yield nearest + 1 if at_home else -1
