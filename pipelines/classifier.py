"""Train a classifier whose features are used to compare images:
``python -m pipelines.classifier classifiers/fashion-mnist.safetensors --data fashion_mnist``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from .common.command_line import DONE, refuse_several_processes, run_command
from .common.extras import require_extra
from .common.paths import is_weights
from .common.settings import Between, Settings
from .datasets.sources import resolve
from .storage.config import DataConfig
from .storage.disk import refuse_unwritable
from .storage.presets import dataset_name


@dataclass(frozen=True)
class TrainClassifier(Settings):
    """Train a classifier on a dataset's classes and measure its accuracy on the test images."""

    out: Positional[Path]
    """The .safetensors file to write."""
    data: OmitArgPrefixes[DataConfig] = field(default_factory=lambda: DataConfig(held_out_images=1_000_000))
    label_column: str | None = None
    """Name of the column of classes; found by its type by default."""
    channels: Annotated[tuple[int, ...], Between(1, 4096)] = (32, 64, 128)
    """Channels of each level."""
    patch_size: Annotated[int, Between(1, 16)] = 1
    """Side of the image patches that become one pixel of the finest level; 2 makes 64×64 images cost what 32×32 ones do."""
    init_from: Path | None = None
    """A classifier of the same classes and channels to start from, such as one of smaller images with smaller patches."""
    epochs: Annotated[int, Between(1, 10**6)] = 10
    """Passes over the training images."""
    batch_size: Annotated[int, Between(1, 65_536)] = 128
    """Images per step."""
    lr: Annotated[float, Between(0.0, above=True)] = 3e-3
    """Peak learning rate of AdamW."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Seed of the initial weights and of the order of the images."""


def main(arguments: TrainClassifier) -> int:
    """Train, measure and write the classifier; return the exit code."""
    require_extra("train")
    refuse_several_processes("pipelines.classifier")
    if not is_weights(arguments.out):
        raise ValueError(f"out={arguments.out}: give a file name that ends in .safetensors")
    if arguments.out.exists():
        raise ValueError(f"{arguments.out} already exists: choose another file, or remove it first")
    refuse_unwritable(arguments.out.parent, "choose another file")
    from .models.classifier import save_classifier
    from .training.classifier import train_classifier

    arguments = replace(arguments, data=resolve(arguments.data))
    settings = {field.name: getattr(arguments, field.name) for field in fields(arguments) if field.name != "out"}
    classifier, test_images = train_classifier(**settings)
    data = replace(arguments.data, data=dataset_name(arguments.data.data), held_out=classifier.held_out)
    recorded = replace(arguments, data=data)
    save_classifier(arguments.out, classifier, test_images, asdict(recorded))
    print(f"{arguments.out}: {classifier.accuracy:.2%} accuracy on {test_images} test images")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(TrainClassifier, main, "pipelines.classifier"))
