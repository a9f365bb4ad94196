"""A small image classifier, in whose features samples are compared and which judges what conditional models make."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unets.blocks import GroupNorm

from ..common.devices import best_device
from ..storage.weights import read_tensors, write_tensors

METADATA_KEY = "classifier"
AT_ONCE = 512  # images judged together


class Classifier(nn.Module):
    """Two 3×3 convolutions a level, the resolution halved between levels, and a mean over what is left.

    Args:
        image_channels: 1 or 3.
        num_classes: how many classes it tells apart.
        channels: of each level; the last is the number of features.
    """

    def __init__(self, image_channels: int, num_classes: int, channels: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        self.channels = tuple(channels)
        layers: list[nn.Module] = []
        before = image_channels
        for level, width in enumerate(channels):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(2):
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), GroupNorm(width), nn.SiLU()]
                before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, num_classes)

    def activations(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) in [−1, 1] -> what each level makes of it, (B, channels[i], H / 2**i, W / 2**i)."""
        levels = []
        for layer in self.body:
            levels += [x] if isinstance(layer, nn.MaxPool2d) else []
            x = layer(x)
        return [*levels, x]

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [−1, 1] -> (B, channels[-1])."""
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [−1, 1] -> (B, num_classes) logits."""
        return self.head(self.features(x))


@dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """A trained classifier.

    Attributes:
        network: on its device, in evaluation mode, without gradients.
        classes: their names, in the order of their numbers.
        image_shape: (C, H, W) of the images it knows.
        data: the name of the dataset that it knows.
        accuracy: on the test images of its data.
    """

    network: Classifier
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    data: str
    accuracy: float

    def takes(self, image_shape: tuple[int, ...]) -> bool:
        """Whether it takes images of that shape: its own, or larger ones, which it makes smaller."""
        channels, *size = self.image_shape
        return image_shape[0] == channels and all(given >= own for given, own in zip(image_shape[1:], size, strict=True))

    def classify(self, images: Tensor) -> Tensor:
        """The class number of each image: (B, C, H, W) in [−1, 1] -> (B,) int64 on the CPU.

        Raises:
            ValueError: images that are smaller than those it knows, or have other channels.
        """
        return self._over_parts(self.network, images).argmax(1)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees: (B, C, H, W) in [−1, 1] -> (B, D) float32 on the CPU.

        Raises:
            ValueError: images that are smaller than those it knows, or have other channels.
        """
        return self._over_parts(self.network.features, images)

    def _over_parts(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        if not self.takes(tuple(images.shape[1:])):
            raise ValueError(f"images of shape {tuple(images.shape[1:])}: this classifier knows {self.image_shape}")
        device, size = self.network.head.weight.device, self.image_shape[1:]
        with torch.no_grad():
            parts = (part.to(device).float() for part in images.split(AT_ONCE))
            if tuple(images.shape[2:]) != size:
                parts = (F.interpolate(part, size, mode="bilinear", antialias=True) for part in parts)
            return torch.cat([function(part).cpu() for part in parts])


def load_classifier(path: str | Path, device: torch.device | str | None = None) -> LoadedClassifier:
    """Read a classifier that :mod:`pipelines.classifier` has written.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    weights, metadata = read_tensors(Path(path))
    try:
        known = json.loads(metadata[METADATA_KEY])
        network = Classifier(known["image_shape"][0], len(known["classes"]), known["channels"])
        network.load_state_dict(weights)
        data = Path(known["training"]["data"]["data"]).name
        about = tuple(known["classes"]), tuple(known["image_shape"]), data, float(known["accuracy"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a classifier: make one with `python -m pipelines.classifier`") from error
    network = network.to(device or best_device()).float().eval().requires_grad_(False)
    return LoadedClassifier(network, *about)


def save_classifier(path: Path, classifier: LoadedClassifier, test_images: int, training: Mapping[str, Any]) -> None:
    """Write a classifier, and what it knows, to a .safetensors file.

    Args:
        path: the file.
        classifier: what to write.
        test_images: how many images its accuracy was measured on.
        training: how it was trained, as JSON values; ``training["data"]["data"]`` names its data.
    """
    known = {
        "channels": classifier.network.channels,
        "classes": classifier.classes,
        "image_shape": classifier.image_shape,
        "accuracy": classifier.accuracy,
        "test_images": test_images,
        "training": training,
    }
    write_tensors(path, classifier.network.state_dict(), {METADATA_KEY: json.dumps(known, default=str)})
