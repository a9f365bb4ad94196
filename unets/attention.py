"""The attention U-Net: the baseline with self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .baseline import BaselineUNet, Stage
from .blocks import SelfAttention


class AttentionStage(Stage):
    """A residual block, then self-attention over all pixels."""

    def __init__(self, channels: int, embedding_dim: int, dropout: float = 0.0) -> None:
        super().__init__(channels, embedding_dim, dropout)
        self.attention = SelfAttention(channels)

    def forward(self, x: Tensor, embedding: Tensor, condition: Any) -> Tensor:
        x = super().forward(x, embedding, condition)  # (B, channels, H, W)
        x = self.attention(x)  # (B, channels, H, W)
        return x


class AttentionUNet(BaselineUNet):
    """:class:`BaselineUNet` with multi-head self-attention after the residual blocks of the chosen levels.

    Args:
        attention_levels: levels with attention, 0 being the finest; only the coarsest by default. The middle belongs to the
            coarsest level. The cost grows with the fourth power of a level's side.
        image_channels, channels, blocks_per_level, embedding_dim, dropout, augment_dim, patch_size, calls: as in
            :class:`BaselineUNet`.
    """

    def __init__(
        self,
        image_channels: int = 3,
        channels: Sequence[int] = (64, 128, 128),
        blocks_per_level: int = 1,
        embedding_dim: int | None = None,
        attention_levels: Sequence[int] | None = None,
        dropout: float = 0.0,
        augment_dim: int = 0,
        patch_size: int = 1,
        calls: bool = False,
    ) -> None:
        levels = range(len(channels))
        self.attention_levels = tuple(levels[-1:] if attention_levels is None else attention_levels)
        if not set(self.attention_levels) <= set(levels):
            raise ValueError(f"attention_levels={self.attention_levels}: this network has levels 0 … {len(channels) - 1}")
        super().__init__(image_channels, channels, blocks_per_level, embedding_dim, dropout, augment_dim, patch_size, calls)

    def make_stage(self, level: int, channels: int) -> Stage:
        return (AttentionStage if level in self.attention_levels else Stage)(channels, self.dim, self.dropout)
