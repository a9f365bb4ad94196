"""Training of diffusion models: noise is added to images, and the network learns to remove it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diffusion_core.choices import USUAL_GUIDANCE, WEIGHTINGS
from diffusion_core.condition import Condition
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import dpmpp_2m
from diffusion_core.schedules import sampling_timesteps
from unets.autoencoder import LatentSpace
from unets.baseline import BaselineUNet
from unets.blocks import Dropout

from ..common.devices import send
from ..common.images import Pixels, montage, to_uint8
from ..datasets.augmentation import augment, draw_augmentations
from ..models.finetune import plain_weights
from ..models.latents import decode
from ..models.networks import make_denoiser, make_loss, make_network
from ..sampling.divergence import refuse_divergence
from ..storage.config import RunConfig
from ..storage.state import Learner
from .comparison import STEPS as SAMPLE_STEPS
from .comparison import Comparison
from .plan import learning_rate, stream_seed
from .task import Task, TrainingData, as_network_input, fill_recorded
from .weighting import LearnedWeights

TIMESTEP_BINS = 20  # of the validation loss by timestep
MOST_AT_ONCE, PIXELS_AT_ONCE = 256, 256 * 64**2  # at most: images and their pixels that are evaluated or drawn in one batch
NOISE_GROUP = 16  # images whose noise is drawn at once; PyTorch's numbers are those of all at once if it is a multiple of 16


class DiffusionBatch(NamedTuple):
    """Part of a batch: images (B, C, H, W) in [−1, 1] or latents, noise, timesteps and condition."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    condition: Condition | None


