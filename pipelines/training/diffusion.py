"""Training of diffusion models: noise is added to images, and the network learns to take it away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from diffusion_core.condition import Condition
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import dpmpp_2m
from diffusion_core.schedules import sampling_timesteps
from unets.autoencoder import LatentSpace
from unets.baseline import BaselineUNet
from unets.blocks import Dropout

from ..common.devices import send
from ..common.images import Pixels, as_input, montage, to_uint8
from ..datasets.augmentation import augment, draw_augmentations
from ..datasets.image_sets import ImageSet
from ..models.finetune import add_low_rank, adopt, load_initial, plain_weights
from ..models.latents import PREFIX, decode, encode_cached, prepare_autoencoder, read_autoencoder
from ..models.networks import make_denoiser, make_loss, make_network
from ..storage.config import LatentConfig, RunConfig
from ..storage.runs import STATE, Run, find_run
from .loop import TrainingLoop
from .plan import stream_seed

if TYPE_CHECKING:
    from ..datasets.conditions import Conditions

TIMESTEP_BINS = 20  # of the validation loss by timestep
SAMPLE_GUIDANCE = 2.0  # of networks that are told something
SAMPLE_STEPS = 20  # of DPM-Solver++(2M), for the grids made while training


class DiffusionBatch(NamedTuple):
    """Part of a batch: images (B, C, H, W) in [−1, 1], their noise, their timesteps, and what the network is told."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    condition: Condition | None


