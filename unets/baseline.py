"""The baseline U-Net: an encoder and a decoder with skip connections and no attention."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Downsample, GroupNorm, ResBlock, TimestepEmbedding, Upsample, read_out, zero_initialised


class Stage(nn.Module):
    """One residual block; variants append further layers."""

    def __init__(self, channels: int, embedding_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = ResBlock(channels, embedding_dim, dropout)

    def forward(self, x: Tensor, embedding: Tensor, condition: Any) -> Tensor:
        x = self.block(x, embedding)  # (B, channels, H, W)
        return x


class BaselineUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) of residual blocks with a time embedding (Ho et al. 2020), without attention.

    At every level the encoder and the decoder have ``blocks_per_level`` stages each. A 1×1 convolution merges the input of
    each decoder stage with the output of the encoder stage at the same depth. Two stages lie in the middle.

    Args:
        image_channels: channels of input and output.
        channels: width of each level, finest first; each further level halves the side.
        blocks_per_level: stages per level, in the encoder and in the decoder.
        embedding_dim: width of the time embedding; 4·channels[0] by default.
        dropout: fraction of the activations inside residual blocks that are dropped while training.
        augment_dim: length of the vector that describes an image's augmentation, (B, augment_dim) in ``condition.augment``;
            it is embedded and added to the time embedding (Karras et al. 2022, appendix F.2). 0 for none.
        calls: whether the network is told in how many calls an image is sampled, all images of a batch in ``condition.calls``,
            (B,): the number is embedded as a timestep is, and added to the time embedding (Zhou et al. 2024, SFD-v).
        patch_size: side of the square image patches that become one pixel of the finest level, so that large images cost no
            more than small ones (Hoogeboom et al. 2023, section 3.2; Dosovitskiy et al. 2021 for the idea); 1 for none.

    Attributes:
        downsampling: ratio of the image's side to that of the coarsest level; the image's sides must be multiples of it.
    """

    def __init__(
        self,
        image_channels: int = 3,
        channels: Sequence[int] = (64, 128, 128),
        blocks_per_level: int = 1,
        embedding_dim: int | None = None,
        dropout: float = 0.0,
        augment_dim: int = 0,
        patch_size: int = 1,
        calls: bool = False,
    ) -> None:
        super().__init__()
        if not channels or min(image_channels, *channels, blocks_per_level, patch_size) < 1:
            raise ValueError(
                f"image_channels={image_channels}, channels={tuple(channels)}, blocks_per_level={blocks_per_level}, "
                f"patch_size={patch_size}: all must be 1 or greater, with at least one level"
            )
        self.image_channels, self.patch_size = image_channels, patch_size
        self.downsampling = patch_size * 2 ** (len(channels) - 1)
        self.dim = embedding_dim or 4 * channels[0]
        self.dropout = dropout
        self.embedding = TimestepEmbedding(self.dim)
        self.augment = zero_initialised(nn.Linear(augment_dim, self.dim, bias=False)) if augment_dim else None
        self.calls = TimestepEmbedding(self.dim) if calls else None
        if self.calls is not None:
            zero_initialised(self.calls.out)  # so that the network starts as one that is not told
        self.stem = nn.Conv2d(image_channels * patch_size**2, channels[0], 3, padding=1)
        levels = list(enumerate(channels))
        self.encoder = nn.ModuleList([self._level(i, width, blocks_per_level) for i, width in levels])
        self.downs = nn.ModuleList([Downsample(a, b) for a, b in pairwise(channels)])
        self.middle = self._level(len(channels) - 1, channels[-1], 2)
        self.ups = nn.ModuleList([Upsample(b, a) for a, b in pairwise(channels)])
        self.merges = nn.ModuleList(
            [nn.ModuleList([nn.Conv2d(2 * width, width, 1) for _ in range(blocks_per_level)]) for width in channels]
        )
        self.decoder = nn.ModuleList([self._level(i, width, blocks_per_level) for i, width in levels])
        self.norm = GroupNorm(channels[0])
        self.head = zero_initialised(nn.Linear(channels[0], image_channels * patch_size**2))

    def make_stage(self, level: int, channels: int) -> Stage:
        """Make one stage at ``level`` (0 is the finest), ``channels`` wide; variants override this method."""
        return Stage(channels, self.dim, self.dropout)

    def prepare(self, t: Tensor, condition: Any) -> tuple[Tensor, Any]:
        """Return the inputs of every stage: an embedding, (B, dim) or (1, dim), and the condition that variants add."""
        return self.embed(t, condition), None

    def embed(self, t: Tensor, condition: Any) -> Tensor:
        """Embed the timesteps, and the augmentation and the number of calls if the network takes them: (B, dim) or (1, dim)."""
        embedding: Tensor = self.embedding(t)  # (B, dim) or (1, dim)
        if self.calls is not None:
            if condition is None or condition.calls is None:
                raise ValueError("this network has to be told the number of calls: give it a condition with calls")
            embedding = embedding + self.calls(condition.calls[:1])  # one for all, as the timestep usually is
        if self.augment is None or condition is None or condition.augment is None:
            return embedding
        embedding = embedding + self.augment(condition.augment.to(embedding.dtype))
        return embedding

    def _level(self, level: int, channels: int, blocks: int) -> nn.ModuleList:
        return nn.ModuleList([self.make_stage(level, channels) for _ in range(blocks)])

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Predict from x_t, (B, image_channels, H, W), at timesteps t, (B,) or (1,); the same shape, float32."""
        self._check(x_t)
        # Convert once to the fast layout and precision, which every layer inside keeps.
        patches = F.pixel_unshuffle(x_t.to(self.stem.weight.dtype), self.patch_size)  # (B, C·p², H/p, W/p)
        h = self.stem(patches.contiguous(memory_format=torch.channels_last))  # (B, channels[0], H/p, W/p)
        embedding, condition = self.prepare(t, condition)
        embedding = F.silu(embedding)  # (B, dim) or (1, dim)
        skips = []
        for level, stages in enumerate(self.encoder):
            if level > 0:
                h = self.downs[level - 1](h)  # (B, channels[level], H/(p·2^level), W/(p·2^level))
            for stage in stages:  # type: ignore[attr-defined]
                h = stage(h, embedding, condition)  # (B, channels[level], H/(p·2^level), W/(p·2^level))
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding, condition)  # (B, channels[-1], H/(p·2^last), W/(p·2^last))
        for level in reversed(range(len(self.decoder))):
            for merge, stage in zip(self.merges[level], self.decoder[level], strict=True):  # type: ignore[call-overload]
                h = merge(torch.cat([h, skips.pop()], dim=1))  # (B, 2·channels[level], …) -> (B, channels[level], …)
                h = stage(h, embedding, condition)  # (B, channels[level], H/(p·2^level), W/(p·2^level))
            if level > 0:
                h = self.ups[level - 1](h)  # (B, channels[level − 1], H/(p·2^(level − 1)), W/(p·2^(level − 1)))
        # In float32, because sigma/alpha amplifies rounding errors of the output until they are visible in x0.
        patches = read_out(F.silu(self.norm(h)), self.head)  # (B, C·p², H/p, W/p)
        return F.pixel_shuffle(patches, self.patch_size)  # (B, C, H, W)

    def _check(self, x_t: Tensor) -> None:
        if x_t.ndim != 4 or x_t.shape[1] != self.image_channels:
            raise ValueError(
                f"images of shape {tuple(x_t.shape)}: this network takes (B, {self.image_channels}, height, width)"
            )
        height, width = x_t.shape[2:]
        if height % self.downsampling or width % self.downsampling or not height * width:
            raise ValueError(
                f"images of {height}×{width} pixels: this network {self._shrinking()}, "
                f"so height and width must be multiples of {self.downsampling}"
            )

    def _shrinking(self) -> str:
        """Describe how the network shrinks the image."""
        halves = f"halves the side {len(self.downs)} times"
        return halves if self.patch_size == 1 else f"takes patches of {self.patch_size}×{self.patch_size} pixels and {halves}"
