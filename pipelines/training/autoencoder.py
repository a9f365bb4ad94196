"""Training of autoencoders: images must come back from latents that are not far from standard normal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unets.autoencoder import Autoencoder, LatentSpace

from ..common.images import Pixels, as_input, montage, to_uint8
from ..common.picture_metrics import WINDOW, structural_similarity
from ..datasets.image_sets import ImageSet
from ..models.classifier import Classifier
from ..models.latents import in_parts, make_autoencoder
from ..storage.config import RunConfig
from ..storage.state import Learner
from .critics import Adversary, feature_distance, read_feature_network
from .loop import TrainingLoop
from .plan import stream_seed


class AutoencoderBatch(NamedTuple):
    """Part of a batch: images (B, C, H, W) in [−1, 1], and the noise that their latents are drawn with."""

    x: Tensor
    noise: Tensor


class AutoencoderTrainer(TrainingLoop):
    """An autoencoder being trained; see :class:`TrainingLoop`.

    The loss is the mean squared error of a pixel, and a little of the divergence of the latents from the standard normal
    distribution, in nats, as a share of a pixel too (Rombach et al. 2022, appendix G); if asked for, the distance of a
    classifier's features and what a discriminator says.
    """

    network: Autoencoder
    feature_network: Classifier | None = None
    adversary: Adversary | None = None

    def complete(self, train: ImageSet, held_out: ImageSet) -> RunConfig:
        asked, shape = self.config.autoencoder, self.config.image_shape
        assert shape is not None
        if asked.feature_weight:
            self.feature_network = read_feature_network(asked.feature_classifier, shape, self.device)
        if asked.adversarial_weight:
            self.adversary = Adversary(self.config, self.accelerator)
        return self.config

    @property
    def learners(self) -> dict[str, Learner]:
        return super().learners | ({"adversary.": self.adversary.learner} if self.adversary else {})

    def make_network(self) -> Autoencoder:
        assert self.config.image_shape is not None
        config, channels = self.config, self.config.image_shape[0]
        network = make_autoencoder(config.network, channels, config.autoencoder.latent_channels, config.seed)
        assert isinstance(network, Autoencoder)  # those of diffusers are not trained
        return network

    def refuse_wrong_size(self) -> None:
        self.latent_shape = self.network.latent_shape(*self.images.shape[2:])

    def batches(self) -> Iterator[AutoencoderBatch]:
        size = self.config.optimizer.batch_size
        seed = stream_seed(self.config.seed, 1, self.step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        index = self.shuffle.batch(self.images_seen, size)
        mirrored = self.mirrored(on_cpu)
        noise = torch.randn(size, *self.latent_shape, generator=on_device, device=self.device)
        for part in self.parts():
            yield AutoencoderBatch(self.training_images(index[part], mirrored[part]), noise[part])

    def loss_of(self, part: AutoencoderBatch) -> Tensor:
        back, posterior = self.model(*part)
        divergence = posterior.kl().mean() / part.x[0].numel()
        weights = self.config.autoencoder
        loss = (back - part.x).square().mean() + weights.kl_weight * divergence
        if self.feature_network is not None:
            with self.accelerator.autocast():
                loss = loss + weights.feature_weight * feature_distance(self.feature_network, part.x, back).mean()
        if self.adversary is not None and self.step >= weights.adversarial_start:
            self.pairs.append((part.x, back.detach()))
            loss = loss + self.adversary.loss(back, loss, self.network.last_layer)
        return loss

    def train_step(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        step = self.step
        super().train_step()
        if self.adversary is not None and self.pairs:
            self.adversary.learn(self.pairs, step)

    @property
    def average(self) -> LatentSpace:
        """The EMA weights."""
        assert isinstance(self.ema.network, LatentSpace)
        return self.ema.network

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """How well held-out images come back from the means of their latents, and what these are like."""
        errors, similarities, divergences, means = [], [], [], []
        judged: dict[str, list[Tensor]] = {"feature_distance": [], "discriminator_margin": []}
        for images in in_parts(self.held_out):
            x = as_input(images)
            with self.accelerator.autocast():
                posterior = self.average.posterior(x)
                back = self.average.reconstruct(posterior.mean).clamp(-1, 1)
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
        return row | ({"ssim": sum(similarities) / len(self.held_out)} if similarities else {})

    @torch.no_grad()
    def draw(self, network: nn.Module) -> Pixels:
        """Held-out images, each followed by what comes back of it."""
        assert isinstance(network, LatentSpace)
        pairs = (self.config.log.sample_images + 1) // 2
        shown = self.held_out[np.linspace(0, len(self.held_out) - 1, pairs).round().astype(int)]
        back = np.concatenate([to_uint8(network.reconstruct(network.posterior(as_input(x)).mean)) for x in in_parts(shown)])
        alternating = np.stack([shown.permute(0, 2, 3, 1).cpu().numpy(), back], axis=1)
        return montage(alternating.reshape(-1, *back.shape[1:])[: self.config.log.sample_images])

    @torch.no_grad()
    def weights(self) -> Mapping[str, Tensor]:
        """The EMA weights, with the scale that gives the latents of held-out images variance 1."""
        with self.accelerator.autocast():
            means = [self.average.posterior(as_input(images)).mean.cpu() for images in in_parts(self.held_out)]
        return self.average.state_dict() | {"latent_scale": 1 / torch.cat(means).std()}