class Trainer(TrainingLoop):
    """A diffusion model being trained; see :class:`TrainingLoop`."""

    network: BaselineUNet

    def __init__(self, run: Run, config: RunConfig, trackers: Sequence[str] = ()) -> None:
        config = adopt(config)
        self.autoencoder: LatentSpace | None = None
        self.loss = make_loss(config.diffusion)
        self.conditions: Conditions | None = None
        self.held_out_conditions: Conditions | None = None
        super().__init__(run, config, trackers)
        self.dropouts = [module for module in self.network.modules() if isinstance(module, Dropout)]

    def complete(self, train: ImageSet, held_out: ImageSet) -> RunConfig:
        config = self.config
        if config.network.conditional:
            from ..datasets.conditions import load_conditions, refuse_other_classes

            with self.accelerator.main_process_first():
                condition, parts = load_conditions(config, (train, held_out))
            refuse_other_classes(config, condition)
            self.conditions, self.held_out_conditions = (part.to(self.device) for part in parts)
            what = "class" if condition.classes else "caption"
            for kind, part, images in zip(("training", "held-out"), parts, (train, held_out), strict=True):
                if self.is_main and part.unknown:
                    print(f"{part.unknown} of {len(images)} {kind} images have no {what}: it counts as withheld from them")
            config = replace(config, condition=condition)
        if config.latent.latent is not None:
            config = replace(config, latent=self._encode(config, train.images, held_out.images))
        return config

    def _encode(self, config: RunConfig, images: Tensor, held_out: Tensor) -> LatentConfig:
        """Encode the images and return the latent settings to record."""
        assert config.latent.latent is not None
        begun = config.latent.latent_shape is not None and self.run.has_weights  # then its weights hold the autoencoder
        source = self.run if begun else find_run(config.latent.latent)
        fingerprint = source.fingerprint  # before they are read: it may be in training
        autoencoder, network = read_autoencoder(source)
        channels, given = (source.config.image_shape or (0,))[0], images.shape[1]
        if channels != given:
            raise ValueError(
                f"the autoencoder of {source.name} takes images of {channels} channel{'' if channels == 1 else 's'}, and those "
                f"of {config.data.data} have {given}: choose data like its own"
            )
        self.autoencoder_weights = {PREFIX + name: tensor.clone() for name, tensor in autoencoder.state_dict().items()}
        self.autoencoder = prepare_autoencoder(autoencoder, network, self.device)
        shape = autoencoder.latent_shape(*images.shape[2:])
        ways = {"training images": images, "held-out images": held_out}
        if config.data.flip:
            ways["mirrored images"] = images.flip(-1)
        with self.accelerator.main_process_first():
            latents = {name: encode_cached(self.autoencoder, part, f"encoding {name}") for name, part in ways.items()}
        self.latents, self.held_out_latents, *mirrored = (part.to(self.device) for part in latents.values())
        self.mirrored_latents = mirrored[0] if mirrored else None
        return config.latent if begun else LatentConfig(config.latent.latent, shape, network, fingerprint)

    @property
    def images_device(self) -> torch.device:
        """Where the images are kept: not beside the network where it never sees them."""
        return self.device if self.autoencoder is None else torch.device("cpu")

    def training_images(self, index: Tensor, mirrored: Tensor) -> Tensor:
        """Some training images as the network takes them, (B, *state_shape), those that are ``mirrored`` so."""
        if self.autoencoder is None:
            return super().training_images(index, mirrored)
        rows = send(index, self.device)
        latents = self.latents[rows]
        if self.mirrored_latents is not None:
            latents = torch.where(send(mirrored, self.device).view(-1, 1, 1, 1), self.mirrored_latents[rows], latents)
        return latents.float()

    def held_out_images(self, index: Tensor) -> Tensor:
        """Some held-out images as the network takes them, (B, *state_shape)."""
        rows = index.to(self.device)
        return as_input(self.held_out[rows]) if self.autoencoder is None else self.held_out_latents[rows].float()

    def make_network(self) -> BaselineUNet:
        init = self.config.init
        network = make_network(self.config, self.config.seed)
        if init.init_from is not None and not (self.run.path / STATE).is_file():  # a saved state holds all weights
            load_initial(network, self.config)
        if init.lora_rank:
            add_low_rank(network, init.lora_rank, self.config.seed)
        return network

    def refuse_wrong_size(self) -> None:
        with torch.no_grad():
            self.network(self.held_out_images(torch.zeros(1, dtype=torch.int64)), torch.zeros(1, device=self.device))

    def batches(self) -> Iterator[DiffusionBatch]:
        size = self.config.optimizer.batch_size
        seed = stream_seed(self.config.seed, 1, self.step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        index = self.shuffle.batch(self.images_seen, size)
        t = self.loss.sample_timesteps(size, on_cpu)
        mirrored = self.mirrored(on_cpu)
        noise = torch.randn(size, *self.state_shape, generator=on_device, device=self.device)
        changes = draw_augmentations(size, self.config.data.augment, on_cpu) if self.config.data.augment else None
        # Masks are drawn for a process's own images: with one stream for all, the n-th image of each would get the same one.
        of_masks = stream_seed(self.config.seed, 3, self.step, self.accelerator.process_index)
        masks = torch.Generator(self.device).manual_seed(of_masks)
        for module in self.dropouts:
            module.generator = masks
        condition = None
        if self.conditions is not None:
            choice, withheld = torch.rand(2, size, generator=on_cpu)
            dropped = withheld < self.config.condition.condition_dropout
            condition = self.conditions.of(index, choice).drop(send(dropped, self.device))
        for part in self.parts():
            x0 = self.training_images(index[part], mirrored[part])
            own = None if condition is None else condition.select(part)
            if changes is not None:
                x0 = augment(x0, changes[part])
                told = send(changes[part], self.device)
                own = Condition(augment=told) if own is None else replace(own, augment=told)
            yield DiffusionBatch(x0, noise[part], t[part], own)

    def loss_of(self, part: DiffusionBatch) -> Tensor:
        return self.loss(self.model, *part).mean()

    def evaluate(self) -> dict[str, Any]:
        by_timestep = self.validation_loss()
        row: dict[str, Any] = {"val_loss": sum(by_timestep) / len(by_timestep), "loss_by_timestep": by_timestep}
        if self.conditions is not None:
            without = self.validation_loss(withheld=True)
            row["val_loss_unconditional"] = sum(without) / len(without)
        return row

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what is noised."""
        assert self.config.state_shape is not None
        return self.config.state_shape

    @torch.no_grad()
    def validation_loss(self, withheld: bool = False) -> list[float]:
        """Mean loss of the EMA weights on the held-out images in each of TIMESTEP_BINS equal ranges of timesteps.

        Images, timesteps and noise are the same at every call.

        Args:
            withheld: leave the network without the images' conditions.
        """
        # Few images are used several times, so that every bin is measured.
        count = max(len(self.held_out), 4 * TIMESTEP_BINS)
        timesteps = self.loss.schedule.num_timesteps
        generator = torch.Generator().manual_seed(stream_seed(self.config.seed, 2))
        noise = torch.randn(count, *self.state_shape, generator=generator)
        # Timesteps cover the schedule evenly, each bin by as many images as any other.
        t = ((torch.randperm(count, generator=generator) + 0.5) / count * timesteps).long()
        losses = []
        for part in torch.arange(count).split(256):
            images = part % len(self.held_out)
            x0 = self.held_out_images(images)
            known = self.held_out_conditions
            condition = None if known is None or withheld else known.of(images)
            with self.accelerator.autocast():
                values = self.loss(self.ema.network, x0, noise[part].to(self.device), t[part], condition)
            losses.append(values.float().cpu())
        values = torch.cat(losses).double()
        bin_count = min(TIMESTEP_BINS, timesteps)
        bins = t * bin_count // timesteps
        sums = torch.zeros(bin_count, dtype=torch.float64).index_add_(0, bins, values)
        return (sums / torch.bincount(bins, minlength=bin_count)).tolist()

    def draw(self, network: nn.Module) -> Pixels:
        numbers = range(self.config.log.sample_images)
        noise = SeededNoise(0, self.state_shape, numbers)
        condition = None
        if self.config.network.conditional:
            from ..sampling.prompts import conditions_in_turn

            condition = conditions_in_turn(self.config.condition, numbers).to(self.device)
        denoiser = make_denoiser(network, self.config)
        guided = denoiser if condition is None else ClassifierFreeGuidance(denoiser, SAMPLE_GUIDANCE)
        timesteps = sampling_timesteps(denoiser.schedule, min(SAMPLE_STEPS, denoiser.schedule.num_timesteps))
        *_, last = dpmpp_2m(guided, noise.initial(self.device), timesteps, denoiser.schedule, condition)
        return montage(to_uint8(last.x if self.autoencoder is None else decode(self.autoencoder, last.x)))

    def weights(self) -> Mapping[str, Tensor]:
        network = self.ema.network
        weights = plain_weights(network) if self.config.init.lora_rank else network.state_dict()
        return weights if self.autoencoder is None else weights | self.autoencoder_weights
