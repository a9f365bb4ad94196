"""Judges: the networks in whose features images are compared, such as a classifier of the run's data, Inception or DINOv2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..common.extras import require_extra
from ..storage.files import CLASSIFIERS
from ..storage.presets import dataset_name
from .distances import Features

if TYPE_CHECKING:
    from torch import Tensor

    from ..datasets.image_sets import ImageSet
    from ..models.classifier import LoadedClassifier
    from ..storage.config import HeldOutConfig, RunConfig

INCEPTION = "inception"  # instead of a classifier's file
# Classifiers that are told by their name alone, and the first digits of their SHA-256. Results keep the name, so that another
# classifier needs another.
SHIPPED = {
    "fashion-mnist": "124f3c00",
    "oxford-flowers": "436690c3",
    "oxford-flowers-64": "a0c08398",
    "oxford-flowers-128": "709cada4",
    "tiny-imagenet": "e41d1b03",
    "tiny-imagenet-64": "40c23d22",
}
PHOTOGRAPHS = "tiny_imagenet"  # its classifier judges colour images whose dataset has no classifier of its own


@dataclass(frozen=True, eq=False)
class Judge:
    """A feature network that evaluates images.

    Attributes:
        name: display name of the features.
        see: (N, C, H, W) in [−1, 1] -> (N, D) features.
        digest: first digits of the SHA-256 of its weights.
        classifier: a classifier of the dataset's classes, or None.
    """

    name: str
    digest: str
    see: Callable[[Tensor], Tensor]
    classifier: LoadedClassifier | None

    def features(self, images: Tensor) -> Features:
        """Return the features of images: (N, C, H, W) in [−1, 1] -> (N, D)."""
        return self.see(images).double().numpy()

    def classes(self, images: Tensor) -> NDArray[np.int64] | None:
        """Return the class that the classifier sees in each image, (N,), or None without one."""
        return None if self.classifier is None else self.classifier.classify(images).numpy()

    def refuse_informed(self, train: ImageSet, held_out: ImageSet, split: HeldOutConfig) -> None:
        """Raise ValueError if the classifier may have been trained on held-out images, which it would take for others.

        Args:
            train, held_out: images of the data that it was trained on.
            split: of these images (see :mod:`pipelines.datasets.splits`).
        """
        if self.classifier is not None and (known := self.classifier.may_know(train, held_out, split)):
            raise ValueError(
                f"the {self.name} may have been trained on {known} of the {len(held_out)} held-out images: train it "
                "again with `python -m pipelines.classifier`, or give another with --features"
            )


def judge_for(config: RunConfig, features: Path | None = None) -> Judge:
    """Return the judge of a run's images.

    Args:
        config: of the run to evaluate, whose images' shape is known.
        features: a classifier's file, "inception", or a vision model (see :func:`.vision.load_vision_model`); by default the
            shipped classifier of the run's dataset, or else that of photographs: of several sizes, the largest that is not
            larger than the images, because what is enlarged for a judge has no details to be judged by.

    Raises:
        ValueError: there is no judge for such images.
    """
    from ..models.classifier import load_classifier
    from .vision import load_vision_model, names_vision_model

    assert config.image_shape is not None
    own = shipped_classifier(dataset_name(config.data.data), config.image_shape)
    if features is not None and str(features) == INCEPTION:
        require_extra("inception")
        from .inception import DIGEST, load_inception

        return Judge("Inception (pytorch-fid)", DIGEST, load_inception().features, own and own[1])
    if features is not None and names_vision_model(features):
        vision = load_vision_model(features)
        return Judge(vision.name, vision.digest, vision.features, own and own[1])
    if features is None:
        found = own or shipped_classifier(PHOTOGRAPHS, config.image_shape)
    else:
        found = features, load_classifier(features)
    if found is None:
        size = "×".join(map(str, config.image_shape))
        data = config.data.data
        name = dataset_name(data)
        made = f"python -m pipelines.classifier classifiers/{name}.safetensors --data {data}"
        raise ValueError(
            f"no classifier takes {name} images of {size} (C×H×W): train one with `{made}`, or give one, or "
            f"{INCEPTION}, with --features"
        )
    path, classifier = found
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    name = f"{path.stem} classifier" if SHIPPED.get(path.stem) == digest else f"{path.stem} classifier {digest}"
    if classifier.image_shape != config.image_shape:
        name += f", images made {'×'.join(map(str, classifier.image_shape[1:]))}"
    return Judge(name, digest, classifier.features, classifier if knows(classifier, config) else None)


def shipped_classifier(data: str, image_shape: tuple[int, int, int]) -> tuple[Path, LoadedClassifier] | None:
    """Return the largest shipped classifier of a dataset that takes images of that shape, and its file, or None."""
    return next(shipped_classifiers(data, image_shape), None)


def shipped_classifiers(data: str, image_shape: tuple[int, ...]) -> Iterator[tuple[Path, LoadedClassifier]]:
    """Load the shipped classifiers of a dataset that take images of that shape, the largest first, each with its file."""
    from ..models.classifier import describe_classifier, load_classifier

    described = ((path, describe_classifier(path)) for path in sorted(CLASSIFIERS.glob("*.safetensors")))
    able = [(path, one) for path, one in described if one.data == data and one.takes(image_shape)]
    for path, _ in sorted(able, key=lambda pair: pair[1].image_shape, reverse=True):
        yield path, load_classifier(path)


def knows(classifier: LoadedClassifier, config: RunConfig) -> bool:
    """Return whether a classifier was trained on a run's dataset and takes images of its size."""
    return classifier.takes(config.image_shape or ()) and classifier.data == dataset_name(config.data.data)
