"""Comparison of samples with real images while a model trains: how many repeat training images, and how far they are away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..common.images import as_input
from ..common.indices import evenly_spaced
from ..common.reports import report_progress
from ..datasets.image_sets import ImageSet
from ..evaluation.distances import ENOUGH, Features, Reference, closer_than_held_out, nearest
from ..evaluation.judges import Judge, judge_for
from ..evaluation.kept_features import kept_or_seen
from ..storage.config import RunConfig

MOST, LEAST = 128, 16  # samples that are compared at each evaluation, unless others are asked for
STEPS = 20  # of DPM-Solver++(2M), by which they are made; those of a student in its own
SHARE = 0.1  # of the passes through the network in training, which making them may take
PASSES = 3  # of a training image: a forward one, and a backward one that costs twice as much
REFERENCE = 5000  # training images, evenly spaced, that samples are compared with
AT_ONCE = 500  # images that the judge sees in one batch


@dataclass(frozen=True, eq=False)
class Comparison:
    """Real images, as a judge sees them, with which samples are compared.

    Attributes:
        judge: in whose features images are compared.
        reference: the training images.
        newness: distance of each held-out image from the nearest of them, (N,).
    """

    judge: Judge
    reference: Reference
    newness: Features

    @cached_property
    def _some(self) -> Reference:
        return self.reference.thinned(ENOUGH)

    def of(self, samples: Tensor) -> dict[str, float]:
        """Return the values to log of samples, (N, C, H, W) in [−1, 1], named and defined as in an evaluation."""
        features = self.judge.features(samples)
        copies = closer_than_held_out(features, self.reference, self.newness)
        return {
            "closer_than_held_out": float(copies.mean()),
            "kernel_distance": self._some.kernel_distance(features),
        }


def with_samples(config: RunConfig) -> RunConfig:
    """Return the configuration of a new run with the number of samples to compare, which is left open: as many as are cheap.

    It depends on the configuration alone, not on the machine. Fewer than LEAST would say little, so then there are none.
    """
    if config.log.compared_samples is not None:
        return config
    optimizer, student = config.optimizer, config.distillation
    steps = STEPS if student is None else student.most
    between = min(config.log.eval_every, optimizer.steps) * optimizer.batch_size  # images between evaluations
    affordable = min(MOST, int(SHARE * PASSES * between / steps))
    return _comparing(config, affordable if affordable >= LEAST else 0)


def comparison_with(config: RunConfig, train: ImageSet, held_out: ImageSet) -> Comparison:
    """Let a judge see the real images of a run.

    Raises:
        ValueError: no judge takes them, or it knows some of the held-out images.
    """
    judge = judge_for(config)
    judge.refuse_informed(train, held_out, config.data.held_out)
    report_progress("preparing to compare samples with training images")
    rows = evenly_spaced(len(train), REFERENCE)
    reference = _features(judge, train, rows)
    seen = _features(judge, held_out, np.arange(len(held_out)))
    return Comparison(judge, Reference(reference), nearest(seen, reference)[1])


def without_comparison(config: RunConfig) -> RunConfig:
    """Return the configuration of a run whose samples cannot be compared."""
    return _comparing(config, 0)


def _comparing(config: RunConfig, samples: int) -> RunConfig:
    return replace(config, log=replace(config.log, compared_samples=samples))


def _features(judge: Judge, images: ImageSet, rows: NDArray[np.int64]) -> Features:
    """Return a judge's features of images, which the cache keeps."""

    def see() -> Features:
        parts = np.array_split(rows, -(-len(rows) // AT_ONCE))
        return np.concatenate([judge.features(as_input(images.images[part])) for part in parts])

    return kept_or_seen(judge, images.digest(rows), len(rows), see)
