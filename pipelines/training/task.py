"""What a training loop is handed: data, and a task that says what is learnt from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .. import __version__
from ..common.devices import send
from ..common.images import Pixels, as_input
from ..datasets.conditions import Conditions
from ..datasets.image_sets import held_out_split
from ..storage.config import DataConfig, RunConfig
from ..storage.state import Learner
from .plan import Shuffle

Batch = TypeVar("Batch")
LIBRARIES = ("torch", "torchvision", "accelerate", "datasets", "numpy")  # whose versions a run records


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The images to learn from and those held out, or their latents, in memory.

    Attributes:
        images, held_out: (N, C, H, W) and (M, C, H, W): uint8 pixels, or floating-point numbers as the network takes them
            (pixels in [−1, 1], or latents).
        mirrored: latents of the mirrored training images, because a mirrored latent is not the latent of a mirrored image;
            None for pixels.
        conditions, held_out_conditions: what a conditional network is told about them.
        skipped: one sentence for each image that could not be used.
    """

    images: Tensor
    held_out: Tensor
    mirrored: Tensor | None = None
    conditions: Conditions | None = None
    held_out_conditions: Conditions | None = None
    skipped: Sequence[str] = ()

    @classmethod
    def from_images(
        cls, images: Tensor | Iterable[Any], labels: Tensor | None = None, seed: int = 0, held_out_images: int | None = None
    ) -> TrainingData:
        """Make training data of your own images; a tenth of them is held out.

        Args:
            images: (N, C, H, W), uint8 pixels or floats in [−1, 1]; or a DataLoader, or any other iterable, of batches of
                such images or of (images, labels) pairs, which is read once and kept in memory.
            labels: (N,) class numbers, for a class-conditional network.
            seed: fixes which images are held out.
            held_out_images: how many are held out at most; by default those of :class:`DataConfig`.

        Raises:
            ValueError: fewer than two images.
        """
        if not isinstance(images, Tensor):
            batches = [batch if isinstance(batch, list | tuple) else (batch,) for batch in images]
            images, *others = (torch.cat(parts) for parts in zip(*batches, strict=True))
            labels = others[0] if others else labels
        kept, held_out = held_out_split(len(images), held_out_images or DataConfig.held_out_images, seed)
        known = [None, None] if labels is None else [Conditions(labels=labels[rows].long()) for rows in (kept, held_out)]
        return cls(images[kept], images[held_out], None, *known)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> TrainingData:
        """The same on another device."""
        moved = {name: getattr(self, name) for name in ("images", "held_out", "mirrored", "conditions", "held_out_conditions")}
        return replace(self, **{name: part.to(device) for name, part in moved.items() if part is not None})


def as_network_input(images: Tensor) -> Tensor:
    """Images of :class:`TrainingData` -> float32 as the network takes them: pixels in [−1, 1], or latents."""
    return as_input(images) if images.dtype == torch.uint8 else images.float()


def completed(config: RunConfig, image_shape: Sequence[int], training_images: int) -> RunConfig:
    """Return the configuration with what a run records: its images' shape and number, and the versions of the libraries."""
    channels, height, width = image_shape
    versions = {"noisescope": __version__} | {name: version(name) for name in LIBRARIES}
    return replace(
        config,
        image_shape=(channels, height, width),
        versions=config.versions or versions,
        training_images=training_images,
    )


class Task(ABC, Generic[Batch]):
    """What is learnt: a network, its batches, its loss, how it is evaluated, and the pictures that show it.

    A task knows nothing of files, processes or the time: a :class:`~pipelines.training.loop.TrainingLoop` asks it.

    Args:
        config: what the run is made of. Recorded settings that are still open are filled in from the data.
        data: the images.
        network: what is trained, with its first weights.

    Attributes:
        config: the completed configuration.
        accelerator: the loop's, once it has placed the task.
        device: where the network and the data are from then on.
    """

    accelerator: Accelerator
    device: torch.device

    def __init__(self, config: RunConfig, data: TrainingData, network: nn.Module) -> None:
        self.config, self.data, self.network = config, data, network
        self.shuffle = Shuffle(len(data), config.seed)

    def place(self, accelerator: Accelerator) -> None:
        """Move the network and the data to the loop's device."""
        self.accelerator, self.device = accelerator, accelerator.device
        self.network = self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data = self.data.to(self.device)

    @property
    def other_learners(self) -> dict[str, Learner]:
        """What is trained beside the network, by the prefix of its tensors in the saved state; nothing by default."""
        return {}

    @abstractmethod
    def batches(self, step: int, parts: Iterable[slice], process: int = 0) -> Iterator[Batch]:
        """Yield parts of the batch of a step, a function of (seed, step) alone.

        The whole batch is drawn everywhere and cut, so that its randomness does not depend on how it is split.

        Args:
            step: counted from 0.
            parts: the rows of the batch that each part takes.
            process: which of several processes asks; only dropout's masks depend on it.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """The mean loss of a part of a step's batch, which the optimiser makes smaller.

        Args:
            network: :attr:`network`, perhaps wrapped for several processes or compiled.
        """

    def end_step(self, step: int) -> None:
        """Called when the optimiser has taken the step: the turn of :attr:`other_learners`."""

    @abstractmethod
    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        """What a line of the log says of the averaged weights on the held-out images: ``val_loss``, and more."""

    @abstractmethod
    def draw(self, network: nn.Module) -> Pixels:
        """A grid of pictures that shows what a network has learnt, from the same seeds at every call."""

    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        """The averaged weights as they are published."""
        return average.state_dict()

    def mirrored(self, generator: torch.Generator) -> Tensor:
        """(batch_size,) bool: which images of a batch are mirrored."""
        size = self.config.optimizer.batch_size
        return torch.rand(size, generator=generator) < 0.5 if self.config.data.flip else torch.zeros(size, dtype=torch.bool)

    def training_images(self, index: Tensor, mirrored: Tensor) -> Tensor:
        """Some training images as the network takes them, (B, C, H, W), those that are ``mirrored`` so."""
        rows = send(index, self.device)
        images = self.data.images[rows]
        if self.config.data.flip:
            flipped = images.flip(-1) if self.data.mirrored is None else self.data.mirrored[rows]
            images = torch.where(send(mirrored, self.device).view(-1, 1, 1, 1), flipped, images)
        return as_network_input(images)

    def held_out_images(self, index: Tensor) -> Tensor:
        """Some held-out images as the network takes them, (B, C, H, W)."""
        return as_network_input(self.data.held_out[send(index, self.device)])