class DiffusionTask(Task[DiffusionBatch]):
    """Training of a diffusion model: noise is added to images or latents, and the network learns to remove it.

    Args:
        config: the run's configuration.
        data: the images or latents.
        network: the network to train; by default the configured one with initial weights.
        autoencoder: encoded the latents and is ready to decode; None for a diffusion model of pixels.
        autoencoder_weights: its weights, named as in the run's file.
        comparison: compares samples with real images; None if they are not compared.

    Raises:
        ValueError: the network does not take such images.
    """

    network: BaselineUNet

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        network: BaselineUNet | None = None,
        autoencoder: LatentSpace | None = None,
        autoencoder_weights: Mapping[str, Tensor] | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        if config.image_shape is None:
            config = fill_recorded(config, data.images.shape[1:], len(data))
        super().__init__(config, data, make_network(config, config.seed) if network is None else network)
        self.autoencoder, self.autoencoder_weights = autoencoder, autoencoder_weights or {}
        self.comparison = comparison
        self.objective = make_loss(config.diffusion)
        self.learned_weights = None
        if WEIGHTINGS[config.diffusion.weighting].learned:
            self.learned_weights = LearnedWeights(config, self.objective.schedule)
        self.dropouts = [module for module in self.network.modules() if isinstance(module, Dropout)]
        with torch.no_grad():  # images that do not fit the network fail here rather than in the first step
            self.network(as_network_input(data.held_out[:1]), torch.zeros(1))

    def place(self, accelerator: Accelerator) -> None:
        super().place(accelerator)
        if self.learned_weights is not None:
            self.learned_weights.place(accelerator)

    @property
    def other_learners(self) -> dict[str, Learner]:
        return {} if self.learned_weights is None else {"weighting.": self.learned_weights.learner}

    def batches(self, step: int, parts: Iterable[slice], process: int = 0) -> Iterator[DiffusionBatch]:
        if self.learned_weights is not None:
            self.learned_weights.seen = []  # of a step that was only tried
        size = self.config.optimizer.batch_size
        seed = stream_seed(self.config.seed, 1, step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        index = self.shuffle.batch(step * size, size)
        t = self.draw_timesteps(on_cpu)
        mirrored = self.mirrored(on_cpu)
        noise = torch.randn(size, *self.state_shape, generator=on_device, device=self.device)
        changes = draw_augmentations(size, self.config.data.augment, on_cpu) if self.config.data.augment else None
        # Dropout masks are drawn per process: with a common stream, the n-th images of all processes would share a mask.
        of_masks = stream_seed(self.config.seed, 3, step, process)
        masks = torch.Generator(self.device).manual_seed(of_masks)
        for module in self.dropouts:
            module.generator = masks
        condition = None
        if self.data.conditions is not None:
            choice, withheld = torch.rand(2, size, generator=on_cpu)
            dropped = withheld < self.config.condition.condition_dropout
            condition = self.data.conditions.of(index, choice).drop(send(dropped, self.device))
        for part in parts:
            x0 = self.training_images(index[part], mirrored[part])
            own = None if condition is None else condition.select(part)
            if changes is not None:
                x0 = augment(x0, changes[part])
                told = send(changes[part], self.device)
                own = Condition(augment=told) if own is None else replace(own, augment=told)
            yield DiffusionBatch(x0, noise[part], t[part], own)

    def draw_timesteps(self, generator: torch.Generator) -> Tensor:
        """Draw the timesteps of a batch, (batch_size,) int64."""
        return self.objective.sample_timesteps(self.config.optimizer.batch_size, generator)

    def loss(self, network: nn.Module, batch: DiffusionBatch, step: int) -> Tensor:
        error = self.objective(network, *batch)
        return (error if self.learned_weights is None else self.learned_weights(error, batch.t)).mean()

    def end_step(self, step: int) -> None:
        if self.learned_weights is not None:
            self.learned_weights.learn(learning_rate(self.config.optimizer, step))

    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        by_timestep = self.validation_loss(average)
        row: dict[str, Any] = {"val_loss": sum(by_timestep) / len(by_timestep), "loss_by_timestep": by_timestep}
        if self.data.conditions is not None:
            without = self.validation_loss(average, withheld=True)
            row["val_loss_unconditional"] = sum(without) / len(without)
        return row

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images or latents that are noised."""
        assert self.config.state_shape is not None
        return self.config.state_shape

    @torch.no_grad()
    def validation_loss(self, average: nn.Module, withheld: bool = False) -> list[float]:
        """Return the mean loss of the EMA weights on held-out images in each of TIMESTEP_BINS equal ranges of timesteps.

        Images, timesteps and noise are the same at every call.

        Args:
            withheld: withhold the images' conditions from the network.
        """
        held_out, count = len(self.data.held_out), self._validation_count
        timesteps = self.objective.schedule.num_timesteps
        # Timesteps cover the schedule evenly, so that all bins hold equally many.
        t = ((self._validation_order + 0.5) / count * timesteps).long()
        noise = self._validation_noise(self._validation_generator())
        losses = []
        for part in torch.arange(count).split(self.at_once):
            images = part % held_out
            x0 = self.held_out_images(images)
            known = self.data.held_out_conditions
            condition = None if known is None or withheld else known.of(images)
            with self.accelerator.autocast():
                values = self.objective(
                    average, x0, torch.stack([next(noise) for _ in part]).to(self.device), t[part], condition
                )
            losses.append(values.float().cpu())
        values = torch.cat(losses).double()
        bin_count = min(TIMESTEP_BINS, timesteps)
        bins = t * bin_count // timesteps
        sums = torch.zeros(bin_count, dtype=torch.float64).index_add_(0, bins, values)
        return (sums / torch.bincount(bins, minlength=bin_count)).tolist()

    @property
    def at_once(self) -> int:
        """Number of images that are evaluated in one batch, which take no more memory than training."""
        return max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // math.prod(self.state_shape[1:]), self.evaluated_at_once))

    def _validation_generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.config.seed, 2))

    @property
    def _validation_count(self) -> int:
        """Number of noisy images of the validation loss. A few held-out images are repeated, so that every bin is measured."""
        return max(len(self.data.held_out), 4 * TIMESTEP_BINS)

    def _validation_noise(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the noise of each of these images; it is drawn in groups, so that little of it is in memory."""
        for group in torch.arange(self._validation_count).split(NOISE_GROUP):
            yield from torch.randn(len(group), *self.state_shape, generator=generator)

    @cached_property
    def _validation_order(self) -> Tensor:
        """Order of their timesteps, which is drawn after the noise."""
        generator = self._validation_generator()
        for _ in self._validation_noise(generator):
            pass
        return torch.randperm(self._validation_count, generator=generator)

    def compare(self, average: nn.Module) -> dict[str, float]:
        """Compare samples without guidance, whose conditions are those of held-out images, as an evaluation does."""
        if self.comparison is None:
            return {}
        known, parts = self.data.held_out_conditions, []
        for numbers in torch.arange(self.config.log.compared_samples or 0).split(self.at_once):
            condition = None if known is None else known.of(numbers % len(known)).to(self.device)
            with self.accelerator.autocast():
                parts.append(self._samples(average, numbers.tolist(), condition).float().cpu())
        return self.comparison.of(torch.cat(parts))

    def draw(self, network: nn.Module) -> Pixels:
        numbers = range(self.config.log.sample_images)
        size = max(1, self.at_once // 2) if self.config.network.conditional else self.at_once  # guidance doubles the batch
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        return montage(np.concatenate([self._drawn(network, part) for part in parts]))

    def _drawn(self, network: nn.Module, numbers: range) -> Pixels:
        """Return the images of a sample grid with these numbers."""
        condition = None
        if self.config.network.conditional:
            from ..sampling.prompts import conditions_in_turn

            condition = conditions_in_turn(self.config.condition, numbers).to(self.device)
        return to_uint8(self._samples(network, numbers, condition, USUAL_GUIDANCE))

    def _samples(
        self, network: nn.Module, numbers: Sequence[int], condition: Condition | None, guidance: float = 1.0
    ) -> Tensor:
        """Return samples with these numbers from seed 0, which is that of grids and of evaluations, as images in [−1, 1]."""
        denoiser = make_denoiser(network, self.config)
        guided = denoiser if condition is None else ClassifierFreeGuidance(denoiser, guidance)
        timesteps = sampling_timesteps(denoiser.schedule, min(SAMPLE_STEPS, denoiser.schedule.num_timesteps))
        noise = SeededNoise(0, self.state_shape, numbers).initial(self.device)
        *_, last = refuse_divergence(
            dpmpp_2m(guided, noise, timesteps, denoiser.schedule, condition), len(timesteps), "the network"
        )
        return last.x if self.autoencoder is None else decode(self.autoencoder, last.x)

    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        weights = plain_weights(average) if self.config.init.lora_rank else average.state_dict()
        return {**weights, **self.autoencoder_weights}
