"""Training of the image classifiers used for evaluation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from unets.blocks import initialise

from ..common.devices import autocast, best_device, keep_freed_memory
from ..common.images import as_input
from ..datasets.conditions import Conditions, load_conditions, refuse_without_conditions
from ..datasets.image_sets import ImageSet, load_split
from ..datasets.sources import open_source
from ..models.classifier import Classifier, LoadedClassifier, load_classifier
from ..storage.config import ConditionConfig, DataConfig, NetworkConfig, OptimizerConfig, RunConfig
from .plan import Shuffle, learning_rate, stream_seed

SHIFT = 2  # largest random shift of training images, in patches


def train_classifier(
    data: DataConfig,
    label_column: str | None = None,
    channels: tuple[int, ...] = (32, 64, 128),
    patch_size: int = 1,
    init_from: Path | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    lr: float = 3e-3,
    seed: int = 0,
) -> tuple[LoadedClassifier, int]:
    """Train a classifier of a dataset's classes with AdamW, and measure its accuracy on the held-out images.

    Args:
        data: a resolved configuration of the dataset (see :func:`pipelines.datasets.sources.resolve`).
        label_column: the column of classes; by default found by its type.
        channels: of each level.
        patch_size: side of the image patches that become one pixel of the finest level.
        init_from: file of a classifier of the same classes to start from, whose patches are as large or smaller.
        epochs: number of passes over the training images.
        batch_size: images per step.
        lr: peak learning rate.
        seed: determines the initial weights and the order of the images.

    Returns:
        The classifier, its weights rounded to half precision, and the number of held-out images that its accuracy was measured
        on.

    Raises:
        ValueError: ``epochs`` or ``batch_size`` is below 1, the images have no classes, or ``init_from`` does not fit or may
            have been trained on the held-out images.
    """
    if min(epochs, batch_size) < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: choose 1 or more")
    keep_freed_memory()
    config = RunConfig(NetworkConfig(unet="class"), data=data, condition=ConditionConfig(label_column=label_column))
    opened = open_source(data.data, data.only_classes)
    refuse_without_conditions(config, opened)
    *sets, data = load_split(data, opened)
    condition, conditions = load_conditions(replace(config, data=data), opened, sets)
    (train, known), (test, hidden) = map(_with_classes, sets, conditions)
    device = best_device()
    network = Classifier(train.shape[1], len(condition.classes), channels, patch_size)
    initialise(network, torch.Generator().manual_seed(seed))
    if init_from is not None:
        source = load_classifier(init_from, "cpu")
        if seen := source.may_know(sets[0], sets[1], data.held_out):
            raise ValueError(
                f"{init_from} may have been trained on {seen} of the held-out images: start from another classifier"
            )
        network.start_from(source.network)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * math.ceil(len(train) / batch_size)
    schedule = OptimizerConfig(steps=steps, warmup_steps=min(200, steps // 10), lr=lr)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    shuffle = Shuffle(len(train), seed)
    for step in tqdm(range(steps), "classifier", unit="step"):
        index = shuffle.batch(step * batch_size, batch_size)
        generator = torch.Generator().manual_seed(stream_seed(seed, step))
        x = shift_and_mirror(as_input(train[index].to(device)), SHIFT * patch_size, bool(data.flip), generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        with autocast(device):
            logits = network(x)
        F.cross_entropy(logits.float(), known[index].to(device), label_smoothing=0.05).backward()
        optimizer.step()
        optimizer.zero_grad()
    network = network.half().float().eval().requires_grad_(False)  # as they are kept
    image_channels, height, width = train.shape[1:]
    shape = (image_channels, height, width)
    classifier = LoadedClassifier(network, condition.classes, shape, data.data, math.nan, data.held_out)
    right = classifier.classify(as_input(test)) == hidden
    return replace(classifier, accuracy=right.double().mean().item()), len(test)


def _with_classes(images: ImageSet, conditions: Conditions) -> tuple[Tensor, Tensor]:
    """Return the images with a known class, (N, C, H, W) uint8, and their classes, (N,)."""
    assert conditions.labels is not None
    known = conditions.labels >= 0
    if not known.any():
        raise ValueError("none of the held-out images has a class: accuracy needs labelled images, so label some of them")
    return images.images[known], conditions.labels[known]


def shift_and_mirror(x: Tensor, most: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift the batch by up to ``most`` pixels, repeating edge pixels; mirror half of the images if ``flip``."""
    height, width = x.shape[-2:]
    top, left = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    x = F.pad(x, (most,) * 4, mode="replicate")[..., top : top + height, left : left + width]
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(x.device), x.flip(-1), x) if flip else x
