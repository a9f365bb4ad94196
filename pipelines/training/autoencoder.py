"""Training of autoencoders: images are reconstructed from latents that stay close to a standard normal distribution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unets.autoencoder import Autoencoder, LatentSpace

from ..common.finite import refuse_not_finite
from ..common.images import Pixels, montage, to_uint8
from ..common.indices import evenly_spaced
from ..common.picture_metrics import WINDOW, structural_similarity
from ..models.classifier import Classifier
from ..models.latents import in_parts, make_autoencoder
from ..storage.config import RunConfig
from ..storage.state import Learner
from .critics import Adversary, feature_distance, read_feature_network
from .plan import learning_rate, stream_seed
from .task import Task, TrainingData, as_network_input, fill_recorded


class AutoencoderBatch(NamedTuple):
    """Part of a batch: images (B, C, H, W) in [−1, 1], and the noise with which their latents are sampled."""

    x: Tensor
    noise: Tensor


class AutoencoderTask(Task[AutoencoderBatch]):
    """Training of an autoencoder: images are reconstructed from latents close to a standard normal distribution.

    The loss is the mean squared error per pixel plus, with a small weight, the Kullback–Leibler divergence of the latents from
    the standard normal distribution in nats, also per pixel (Rombach et al. 2022, appendix G). A perceptual loss in a
    classifier's features and an adversarial loss are optional.

    Args:
        config: the run's configuration.
        data: the images.

    Raises:
        ValueError: one of the networks does not take images of this size or with this number of channels.
    """

    network: Autoencoder
    feature_network: Classifier | None = None
    adversary: Adversary | None = None

    def __init__(self, config: RunConfig, data: TrainingData) -> None:
        if config.image_shape is None:
            config = fill_recorded(config, data.images.shape[1:], len(data))
        assert config.image_shape is not None
        asked, channels = config.autoencoder, config.image_shape[0]
        network = make_autoencoder(config.network, channels, asked.latent_channels, config.seed)
        super().__init__(config, data, network)
        self.latent_shape = network.latent_shape(*config.image_shape[1:])
        if asked.feature_weight:
            self.feature_network = read_feature_network(asked.feature_classifier, config.image_shape)
        if asked.adversarial_weight:
            self.adversary = Adversary(config)
        self.pairs: list[tuple[Tensor, Tensor]] = []  # images and reconstructions of the current step

    def place(self, accelerator: Accelerator) -> None:
        super().place(accelerator)
        if self.feature_network is not None:
            self.feature_network.to(self.device)
        if self.adversary is not None:
            self.adversary.place(accelerator)

    @property
    def other_learners(self) -> dict[str, Learner]:
        return {"adversary.": self.adversary.learner} if self.adversary else {}

    def batches(self, step: int, parts: Iterable[slice], process: int = 0) -> Iterator[AutoencoderBatch]:
        self.pairs = []  # of a step that was only tried
        size = self.config.optimizer.batch_size
        seed = stream_seed(self.config.seed, 1, step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        index = self.shuffle.batch(step * size, size)
        mirrored = self.mirrored(on_cpu)
        noise = torch.randn(size, *self.latent_shape, generator=on_device, device=self.device)
        for part in parts:
            yield AutoencoderBatch(self.training_images(index[part], mirrored[part]), noise[part])

    def loss(self, network: nn.Module, batch: AutoencoderBatch, step: int) -> Tensor:
        back, posterior = network(*batch)
        divergence = posterior.kl().mean() / batch.x[0].numel()
        weights = self.config.autoencoder
        loss = (back - batch.x).square().mean() + weights.kl_weight * divergence
        if self.feature_network is not None:
            with self.accelerator.autocast():
                loss = loss + weights.feature_weight * feature_distance(self.feature_network, batch.x, back).mean()
        if self.adversary is not None and step >= weights.adversarial_start:
            self.pairs.append((batch.x, back.detach()))
            loss = loss + self.adversary.loss(back, loss, self.network.last_layer)
        return loss

    def end_step(self, step: int) -> None:
        if self.adversary is not None and self.pairs:
            self.adversary.learn(self.pairs, learning_rate(self.config.optimizer, step))
        self.pairs = []

    @torch.no_grad()
    def evaluate(self, average: nn.Module) -> dict[str, Any]:
        """Measure how well held-out images are reconstructed from the means of their latents, and the latents' statistics."""
        assert isinstance(average, LatentSpace)
        errors, similarities, divergences, means = [], [], [], []
        judged: dict[str, list[Tensor]] = {"feature_distance": [], "discriminator_margin": []}
        for images in in_parts(self.data.held_out, most=self.evaluated_at_once):
            x = as_network_input(images)
            with self.accelerator.autocast():
                posterior = average.posterior(x)
                back = average.reconstruct(posterior.mean).clamp(-1, 1)
            errors.append((back - x).square().flatten(1).mean(1).cpu().double())
            if min(x.shape[2:]) >= WINDOW:
                similarities.append(structural_similarity(to_uint8(back), to_uint8(x)) * len(x))
            with self.accelerator.autocast():
                if self.feature_network is not None:
                    judged["feature_distance"].append(feature_distance(self.feature_network, x, back).cpu())
                if self.adversary is not None:
                    judged["discriminator_margin"].append(self.adversary.margin(x, back).cpu())
            divergences.append(posterior.kl().cpu() / x[0].numel())
            means.append(posterior.mean.cpu())
        error, latents = torch.cat(errors), torch.cat(means)
        row = {
            "val_loss": error.mean().item(),
            "psnr": (10 * (4 / error.clamp_min(1e-12)).log10()).mean().item(),  # 4 is the squared range of a pixel
            "kl": torch.cat(divergences).mean().item(),
            "latent_mean": latents.mean().item(),
            "latent_std": latents.std().item(),
        }
        row |= {name: torch.cat(parts).mean().item() for name, parts in judged.items() if parts}
        return row | ({"ssim": sum(similarities) / len(self.data.held_out)} if similarities else {})

    @torch.no_grad()
    def draw(self, network: nn.Module) -> Pixels:
        """Return a grid of held-out images, each followed by its reconstruction."""
        assert isinstance(network, LatentSpace)
        pairs = (self.config.log.sample_images + 1) // 2
        held_out = self.data.held_out
        shown = as_network_input(held_out[evenly_spaced(len(held_out), pairs)])
        reconstructed = torch.cat(
            [network.reconstruct(network.posterior(x).mean) for x in in_parts(shown, most=self.evaluated_at_once)]
        )
        refuse_not_finite(reconstructed, "the autoencoder", "from held-out images")
        back = to_uint8(reconstructed)
        alternating = np.stack([to_uint8(shown), back], axis=1)
        return montage(alternating.reshape(-1, *back.shape[1:])[: self.config.log.sample_images])

    @torch.no_grad()
    def weights(self, average: nn.Module) -> Mapping[str, Tensor]:
        """Return the averaged weights, with the scale that gives the latents of held-out images variance 1."""
        assert isinstance(average, LatentSpace)
        with self.accelerator.autocast():
            means = [
                average.posterior(as_network_input(images)).mean.cpu()
                for images in in_parts(self.data.held_out, most=self.evaluated_at_once)
            ]
        return average.state_dict() | {"latent_scale": 1 / torch.cat(means).std()}
