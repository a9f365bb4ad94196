"""A small image classifier, which judges what conditional models make:
``python -m pipelines.classifier classifiers/fashion-mnist.safetensors --data fashion_mnist``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from tyro.conf import OmitArgPrefixes, Positional

from unets.blocks import GroupNorm, initialise

from .command_line import DONE, run_command
from .conditioning import Conditions, load_conditions
from .config import ConditionConfig, DataConfig, NetworkConfig, OptimizerConfig, RunConfig
from .data import ImageSet, load_images, resolve
from .devices import autocast, best_device, keep_freed_memory
from .images import as_input
from .plan import Shuffle, learning_rate, stream_seed
from .runs import read_tensors, write_tensors

SHIFT = 2  # pixels by which training images are moved at most
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
        layers: list[nn.Module] = []
        before = image_channels
        for level, width in enumerate(channels):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(2):
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), GroupNorm(width), nn.SiLU()]
                before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, num_classes)

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


@dataclass(frozen=True)
class TrainClassifier:
    """Train a classifier of a dataset's classes and measure it on the test images."""

    out: Positional[Path]
    """The .safetensors file to write."""
    data: OmitArgPrefixes[DataConfig] = field(default_factory=lambda: DataConfig(held_out_images=1_000_000))
    label_column: str | None = None
    """Name of the column of classes; found by its type by default."""
    channels: tuple[int, ...] = (32, 64, 128)
    """Channels of each level."""
    epochs: int = 10
    """How often every training image is seen."""
    batch_size: int = 128
    """Images of one step."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    seed: int = 0
    """Fixes the initial weights and the order of the images."""


def main(arguments: TrainClassifier) -> int:
    """Train, measure, write; the exit code."""
    if arguments.out.suffix != ".safetensors":
        raise ValueError(f"{arguments.out} is not the name of a .safetensors file: give one")
    if min(arguments.epochs, arguments.batch_size) < 1:
        raise ValueError(f"epochs={arguments.epochs}, batch_size={arguments.batch_size}: choose 1 or more")
    keep_freed_memory()
    data = resolve(arguments.data)
    sets = load_images(data, arguments.seed)
    config = RunConfig(NetworkConfig(unet="class"), data=data, condition=ConditionConfig(label_column=arguments.label_column))
    condition, conditions = load_conditions(config, sets)
    (train, known), (test, hidden) = map(_with_classes, sets, conditions)
    device = best_device()
    network = Classifier(train.shape[1], len(condition.classes), arguments.channels)
    initialise(network, torch.Generator().manual_seed(arguments.seed))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = arguments.epochs * math.ceil(len(train) / arguments.batch_size)
    schedule = OptimizerConfig(steps=steps, warmup_steps=min(200, steps // 10), lr=arguments.lr)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    shuffle = Shuffle(len(train), arguments.seed)
    for step in tqdm(range(steps), arguments.out.stem, unit="step"):
        index = shuffle.batch(step * arguments.batch_size, arguments.batch_size)
        generator = torch.Generator().manual_seed(stream_seed(arguments.seed, step))
        x = augment(as_input(train[index].to(device)), bool(data.flip), generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        with autocast(device):
            logits = network(x)
        F.cross_entropy(logits.float(), known[index].to(device), label_smoothing=0.05).backward()
        optimizer.step()
        optimizer.zero_grad()
    network = network.eval().requires_grad_(False)
    image_channels, height, width = train.shape[1:]
    judge = LoadedClassifier(network, condition.classes, (image_channels, height, width), data.data, accuracy=math.nan)
    right = judge.classify(as_input(test)) == hidden
    accuracy = right.double().mean().item()
    made = {
        "channels": arguments.channels,
        "classes": condition.classes,
        "image_shape": judge.image_shape,
        "accuracy": accuracy,
        "test_images": len(test),
        "training": asdict(replace(arguments, data=data)),
    }
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_tensors(arguments.out, tensors, {METADATA_KEY: json.dumps(made, default=str)})
    print(f"{arguments.out}: {accuracy:.2%} of {len(test)} test images recognised")
    return DONE


def _with_classes(images: ImageSet, conditions: Conditions) -> tuple[Tensor, Tensor]:
    """The images that have a class, (N, C, H, W) uint8, and their classes, (N,)."""
    assert conditions.labels is not None
    known = conditions.labels >= 0
    if not known.any():
        raise ValueError("none of the held-out images has a class: nothing shows what a classifier of this data is worth")
    return images.images[known], conditions.labels[known]


def augment(x: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """The batch moved by up to SHIFT pixels, its edges continued; half of the images mirrored if ``flip``."""
    height, width = x.shape[-2:]
    top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
    x = F.pad(x, (SHIFT,) * 4, mode="replicate")[..., top : top + height, left : left + width]
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(x.device), x.flip(-1), x) if flip else x


if __name__ == "__main__":
    sys.exit(run_command(TrainClassifier, main, "pipelines.classifier"))
