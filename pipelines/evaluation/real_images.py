"""Real images that a model's samples are compared with, as a judge sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..common.devices import process_state
from ..common.images import as_input
from ..common.indices import evenly_spaced
from ..common.together import gathered, own_share
from ..datasets.image_sets import load_split, refuse_other_images
from ..datasets.sources import open_source
from ..datasets.splits import data_of, refuse_missing
from .distances import NEIGHBOURS, Features, Reference, nearest

if TYPE_CHECKING:
    from diffusion_core.condition import Condition

    from ..datasets.conditions import Conditions
    from ..datasets.image_sets import ImageSet
    from ..storage.config import RunConfig
    from .judges import Judge

AT_ONCE = 500  # batch size of the judge


class RealImages:
    """A run's training images and held-out images, with the features that a judge computes from them.

    Args:
        config: of the run.
        judge: computes the features.
        reference_images: maximum number of training images that samples are compared with.
        held_out_images: maximum number of held-out images.

    Raises:
        ValueError: the data are not those of the run, there are too few held-out images, or the judge knows some of them.
    """

    def __init__(self, config: RunConfig, judge: Judge, reference_images: int, held_out_images: int) -> None:
        self.judge = judge
        data = data_of(config)
        refuse_missing(config, "if you resume the run once, --data FOLDER says where they are now")
        with process_state().main_process_first():  # it may have to download them
            self._opened = open_source(data.data, data.only_classes)
            self.train, self.held_out, _ = load_split(data, self._opened, measured=held_out_images)
        refuse_other_images(config, self.train)
        judge.refuse_informed(self.train, self.held_out, data.held_out)
        if len(self.held_out) <= NEIGHBOURS:
            raise ValueError(
                f"{len(self.held_out)} held-out images: evaluation needs {NEIGHBOURS + 1} or more: choose data with more images"
            )
        self.rows = evenly_spaced(len(self.train), reference_images)
        self._config = config

    def as_input(self, images: ImageSet, rows: Iterable[int]) -> Tensor:
        """Return images as network input, (B, C, H, W) in [−1, 1]."""
        return as_input(images.images[list(rows)])

    @cached_property
    def reference(self) -> Reference:
        """Features of the training images."""
        return Reference(self._seen(self.train, self.rows))

    @cached_property
    def held_out_features(self) -> Features:
        """Features of the held-out images, (N, D)."""
        return self._seen(self.held_out, np.arange(len(self.held_out)))

    def key(self, held_out: int) -> dict[str, str]:
        """Return what identifies the images of a measurement of the first ``held_out`` held-out images."""
        return {"held_out_digest": self.held_out.digest(slice(held_out))}

    def compared_key(self, held_out: int) -> dict[str, Any]:
        """Return what identifies a comparison in the judge's features: the judge, the training images and the held-out ones."""
        judged = {"features": self.judge.name, "judge": self.judge.digest}
        reference = {"reference_images": len(self.rows), "reference_digest": self.train.digest(self.rows)}
        return judged | reference | self.key(held_out)

    @cached_property
    def newness(self) -> Features:
        """Distance of each held-out image from its nearest training image, (N,)."""
        return nearest(self.held_out_features, self.reference.features)[1]

    def _seen(self, images: ImageSet, rows: NDArray[np.int64]) -> Features:
        """Return the judge's features of some of the images, computed in batches."""
        parts = np.array_split(rows, -(-len(rows) // AT_ONCE))
        return np.concatenate(gathered([self.judge.features(self.as_input(images, part)) for part in own_share(parts)]))

    @cached_property
    def conditions(self) -> Conditions | None:
        """Conditions of the held-out images; None for an unconditional network."""
        if not self._config.network.conditional:
            return None
        from ..datasets.conditions import load_conditions, refuse_other_classes

        with process_state().main_process_first():  # it may have to download a text encoder
            found, conditions = load_conditions(self._config, self._opened, (self.train, self.held_out))
        refuse_other_classes(self._config, found)
        return conditions[1]

    def shown(self, samples: Sequence[int]) -> Condition | None:
        """Return the conditions of samples with these numbers, which are those of the held-out images in order.

        Classes are thus as frequent among samples as among real images. None for an unconditional network.
        """
        return None if self.conditions is None else self.conditions.of(torch.tensor(samples) % len(self.held_out))

    @cached_property
    def labels(self) -> Tensor | None:
        """Classes of the held-out images, (N,), as numbered by the judge's classifier; None without one."""
        from ..datasets.conditions import held_out_labels

        known = self.judge.classifier
        return None if known is None else held_out_labels(self._config, self._opened, self.held_out, known.classes)

    def recognised(self, classes: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
        """Return for each sample whether the judge's classifier recognises the requested class.

        None without a classifier, or for an unconditional network.

        Args:
            classes: which it sees in the samples, (N,), in order.
        """
        if classes is None or self.conditions is None or self.labels is None:
            return None
        labels = self.labels.numpy()
        return np.asarray(classes == labels[np.arange(len(classes)) % len(labels)])
