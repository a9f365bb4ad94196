"""Seeds, shuffling and learning rate as functions of the seed and the step alone, which makes a resume exact."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..storage.config import OptimizerConfig


def stream_seed(*key: int) -> int:
    """Return a 64-bit seed derived from a key such as (seed, step)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


class Shuffle:
    """An endless sequence of image numbers: each epoch is a permutation that depends on (seed, epoch) alone."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._epochs: dict[int, np.ndarray] = {}

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            self._epochs = {key: order for key, order in self._epochs.items() if key >= epoch - 1}
            self._epochs[epoch] = np.random.default_rng((self.seed, epoch)).permutation(self.size)
        return self._epochs[epoch]

    def batch(self, start: int, count: int) -> Tensor:
        """Return elements ``start`` … ``start + count − 1`` of the sequence, (count,) int64."""
        positions = range(start, start + count)
        return torch.tensor([self._epoch(i // self.size)[i % self.size] for i in positions])


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Return the learning rate at step ``step``, counted from 0: linear warm-up, then constant or a cosine decay to 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
