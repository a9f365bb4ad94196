"""Samples of a student in training beside those of its teacher, from the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import ddim, dpmpp_2m
from diffusion_core.schedules import sampling_timesteps

from ..common.devices import send
from ..common.images import Pixels, montage, to_uint8
from ..datasets.conditions import Conditions
from ..models.loading import LoadedModel
from ..models.networks import make_denoiser, told_calls
from ..sampling.divergence import refuse_divergence
from ..storage.config import RunConfig
from ..storage.log_columns import loss_in_calls

VALIDATED = 64  # samples that are compared with the teacher's
TEACHER_STEPS = 20  # of DPM-Solver++(2M), for the samples that the student's are compared with


class BesideTeacher:
    """Draws samples of a student and of its teacher, from the noise of seed 0, which is that of evaluations.

    Args:
        config: of the student.
        model: its teacher.
    """

    def __init__(self, config: RunConfig, model: LoadedModel) -> None:
        assert config.distillation is not None
        self.config, self.model, self.asked = config, model, config.distillation
        self.teacher: Denoiser | ClassifierFreeGuidance = model.denoiser
        if config.network.conditional:
            self.teacher = ClassifierFreeGuidance(model.denoiser, self.asked.scale)

    def place(self, device: torch.device, conditions: Conditions | None, at_once: int) -> None:
        """Move the teacher to a device.

        Args:
            device: of the student in training.
            conditions: of held-out images, for the samples that are measured.
            at_once: number of samples that are made in one batch.
        """
        for module in self.model.modules:
            module.to(device)
        self.conditions, self.at_once = conditions, at_once

    def timesteps(self, calls: int) -> Tensor:
        """Return the student's timesteps for a number of calls, (calls,) float64, noisiest first."""
        return torch.tensor(self.asked.timesteps_for(calls), dtype=torch.float64)

    def distances(self, student: nn.Module) -> dict[str, float]:
        """Return the mean L1 distance of a student's samples from its teacher's, which takes its usual number of steps.

        Of a student that serves several numbers of calls it is the mean, and that of each of them is beside it.
        """
        each = {calls: (self._validated(student, calls) - self._teachers).abs().mean().item() for calls in self.asked.calls}
        own = {loss_in_calls(calls): distance for calls, distance in each.items()} if self.asked.varies else {}
        return {"val_loss": sum(each.values()) / len(each), **own}

    @cached_property
    def _teachers(self) -> Tensor:
        return self._validated()

    def _validated(self, student: nn.Module | None = None, calls: int | None = None) -> Tensor:
        known, numbers = self.conditions, torch.arange(VALIDATED)
        return self.samples(range(VALIDATED), None if known is None else known.of(numbers % len(known)), student, calls)

    @torch.no_grad()
    def samples(
        self, numbers: Sequence[int], condition: Condition | None, student: nn.Module | None = None, calls: int | None = None
    ) -> Tensor:
        """Return samples with these numbers, of a student or else of the teacher, as states: images or latents.

        Args:
            calls: in which a student samples, by default the most that it serves.
        """
        calls = self.asked.most if calls is None else calls
        made, schedule, device = [], self.model.schedule, self.model.device
        for rows in torch.arange(len(numbers)).split(self.at_once):
            own = None if condition is None else condition.select(send(rows, device))
            noise = SeededNoise(0, self.model.state_shape, [numbers[row] for row in rows.tolist()])
            x = noise.initial(device)
            if student is None:
                timesteps = sampling_timesteps(schedule, min(TEACHER_STEPS, schedule.num_timesteps))
                steps = dpmpp_2m(self.teacher, x, timesteps, schedule, own)
            else:
                timesteps, denoise = self.timesteps(calls), make_denoiser(student, self.config)
                told = told_calls(self.config, calls, own, len(x), device)
                steps = ddim(denoise, x, timesteps, schedule, told, noise=noise, eta=self.asked.eta)
            *_, last = refuse_divergence(steps, len(timesteps), "the teacher" if student is None else "the student")
            made.append(last.x)
        return torch.cat(made)

    def draw(self, student: nn.Module) -> Pixels:
        """Return a grid of a student's samples, each followed by the teacher's."""
        count = self.config.log.sample_images
        own = self._pictures(student)
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

            condition = conditions_in_turn(self.config.condition, numbers).to(self.model.device)
        return to_uint8(self.model.decode(self.samples(numbers, condition, student)))
