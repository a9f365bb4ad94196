"""The autoencoder: it compresses images to latents, in which diffusion is cheaper, and decodes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Downsample, GroupNorm, ResBlock, Upsample, read_out

LOG_VARIANCES = (-30.0, 20.0)  # range in which the exponential stays finite


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """A normal distribution with diagonal covariance (Kingma & Welling 2014, section 3).

    Attributes:
        mean, log_variance: (B, C, H, W) float32.
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Transform standard normal ``noise``, (B, C, H, W), into a draw from the distribution (equation 10)."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def kl(self) -> Tensor:
        """Return the Kullback–Leibler divergence from the standard normal distribution in nats, (B,) (appendix B)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return terms.flatten(1).sum(1) / 2


class Ladder(nn.Module):
    """A chain of residual blocks at several resolutions: the encoder or the decoder.

    Args:
        in_channels, out_channels: channels of the input and of the output.
        widths: channels at each resolution, in order of computation.
        blocks: residual blocks at each resolution.
        step: the layer between resolutions, Downsample or Upsample.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        step: type[Downsample] | type[Upsample],
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        sizes = []
        for level, width in enumerate(widths):
            lead = [step(widths[level - 1], width)] if level else []
            sizes.append(nn.Sequential(*lead, *(ResBlock(width) for _ in range(blocks))))
        self.sizes = nn.Sequential(*sizes)
        self.norm = GroupNorm(widths[-1])
        self.head = nn.Linear(widths[-1], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H', W'), float32."""
        h = self.stem(x.to(self.stem.weight.dtype).contiguous(memory_format=torch.channels_last))  # (B, widths[0], H, W)
        h = self.sizes(h)  # (B, widths[-1], H', W')
        return read_out(F.silu(self.norm(h)), self.head)  # (B, out_channels, H', W')


class LatentSpace(nn.Module, ABC):
    """Encoder and decoder between images and latents, independent of the network behind them.

    Args:
        latent_channels: channels of the latents, (B, latent_channels, H / downsampling, W / downsampling).
        downsampling: ratio of the side of an image to the side of its latents.

    Attributes:
        latent_scale: (), the factor that gives latents variance 1, as diffusion expects (Rombach et al. 2022, appendix G).
            It is measured on data and saved with the weights.
    """

    latent_scale: Tensor

    def __init__(self, latent_channels: int, downsampling: int) -> None:
        super().__init__()
        self.latent_channels, self.downsampling = latent_channels, downsampling
        self.register_buffer("latent_scale", torch.ones(()))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (latent_channels, h, w), the shape of the latents of height×width images.

        Raises:
            ValueError: ``height`` or ``width`` is not a multiple of ``downsampling``.
        """
        factor = self.downsampling
        if height % factor or width % factor:
            raise ValueError(
                f"images of {height}×{width} pixels: the autoencoder downsamples by {factor}, so height and width must be "
                f"multiples of {factor}"
            )
        return self.latent_channels, height // factor, width // factor

    @abstractmethod
    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """Encode images (B, C, H, W) in [−1, 1], sides multiples of ``downsampling``, to a distribution of unscaled latents."""

    @abstractmethod
    def reconstruct(self, latents: Tensor) -> Tensor:
        """Decode unscaled latents (B, latent_channels, h, w) to (B, C, h·downsampling, w·downsampling) float32, unclipped."""

    def encode(self, x: Tensor) -> Tensor:
        """Encode images in [−1, 1] to the latents that are diffused: the scaled mean of the posterior, float32."""
        return self.posterior(x).mean * self.latent_scale.float()

    def decode(self, z: Tensor) -> Tensor:
        """Decode scaled latents to images, float32, unclipped."""
        return self.reconstruct(z / self.latent_scale.float())

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        """Reconstruct images x from latents drawn with ``noise``; also return the distribution of the latents."""
        posterior = self.posterior(x)  # mean and log-variance (B, latent_channels, h, w)
        latents = posterior.sample(noise)  # (B, latent_channels, h, w)
        return self.reconstruct(latents), posterior  # (B, C, H, W)


class Autoencoder(LatentSpace):
    """KL autoencoder (Rombach et al. 2022, section 3.1): it encodes to a diagonal Gaussian and decodes its samples.

    Args:
        image_channels: channels of the images, (B, image_channels, H, W) in [−1, 1].
        latent_channels: channels of the latents.
        channels: width of each level, finest first; each further level halves the side.
        blocks_per_level: residual blocks per level, in the encoder and in the decoder.
    """

    def __init__(
        self,
        image_channels: int = 3,
        latent_channels: int = 4,
        channels: Sequence[int] = (64, 128, 128),
        blocks_per_level: int = 1,
    ) -> None:
        if not channels or min(image_channels, latent_channels, blocks_per_level, *channels) < 1:
            raise ValueError(
                f"image_channels={image_channels}, latent_channels={latent_channels}, channels={tuple(channels)}, "
                f"blocks_per_level={blocks_per_level}: all must be 1 or greater, with at least one level"
            )
        super().__init__(latent_channels, 2 ** (len(channels) - 1))
        self.encoder = Ladder(image_channels, 2 * latent_channels, channels, blocks_per_level, Downsample)
        self.decoder = Ladder(latent_channels, image_channels, channels[::-1], blocks_per_level, Upsample)

    @property
    def last_layer(self) -> Tensor:
        """Weights of the last layer of the decoder."""
        return self.decoder.head.weight

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)  # each (B, latent_channels, h, w)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCES))

    def reconstruct(self, latents: Tensor) -> Tensor:
        images: Tensor = self.decoder(latents)  # (B, C, h·downsampling, w·downsampling)
        return images
