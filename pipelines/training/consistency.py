"""Training of students by consistency tuning: from every noise level, a network learns where the path to the image ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.consistency import ConsistencyLoss

from ..common.images import Pixels
from ..models.loading import LoadedModel
from ..models.networks import make_denoiser
from ..storage.config import RunConfig
from .beside_teacher import BesideTeacher
from .comparison import Comparison
from .diffusion import DiffusionBatch, DiffusionTask
from .distillation import network_of, weights_of_autoencoder
from .task import TrainingData

# Equal parts of the training, in which the two noise levels come closer (see diffusion_core.consistency). The paper has 8, of
# millions of images each. The closer the levels, the noisier the gradient: after thousands of images, samples become worse
# again from the fifth stage on (benchmarks/README.md, "Students").
STAGES = 4


class ConsistencyTask(DiffusionTask):
    """Tuning of a student, which begins with its teacher's weights (see :mod:`diffusion_core.consistency`).

    It draws the images, conditions, noise and dropout masks that the training of a diffusion model would draw.

    Args:
        config: the run's configuration (see :func:`pipelines.models.teachers.student_config`).
        data: the images or latents that the teacher was trained on.
        teacher: the teacher.
        comparison: compares samples with real images; None if they are not compared.
    """

    def __init__(
        self, config: RunConfig, data: TrainingData, teacher: LoadedModel, comparison: Comparison | None = None
    ) -> None:
        network, autoencoder = network_of(config, teacher), weights_of_autoencoder(teacher)
        super().__init__(config, data, network, teacher.autoencoder, autoencoder, comparison)
        self.learned_weights = None  # of the denoising loss
        self.consistency = ConsistencyLoss(self.objective.schedule)
        self.beside = BesideTeacher(config, teacher)

    def place(self, accelerator: Accelerator) -> None:
        super().place(accelerator)
        self.beside.place(self.device, self.data.held_out_conditions, self.evaluated_at_once)

    def draw_timesteps(self, generator: torch.Generator) -> Tensor:
        return self.consistency.sample_timesteps(self.config.optimizer.batch_size, generator)

    def loss(self, network: nn.Module, batch: DiffusionBatch, step: int) -> Tensor:
        student = make_denoiser(network, self.config)
        masks = self.dropouts[0].generator if self.dropouts else None
        return self.consistency(student, *batch, stage=self.stage(step), masks=masks).mean()

    def stage(self, step: int) -> int:
        """Return the stage of a step, from 1 to STAGES."""
        return 1 + step * STAGES // self.config.optimizer.steps

    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        return self.beside.distances(average)

    def draw(self, network: nn.Module) -> Pixels:
        return self.beside.draw(network)

    def _samples(
        self, network: nn.Module, numbers: Sequence[int], condition: Condition | None, guidance: float = 1.0
    ) -> Tensor:
        return self.beside.model.decode(self.beside.samples(numbers, condition, network))
