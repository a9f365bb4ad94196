"""Training of students: a network learns to take the steps of its teacher's sampler several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import mean
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.distillation import distillation_loss

from ..common.devices import send
from ..common.images import Pixels
from ..models.latents import PREFIX
from ..models.loading import LoadedModel
from ..models.networks import make_denoiser, make_network, told_calls
from ..storage.config import RunConfig
from .beside_teacher import BesideTeacher
from .plan import stream_seed
from .task import Task, TrainingData


class DistillationBatch(NamedTuple):
    """Part of a batch: noise (B, C, H, W), its condition, and the number of calls in which it becomes images."""

    noise: Tensor
    condition: Condition | None
    calls: int


class DistillationTask(Task[DistillationBatch]):
    """Training of a student, which begins with its teacher's weights (see :mod:`diffusion_core.distillation`).

    Args:
        config: the run's configuration (see :func:`pipelines.models.teachers.student_config`).
        data: the conditions to learn, of a conditional teacher; images are not needed.
        teacher: the teacher.
    """

    def __init__(self, config: RunConfig, data: TrainingData, teacher: LoadedModel) -> None:
        super().__init__(config, data, network_of(config, teacher))
        self.model, self.beside = teacher, BesideTeacher(config, teacher)

    def place(self, accelerator: Accelerator) -> None:
        super().place(accelerator)
        self.beside.place(self.device, self.data.held_out_conditions, self.evaluated_at_once)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the states."""
        return self.model.state_shape

    def batches(self, step: int, parts: Iterable[slice], process: int = 0) -> Iterator[DistillationBatch]:
        size, seed = self.config.optimizer.batch_size, stream_seed(self.config.seed, 1, step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        noise = torch.randn(size, *self.shape, generator=on_device, device=self.device)
        condition = None
        if self.data.conditions is not None:
            image, choice, withheld = torch.rand(3, size, generator=on_cpu)
            index = (image * len(self.data.conditions)).long()
            dropped = withheld < self.config.condition.condition_dropout  # where the teacher is not guided either
            condition = self.data.conditions.of(index, choice).drop(send(dropped, self.device))
        served = self.beside.asked.calls
        calls = served[int(torch.randint(len(served), (), generator=on_cpu))]
        condition = told_calls(self.config, calls, condition, size, self.device)
        for part in parts:
            yield DistillationBatch(noise[part], None if condition is None else condition.select(part), calls)

    def loss(self, network: nn.Module, batch: DistillationBatch, step: int) -> Tensor:
        student, beside = make_denoiser(network, self.config), self.beside
        asked, timesteps = beside.asked, beside.timesteps(batch.calls)
        losses = distillation_loss(student, beside.teacher, batch.noise, timesteps, asked.teacher_steps, batch.condition)
        # All steps count alike, however many there are to the image, as where each has an update of its own (algorithm 1).
        return losses.mean() * (batch.calls / mean(asked.calls))

    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        return self.beside.distances(average)

    def draw(self, network: nn.Module) -> Pixels:
        return self.beside.draw(network)

    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        return {**average.state_dict(), **weights_of_autoencoder(self.model)}


def network_of(config: RunConfig, teacher: LoadedModel) -> Any:
    """Return the network of a student, which begins with its teacher's weights."""
    network = make_network(config, config.seed)
    # A network that serves several numbers of calls has an embedding of them besides, which has no effect at first.
    network.load_state_dict(network.state_dict() | teacher.denoiser.network.state_dict())
    return network


def weights_of_autoencoder(teacher: LoadedModel) -> dict[str, Tensor]:
    """Return the weights of any autoencoder of a teacher, which are the student's as well, named as in a run's file."""
    autoencoder = {} if teacher.autoencoder is None else teacher.autoencoder.state_dict()
    return {PREFIX + name: tensor for name, tensor in autoencoder.items()}
