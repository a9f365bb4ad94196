"""Training of students: a network learns to take the steps of its teacher's sampler several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.distillation import distillation_loss
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import ddim, dpmpp_2m
from diffusion_core.schedules import sampling_timesteps

from ..common.devices import send
from ..common.images import Pixels, montage, to_uint8
from ..models.latents import PREFIX
from ..models.loading import LoadedModel
from ..models.networks import make_denoiser, make_network
from ..sampling.divergence import refuse_divergence
from ..storage.config import RunConfig
from .plan import stream_seed
from .task import Task, TrainingData

VALIDATED = 64  # samples that are compared with the teacher's
TEACHER_STEPS = 20  # of DPM-Solver++(2M), for the samples that the student's are compared with


class DistillationBatch(NamedTuple):
    """Part of a batch: noise (B, C, H, W), and its condition."""

    noise: Tensor
    condition: Condition | None


class DistillationTask(Task[DistillationBatch]):
    """Training of a student, which begins with its teacher's weights (see :mod:`diffusion_core.distillation`).

    Args:
        config: the run's configuration (see :func:`pipelines.models.teachers.student_config`).
        data: the conditions to learn, of a conditional teacher; images are not needed.
        teacher: the teacher.
    """

    def __init__(self, config: RunConfig, data: TrainingData, teacher: LoadedModel) -> None:
        network = make_network(config, config.seed)
        network.load_state_dict(teacher.denoiser.network.state_dict())
        super().__init__(config, data, network)
        self.model = teacher
        assert config.distillation is not None
        self.asked = config.distillation
        self.teacher: Denoiser | ClassifierFreeGuidance = teacher.denoiser
        if config.network.conditional:
            self.teacher = ClassifierFreeGuidance(teacher.denoiser, self.asked.scale)
        self.timesteps = torch.tensor(self.asked.timesteps, dtype=torch.float64)

    def place(self, accelerator: Accelerator) -> None:
        super().place(accelerator)
        for module in self.model.modules:
            module.to(accelerator.device)

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
        for part in parts:
            yield DistillationBatch(noise[part], None if condition is None else condition.select(part))

    def loss(self, network: nn.Module, batch: DistillationBatch, step: int) -> Tensor:
        student = make_denoiser(network, self.config)
        steps = self.asked.teacher_steps
        return distillation_loss(student, self.teacher, batch.noise, self.timesteps, steps, batch.condition).mean()

    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        """Measure the mean L1 distance of samples from the teacher's from the same noise, in its usual number of steps."""
        own = self._samples(self._noise.to(self.device), self._condition, average)
        return {"val_loss": (own - self._teachers).abs().mean().item()}

    @cached_property
    def _noise(self) -> Tensor:
        generator = torch.Generator().manual_seed(stream_seed(self.config.seed, 2))
        return torch.randn(VALIDATED, *self.shape, generator=generator)

    @cached_property
    def _condition(self) -> Condition | None:
        known = self.data.held_out_conditions
        return None if known is None else known.of(torch.arange(VALIDATED) % len(known))

    @cached_property
    def _teachers(self) -> Tensor:
        return self._samples(self._noise.to(self.device), self._condition)

    @torch.no_grad()
    def _samples(self, noise: Tensor, condition: Condition | None, student: nn.Module | None = None) -> Tensor:
        """Return samples from noise, of a student or else of the teacher, a few at a time."""
        made = []
        for rows in torch.arange(len(noise)).split(self.evaluated_at_once):
            own = None if condition is None else condition.select(send(rows, self.device))
            x = noise[send(rows, self.device)]
            schedule = self.model.schedule
            if student is None:
                timesteps = sampling_timesteps(schedule, min(TEACHER_STEPS, schedule.num_timesteps))
                steps = dpmpp_2m(self.teacher, x, timesteps, schedule, own)
            else:
                timesteps = self.timesteps
                steps = ddim(make_denoiser(student, self.config), x, timesteps, schedule, own)
            *_, last = refuse_divergence(steps, len(timesteps), "the teacher" if student is None else "the student")
            made.append(last.x)
        return torch.cat(made)

    def draw(self, network: nn.Module) -> Pixels:
        """Return a grid of the student's samples, each followed by the teacher's from the same noise."""
        count = self.config.log.sample_images
        own = self._pictures(network)
        alternating = np.stack([own, self._teachers_pictures], axis=1)
        return montage(alternating.reshape(-1, *own.shape[1:])[:count])

    @cached_property
    def _teachers_pictures(self) -> Pixels:
        return self._pictures()

    def _pictures(self, student: nn.Module | None = None) -> Pixels:
        """Return the images of a sample grid, of a student or else of the teacher."""
        numbers = range((self.config.log.sample_images + 1) // 2)
        condition = None
        if self.config.network.conditional:
            from ..sampling.prompts import conditions_in_turn

            condition = conditions_in_turn(self.config.condition, numbers).to(self.device)
        noise = SeededNoise(0, self.shape, numbers).initial(self.device)
        return to_uint8(self.model.decode(self._samples(noise, condition, student)))

    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        autoencoder = {} if self.model.autoencoder is None else self.model.autoencoder.state_dict()
        return {**average.state_dict(), **{PREFIX + name: tensor for name, tensor in autoencoder.items()}}
