"""Training data, and the interface of the tasks that a training loop runs."""

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
from ..datasets.splits import hold_out, tensor_keys
from ..storage.config import DataConfig, HeldOutConfig, RunConfig
from ..storage.state import Learner
from .plan import Shuffle

Batch = TypeVar("Batch")
LIBRARIES = ("torch", "accelerate", "datasets", "numpy")  # their versions are recorded in each run


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training images and held-out images, or their latents, in memory.

    Attributes:
        images, held_out: (N, C, H, W) and (M, C, H, W): uint8 pixels, or floating-point network inputs (pixels in [−1, 1], or
            latents).
        mirrored: latents of the mirrored training images, because a mirrored latent is not the latent of a mirrored image;
            None for pixels.
        conditions, held_out_conditions: of the images, for a conditional network.
        report: what was found in the dataset, as JSON (see :mod:`pipelines.datasets.report`); empty if nobody has looked.
    """

    images: Tensor
    held_out: Tensor
    mirrored: Tensor | None = None
    conditions: Conditions | None = None
    held_out_conditions: Conditions | None = None
    report: str = ""

    @classmethod
    def from_images(
        cls, images: Tensor | Iterable[Any], labels: Tensor | None = None, held_out_images: int | None = None
    ) -> TrainingData:
        """Make training data from your own images; a tenth of them is held out, chosen by content.

        Args:
            images: (N, C, H, W), uint8 pixels or floats in [−1, 1]; or a DataLoader, or any other iterable, of batches of
                such images or of (images, labels) pairs, which is read once and kept in memory.
            labels: (N,) class numbers, for a class-conditional network.
            held_out_images: maximum number of held-out images; by default that of :class:`DataConfig`.

        Raises:
            ValueError: there are fewer than two different images.
        """
        if not isinstance(images, Tensor):
            batches = [batch if isinstance(batch, list | tuple) else (batch,) for batch in images]
            images, *others = (torch.cat(parts) for parts in zip(*batches, strict=True))
            labels = others[0] if others else labels
        rows = hold_out(tensor_keys(images), held_out_images or DataConfig.held_out_images, HeldOutConfig())
        kept, held_out = map(torch.from_numpy, rows)
        known = [None, None] if labels is None else [Conditions(labels=labels[rows].long()) for rows in (kept, held_out)]
        return cls(images[kept], images[held_out], None, *known)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> TrainingData:
        """Return the data on another device."""
        moved = {name: getattr(self, name) for name in ("images", "held_out", "mirrored", "conditions", "held_out_conditions")}
        return replace(self, **{name: part.to(device) for name, part in moved.items() if part is not None})


def as_network_input(images: Tensor) -> Tensor:
    """Convert images of :class:`TrainingData` to float32 network input: pixels in [−1, 1], or latents."""
    return as_input(images) if images.dtype == torch.uint8 else images.float()


def library_versions() -> dict[str, str]:
    """Return the versions of Noisescope and of the libraries that training depends on."""
    return {"noisescope": __version__} | {name: version(name) for name in LIBRARIES}


def fill_recorded(config: RunConfig, image_shape: Sequence[int], training_images: int, training_digest: str = "") -> RunConfig:
    """Return the configuration with what a run records: shape, number and digest of the images, and library versions."""
    channels, height, width = image_shape
    return replace(
        config,
        image_shape=(channels, height, width),
        versions=config.versions or library_versions(),
        training_images=training_images,
        training_digest=training_digest,
    )


class Task(ABC, Generic[Batch]):
    """A training task: a network, its batches, its loss, its evaluation and its sample grids.

    A task is independent of files, processes and time limits, which the :class:`~pipelines.training.loop.TrainingLoop` handles.

    Args:
        config: the run's configuration. Recorded values that are still missing are filled in from the data.
        data: the images.
        network: the network to train, with initial weights.

    Attributes:
        config: the completed configuration.
        accelerator: that of the loop, available after :meth:`place`.
        device: device of the network and the data, available after :meth:`place`.
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
    def evaluated_at_once(self) -> int:
        """Number of images that are evaluated in one batch. Training on a quarter as many keeps more, all the activations."""
        optimizer = self.config.optimizer
        return max(1, 4 * optimizer.batch_size // (optimizer.accumulation * self.accelerator.num_processes))

    @property
    def other_learners(self) -> dict[str, Learner]:
        """Other networks in training, by the prefix of their tensors in the saved state; none by default."""
        return {}

    @abstractmethod
    def batches(self, step: int, parts: Iterable[slice], process: int = 0) -> Iterator[Batch]:
        """Yield parts of a step's batch, which depends on (seed, step) alone.

        Every process draws the whole batch and takes its parts, so that random numbers do not depend on the split.

        Args:
            step: counted from 0.
            parts: the rows of the batch in each part.
            process: index of the calling process; only dropout masks depend on it.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, step: int) -> Tensor:
        """Return the mean loss of a part of a step's batch, which the optimiser minimises.

        Args:
            network: :attr:`network`, possibly compiled or wrapped for several processes.
            batch: the part.
            step: counted from 0.
        """

    def end_step(self, step: int) -> None:
        """Train :attr:`other_learners`; called after the optimiser step of the network."""

    @abstractmethod
    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        """Evaluate the averaged weights on the held-out images; return ``val_loss`` and other values to log."""

    def compare(self, average: nn.Module) -> dict[str, float]:
        """Compare samples of the averaged weights with real images; return values to log. By default there are none.

        Raises:
            NotFiniteError: the network has diverged.
        """
        return {}

    @abstractmethod
    def draw(self, network: nn.Module) -> Pixels:
        """Return a grid of images that shows what a network has learnt, from the same seeds at every call.

        Raises:
            NotFiniteError: the network has diverged; the loop says so and goes on while loss and weights are finite.
        """

    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        """Return the averaged weights to publish."""
        return average.state_dict()

    def mirrored(self, generator: torch.Generator) -> Tensor:
        """Draw which images of a batch are mirrored, (batch_size,) bool."""
        size = self.config.optimizer.batch_size
        return torch.rand(size, generator=generator) < 0.5 if self.config.data.flip else torch.zeros(size, dtype=torch.bool)

    def training_images(self, index: Tensor, mirrored: Tensor) -> Tensor:
        """Return training images as network input, (B, C, H, W), mirrored where ``mirrored`` is True."""
        rows = send(index, self.device)
        images = self.data.images[rows]
        if self.config.data.flip:
            flipped = images.flip(-1) if self.data.mirrored is None else self.data.mirrored[rows]
            images = torch.where(send(mirrored, self.device).view(-1, 1, 1, 1), flipped, images)
        return as_network_input(images)

    def held_out_images(self, index: Tensor) -> Tensor:
        """Return held-out images as network input, (B, C, H, W)."""
        return as_network_input(self.data.held_out[send(index, self.device)])
