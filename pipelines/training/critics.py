"""Perceptual and adversarial losses of autoencoders: feature distances of a classifier, and a patch discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from unets import build_discriminator

from ..common.paths import is_weights
from ..models.classifier import Classifier, LoadedClassifier, load_classifier
from ..storage.config import RunConfig
from ..storage.files import CLASSIFIERS
from ..storage.state import Learner
from .accelerator import adamw

BETAS = (0.5, 0.9)  # of the discriminator's AdamW; short averages, since its target moves
LR_SHARE = 0.5  # the discriminator's learning rate, as a share of the autoencoder's
HIGHEST = 1e4  # upper bound of the adaptive weight


def read_feature_network(name: str, image_shape: tuple[int, int, int]) -> Classifier:
    """Load the classifier whose features the perceptual loss compares.

    Args:
        name: of a shipped classifier, or the path of its file.
        image_shape: (C, H, W) of the images.

    Raises:
        ValueError: there is no such classifier, or it does not take images of this shape.
    """
    classifier = find_feature_classifier(name)
    if not classifier.takes(image_shape):
        given, known = ("×".join(map(str, shape)) for shape in (image_shape, classifier.image_shape))
        raise ValueError(
            f"feature_classifier={name} takes images of {known} (C×H×W) or larger, and these are {given}: choose another "
            "classifier, or feature_weight=0"
        )
    return classifier.network.to(memory_format=torch.channels_last)


def find_feature_classifier(name: str) -> LoadedClassifier:
    """Load a classifier, which takes images of its own size; see :func:`read_feature_network`."""
    path = Path(name) if is_weights(name) else CLASSIFIERS / f"{name}.safetensors"
    return load_classifier(path, "cpu")


def feature_distance(network: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Return the perceptual distance of pairs of images in a classifier's features, (B, C, H, W) each -> (B,) in [0, 4].

    It is the squared distance between the activations of a pixel, normalised to unit length, averaged over pixels and levels
    (Zhang et al. 2018, equation 1, without learnt weights; idea: Johnson et al. 2016).
    """
    levels = zip(network.activations(x), network.activations(y), strict=True)
    apart = [(F.normalize(a.float()) - F.normalize(b.float())).square().sum(1).mean((1, 2)) for a, b in levels]
    return torch.stack(apart).mean(0)


class Adversary:
    """A patch discriminator in training, and the adversarial loss of an autoencoder.

    Attributes:
        network: the discriminator; ``model`` is the same network wrapped by Accelerate.

    Args:
        config: of the autoencoder's run.

    Raises:
        ValueError: the images are too small.
    """

    accelerator: Accelerator

    def __init__(self, config: RunConfig) -> None:
        assert config.image_shape is not None
        channels, *sides = config.image_shape
        self.config = config
        self.network = build_discriminator(seed=config.seed, image_channels=channels)
        if min(sides) < self.network.smallest:
            raise ValueError(
                f"images of {sides[0]}×{sides[1]} pixels are too small for a discriminator: choose {self.network.smallest} or "
                "more pixels, or adversarial_weight=0"
            )

    def place(self, accelerator: Accelerator) -> None:
        """Move the discriminator to the loop's device."""
        self.accelerator = accelerator
        self.network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model, self.optimizer = accelerator.prepare(self.network, adamw(self.network, betas=BETAS))

    @property
    def learner(self) -> Learner:
        """Network and optimiser, as saved for a resume."""
        return Learner(self.network, self.optimizer)

    def loss(self, back: Tensor, other_losses: Tensor, last: Tensor) -> Tensor:
        """Return the generator's part of the hinge loss, with the adaptive weight of Esser et al. 2021, equation 7.

        The weight makes the norm of its gradient at the last layer ``adversarial_weight`` times that of all other terms.

        Args:
            back: (B, C, H, W) reconstructions.
            other_losses: sum of the other terms of the loss.
            last: weights of the decoder's last layer.
        """
        self.network.requires_grad_(False)
        with self.accelerator.autocast():
            fooled = -self.network(back).float().mean()
        self.network.requires_grad_(True)
        own, others = (torch.autograd.grad(of, last, retain_graph=True)[0].norm() for of in (fooled, other_losses))
        weight = (others / (own + 1e-6)).clamp(max=HIGHEST).detach()
        return self.config.autoencoder.adversarial_weight * weight * fooled

    def margin(self, x: Tensor, back: Tensor) -> Tensor:
        """Return by how much images score above their reconstructions, (B,); 0 if the discriminator cannot distinguish them."""
        return (self.network(x) - self.network(back)).float().mean((1, 2, 3))

    def learn(self, pairs: Sequence[tuple[Tensor, Tensor]], lr: float) -> None:
        """Take one optimiser step of the hinge loss (Lim & Ye 2017) on a batch of images and reconstructions, in parts.

        Args:
            pairs: images and reconstructions of each part, (B, C, H, W).
            lr: the autoencoder's learning rate at this step.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = LR_SHARE * lr
        for x, back in pairs:
            with self.accelerator.accumulate(self.model):
                real, made = self.model(torch.cat([x, back])).chunk(2)
                self.accelerator.backward(F.relu(1 - real).mean() / 2 + F.relu(1 + made).mean() / 2)
                self.optimizer.step()
                self.optimizer.zero_grad()
