"""The autoencoder: images to latents, where diffusion is cheaper, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Downsample, GroupNorm, ResBlock, Upsample, read_out

LOG_VARIANCES = (-30.0, 20.0)  # the exponential stays finite in between


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """Normal distributions of independent numbers (Kingma & Welling 2014, section 3).

    Attributes:
        mean, log_variance: (B, C, H, W) float32.
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """What standard normal ``noise`` of their shape stands for (equation 10)."""
        return self.mean + (self.log_variance / 2).exp() * noise

    def kl(self) -> Tensor:
        """(B,) Kullback-Leibler divergence from the standard normal distribution, in nats (appendix B)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return terms.flatten(1).sum(1) / 2


class Ladder(nn.Module):
    """Residual blocks at several sizes, one after the other; into it and out of it leads a layer for every pixel.

    Args:
        in_channels, out_channels: of what it takes and gives.
        widths: channels of each size, in the order they are passed.
        blocks: residual blocks of each size.
        step: what leads from one size to the next, Downsample or Upsample.
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
        h = self.stem(x.to(self.stem.weight.dtype).contiguous(memory_format=torch.channels_last))
        return read_out(F.silu(self.norm(self.sizes(h))), self.head)


class LatentSpace(nn.Module, ABC):
    """Images to latents and back, whatever network does it.

    Args:
        latent_channels: of the latents, (B, latent_channels, H / downsampling, W / downsampling).
        downsampling: by how much the side of a latent is smaller than its image's.

    Attributes:
        latent_scale: (), by which latents are multiplied to have variance 1, as diffusion expects them (Rombach et al. 2022,
            appendix G); it is measured on data, and saved with the weights.
    """

    latent_scale: Tensor

    def __init__(self, latent_channels: int, downsampling: int) -> None:
        super().__init__()
        self.latent_channels, self.downsampling = latent_channels, downsampling
        self.register_buffer("latent_scale", torch.ones(()))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(latent_channels, h, w) of the latents of images of some size.

        Raises:
            ValueError: sides that are no multiples of ``downsampling``.
        """
        factor = self.downsampling
        if height % factor or width % factor:
            raise ValueError(
                f"images of {height}×{width} pixels: the autoencoder makes sides {factor} times smaller, so choose multiples "
                f"of {factor}"
            )
        return self.latent_channels, height // factor, width // factor

    @abstractmethod
    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """(B, C, H, W) in [−1, 1], H and W multiples of ``downsampling`` -> the distribution of its latents, not scaled."""

    @abstractmethod
    def reconstruct(self, latents: Tensor) -> Tensor:
        """(B, latent_channels, h, w), not scaled -> (B, C, h·downsampling, w·downsampling) float32, not clipped."""

    def encode(self, x: Tensor) -> Tensor:
        """Images in [−1, 1] -> their latents as diffusion takes them: the mean of the posterior, scaled; float32."""
        return self.posterior(x).mean * self.latent_scale.float()

    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents -> images, float32, not clipped."""
        return self.reconstruct(z / self.latent_scale.float())

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        """Images as they come back from latents drawn with ``noise``, and the distribution these were drawn from."""
        posterior = self.posterior(x)
        return self.reconstruct(posterior.sample(noise)), posterior


class Autoencoder(LatentSpace):
    """KL autoencoder (Rombach et al. 2022, section 3.1): an encoder to a diagonal Gaussian, a decoder of its samples.

    Args:
        image_channels: of the images, (B, image_channels, H, W) in [−1, 1].
        latent_channels: of the latents.
        channels: width of each level, finest first; each further level halves the side.
        blocks_per_level: residual blocks of each level, in the encoder and in the decoder.
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
                f"blocks_per_level={blocks_per_level}: all must be 1 or greater, with one level at least"
            )
        super().__init__(latent_channels, 2 ** (len(channels) - 1))
        self.encoder = Ladder(image_channels, 2 * latent_channels, channels, blocks_per_level, Downsample)
        self.decoder = Ladder(latent_channels, image_channels, channels[::-1], blocks_per_level, Upsample)

    @property
    def last_layer(self) -> Tensor:
        """The weights that make pixels of the last activations."""
        return self.decoder.head.weight

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCES))

    def reconstruct(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)
