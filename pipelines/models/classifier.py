"""A small image classifier: its features serve to compare samples, its classes to evaluate conditional models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unets.blocks import GroupNorm

from ..common.devices import best_device
from ..common.json_files import parse_json
from ..common.settings import Between, Settings, require, settings_from
from ..datasets.image_sets import ImageSet
from ..storage.config import HeldOutConfig
from ..storage.weights import open_tensors, write_tensors
from .networks import load_weights

METADATA_KEY = "classifier"
AT_ONCE = 512  # batch size


class Classifier(nn.Module):
    """A convolutional network with two 3×3 convolutions per level, max pooling between levels and global average pooling.

    Args:
        image_channels: 1 or 3.
        num_classes: number of classes.
        channels: of each level; the last is the number of features.
        patch_size: side of the square image patches that become one pixel of the finest level. The first convolution sees 3×3
            patches, pixel by pixel, so that larger images show their details at the price of smaller ones.
    """

    def __init__(
        self, image_channels: int, num_classes: int, channels: Sequence[int] = (32, 64, 128), patch_size: int = 1
    ) -> None:
        super().__init__()
        self.channels, self.patch_size = tuple(channels), patch_size
        layers: list[nn.Module] = []
        before, side = image_channels, patch_size
        for level, width in enumerate(channels):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(2):
                layers += [nn.Conv2d(before, width, 3 * side, side, side, bias=False), GroupNorm(width), nn.SiLU()]
                before, side = width, 1
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, num_classes)

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return the activations of each level: (B, C, H, W) in [−1, 1] -> (B, channels[i], H / p / 2**i, W / p / 2**i).

        p is the patch size.
        """
        levels = []
        for layer in self.body:
            levels += [x] if isinstance(layer, nn.MaxPool2d) else []
            x = layer(x)
        return [*levels, x]

    def features(self, x: Tensor) -> Tensor:
        """Return the features that the last layer classifies: (B, C, H, W) in [−1, 1] -> (B, channels[-1])."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: (B, C, H, W) in [−1, 1] -> (B, num_classes)."""
        return self.head(self.features(x))

    @torch.no_grad()
    def start_from(self, other: Classifier) -> None:
        """Take the weights of a classifier of smaller patches, which answers as this one will for images without detail.

        The first kernel is the other's, spread over larger patches, plus what this one has within patches: a kernel that sums
        to 0 in each, and so sees what the other cannot (idea: net2net, Chen et al. 2016).

        Raises:
            ValueError: the other has another shape, or patches that do not divide these.
        """
        times, rest = divmod(self.patch_size, other.patch_size)
        kernel, known = (network.get_parameter("body.0.weight") for network in (self, other))
        if rest or (self.channels, self.head.weight.shape) != (other.channels, other.head.weight.shape):
            raise ValueError(
                f"a classifier of {self.head.out_features} classes with channels {self.channels} and patches of "
                f"{self.patch_size} pixels cannot start from one of {other.head.out_features} classes with channels "
                f"{other.channels} and patches of {other.patch_size}: choose its channels and a multiple of its patches"
            )
        spread = known.repeat_interleave(times, 2).repeat_interleave(times, 3) / times**2
        within = kernel - F.interpolate(F.avg_pool2d(kernel, times), scale_factor=times)
        self.load_state_dict(other.state_dict() | {"body.0.weight": spread + within})


@dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """A trained classifier.

    Attributes:
        network: on its device, in evaluation mode, without gradients.
        classes: names, in the order of the class numbers.
        image_shape: (C, H, W) of its training images.
        data: name of the dataset it was trained on.
        accuracy: on the test images of that dataset.
        held_out: those images, which it has not been trained on.
    """

    network: Classifier
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    data: str
    accuracy: float
    held_out: HeldOutConfig

    def takes(self, image_shape: tuple[int, ...]) -> bool:
        """Return whether it takes images of that shape: that of its training images, or larger, which it resizes."""
        return _takes(self.image_shape, image_shape)

    def may_know(self, train: ImageSet, held_out: ImageSet, split: HeldOutConfig) -> int:
        """Return how many held-out images it may have been trained on.

        Args:
            train, held_out: images of the data that it was trained on.
            split: of these images (see :mod:`pipelines.datasets.splits`).
        """
        if train.split != held_out.split:  # it was not trained on a split for tests either
            return 0
        own = self.held_out
        return int((held_out.keys >= int(own.below, 16)).sum()) if own.below else len(held_out) * (own.seed != split.seed)

    def classify(self, images: Tensor) -> Tensor:
        """Return the class number of each image: (B, C, H, W) in [−1, 1] -> (B,) int64 on the CPU.

        Raises:
            ValueError: the images are smaller than the training images, or have another number of channels.
        """
        return self._over_parts(self.network, images).argmax(1)

    def features(self, images: Tensor) -> Tensor:
        """Return the features that the last layer classifies: (B, C, H, W) in [−1, 1] -> (B, D) float32 on the CPU.

        Raises:
            ValueError: the images are smaller than the training images, or have another number of channels.
        """
        return self._over_parts(self.network.features, images)

    def _over_parts(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        if not self.takes(tuple(images.shape[1:])):
            raise ValueError(f"images of shape {tuple(images.shape[1:])}: this classifier takes {self.image_shape} or larger")
        device, size = self.network.head.weight.device, self.image_shape[1:]
        with torch.no_grad():
            parts = (part.to(device).float() for part in images.split(AT_ONCE))
            if tuple(images.shape[2:]) != size:
                parts = (F.interpolate(part, size, mode="bilinear", antialias=True) for part in parts)
            found = torch.cat([function(part).cpu() for part in parts])
        if not bool(found.isfinite().all()):
            raise ValueError(f"the classifier of {self.data} does not return finite numbers: its weights are damaged")
        return found


def _takes(own: tuple[int, int, int], image_shape: tuple[int, ...]) -> bool:
    """Return whether a classifier of images of its ``own`` shape takes images of another one."""
    channels, *size = own
    return image_shape[0] == channels and all(given >= least for given, least in zip(image_shape[1:], size, strict=True))


@dataclass(frozen=True)
class ClassifierDescription(Settings):
    """The metadata of a classifier's file; ``training`` has more keys, which only people read."""

    channels: Annotated[tuple[int, ...], Between(1, 4096)]
    classes: tuple[str, ...]
    image_shape: Annotated[tuple[int, int, int], Between(1, 4096)]
    accuracy: Annotated[float, Between(0.0, 1.0)]
    test_images: int
    training: dict[str, Any]
    patch_size: Annotated[int, Between(1, 16)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        halvings = len(self.channels) - 1
        require(bool(self.classes), "there are no classes")
        finest = min(self.image_shape[1:]) // self.patch_size
        require(halvings >= 0 and finest >> halvings > 0, "as many levels do not fit the images")

    @property
    def data(self) -> str:
        """Name of the dataset it was trained on."""
        data = self.training.get("data")
        name = data.get("data") if isinstance(data, dict) else None
        require(isinstance(name, str), "the name of its dataset is missing")
        return Path(str(name)).name

    @property
    def held_out(self) -> HeldOutConfig:
        """The images it was not trained on, which older versions chose by its seed."""
        chosen_by_seed = {"seed": self.training.get("seed", 0)}
        return settings_from(HeldOutConfig, self.training["data"].get("held_out", chosen_by_seed), "held_out")

    def takes(self, image_shape: tuple[int, ...]) -> bool:
        """Return whether the classifier takes images of that shape (see :meth:`LoadedClassifier.takes`)."""
        return _takes(self.image_shape, image_shape)


def describe_classifier(path: str | Path) -> ClassifierDescription:
    """Read what a classifier's file says of it, without its weights.

    Raises:
        ValueError: there is no such file, or it is not a classifier.
    """
    with open_tensors(Path(path), "numpy") as file:
        metadata = file.metadata() or {}
    try:
        text = parse_json(metadata.get(METADATA_KEY, ""), "its description")
        known = settings_from(ClassifierDescription, text, "its description")
        _ = known.data, known.held_out  # which are read from its training, too
    except ValueError as error:
        raise ValueError(f"{path} is not a classifier ({error}): train one with `python -m pipelines.classifier`") from error
    return known


def load_classifier(path: str | Path, device: torch.device | str | None = None) -> LoadedClassifier:
    """Load a classifier written by :mod:`pipelines.classifier`.

    Raises:
        ValueError: there is no such file, or it is not a classifier.
    """
    known = describe_classifier(path)
    with torch.device("meta"):
        network = Classifier(known.image_shape[0], len(known.classes), known.channels, known.patch_size)
    load_weights(Path(path), {"": network})
    network = network.to(device or best_device()).float().eval().requires_grad_(False)
    return LoadedClassifier(network, known.classes, known.image_shape, known.data, known.accuracy, known.held_out)


def save_classifier(path: Path, classifier: LoadedClassifier, test_images: int, training: Mapping[str, Any]) -> None:
    """Write a classifier, in half precision, and its metadata to a .safetensors file.

    Args:
        path: the file.
        classifier: the trained classifier.
        test_images: number of images its accuracy was measured on.
        training: settings of its training, as JSON values; ``training["data"]["data"]`` names its dataset.
    """
    known = {
        "channels": classifier.network.channels,
        "patch_size": classifier.network.patch_size,
        "classes": classifier.classes,
        "image_shape": classifier.image_shape,
        "accuracy": classifier.accuracy,
        "test_images": test_images,
        "training": training,
    }
    weights = {name: tensor.half() for name, tensor in classifier.network.state_dict().items()}
    write_tensors(path, weights, {METADATA_KEY: json.dumps(known, default=str)})
