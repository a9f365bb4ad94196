"""The discriminator: it judges which patches of an image are real."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .blocks import GroupNorm


class PatchDiscriminator(nn.Module):
    """Discriminator of overlapping image patches, each judged by itself (Isola et al. 2017, section 3.2.2).

    Args:
        image_channels: channels of the images, (B, image_channels, H, W) in [−1, 1].
        channels: width of each level; each level halves the side. With three levels a patch has 38×38 pixels.

    Attributes:
        smallest: side of the smallest images that can be judged.
    """

    def __init__(self, image_channels: int = 3, channels: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = image_channels
        for level, width in enumerate(channels):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1)]
            layers += [GroupNorm(width)] if level else []
            layers += [nn.LeakyReLU(0.2)]
            before = width
        self.smallest = 2 ** len(channels)
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Score images (B, C, H, W), at least ``smallest`` wide and high, patch by patch; high scores mean real."""
        h = self.body(x)  # (B, channels[-1], H / smallest, W / smallest)
        scores: Tensor = self.head(h)  # (B, 1, H / smallest, W / smallest)
        return scores
