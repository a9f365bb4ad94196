"""The conditional U-Net: the attention U-Net with classes and prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .attention import AttentionUNet
from .baseline import Stage
from .blocks import CrossAttention, SpatialTransformer


class TransformerStage(Stage):
    """A residual block, then a spatial transformer that attends to the words."""

    def __init__(self, channels: int, embedding_dim: int, context_dim: int, dropout: float = 0.0) -> None:
        super().__init__(channels, embedding_dim, dropout)
        self.transformer = SpatialTransformer(channels, context_dim)

    def forward(self, x: Tensor, embedding: Tensor, condition: Any) -> Tensor:
        x = super().forward(x, embedding, condition)  # (B, channels, H, W)
        x = self.transformer(x, *condition)  # (B, channels, H, W)
        return x


class ConditionalUNet(AttentionUNet):
    """:class:`AttentionUNet` conditional on a class, on words, or on both.

    A class is a learned vector added to the time embedding (Dhariwal & Nichol 2021, section 4). Spatial transformers, in
    place of self-attention, attend to the words (Rombach et al. 2022), whose mean is also added to the time embedding. Where
    the condition is dropped (``condition.dropped``) or missing, a learned null class and a learned null word replace it
    (Ho & Salimans 2022, section 3.2).

    ``condition`` has the attributes ``labels``, (B,); ``tokens``, (B, L, text_dim), with ``mask``, (B, L); ``dropped``, (B,);
    ``augment``, (B, augment_dim); and ``calls``, (B,), as :class:`diffusion_core.condition.Condition` has.

    Args:
        num_classes: number of classes; 0 for a network without classes.
        text_dim: width of the word embeddings; 0 for a network without words.
        image_channels, channels, blocks_per_level, embedding_dim, attention_levels, dropout, augment_dim, patch_size,
            calls: as in :class:`AttentionUNet`.
    """

    def __init__(
        self,
        image_channels: int = 3,
        channels: Sequence[int] = (64, 128, 128),
        blocks_per_level: int = 1,
        embedding_dim: int | None = None,
        attention_levels: Sequence[int] | None = None,
        num_classes: int = 0,
        text_dim: int = 0,
        dropout: float = 0.0,
        augment_dim: int = 0,
        patch_size: int = 1,
        calls: bool = False,
    ) -> None:
        if num_classes < 0 or text_dim < 0 or not num_classes + text_dim:
            raise ValueError(f"num_classes={num_classes}, text_dim={text_dim}: a conditional network needs one of them above 0")
        self.num_classes, self.text_dim = num_classes, text_dim
        super().__init__(
            image_channels, channels, blocks_per_level, embedding_dim, attention_levels, dropout, augment_dim, patch_size, calls
        )
        if num_classes:
            self.class_embedding = nn.Embedding(num_classes + 1, self.dim)  # the last one is the null class
        if text_dim:
            self.null_word = nn.Embedding(1, text_dim)
            self.text_embedding = nn.Linear(text_dim, self.dim)

    def make_stage(self, level: int, channels: int) -> Stage:
        if self.text_dim and level in self.attention_levels:
            return TransformerStage(channels, self.dim, self.text_dim, self.dropout)
        return super().make_stage(level, channels)

    def prepare(self, t: Tensor, condition: Any) -> tuple[Tensor, Any]:
        embedding = self.embed(t, condition)  # (B, dim) or (1, dim)
        if self.num_classes:
            embedding = embedding + self.class_embedding(self._labels(t, condition))
        if not self.text_dim:
            return embedding, None
        context, mask = self._words(condition)  # (B, 1 + L, text_dim) and (B, 1 + L)
        share = mask[..., None] / mask.sum(1)[:, None, None]  # (B, 1 + L, 1)
        mean = (context * share.to(context.dtype)).sum(1)  # (B, text_dim)
        return embedding + self.text_embedding(mean), (context, mask)  # (B, dim)

    def _labels(self, t: Tensor, condition: Any) -> Tensor:
        """Return class numbers, (B,) or a shared (1,); the null class where there is no class."""
        if condition is None or condition.labels is None:
            return torch.full((1,), self.num_classes, device=t.device)
        return torch.where(condition.dropped, self.num_classes, condition.labels)

    def _words(self, condition: Any) -> tuple[Tensor, Tensor]:
        """Return the null word and the words, (B, 1 + L, text_dim), with a mask of either the null word or the words."""
        null = self.null_word.weight[None]
        if condition is None or condition.tokens is None:
            return null, torch.ones(1, 1, dtype=torch.bool, device=null.device)
        dropped = (condition.dropped | ~condition.mask.any(1))[:, None]
        tokens = torch.cat([null.expand(len(dropped), -1, -1), condition.tokens.to(null.dtype)], dim=1)
        return tokens, torch.cat([dropped, condition.mask & ~dropped], dim=1)


@contextmanager
def attention_maps(network: nn.Module) -> Iterator[list[Tensor]]:
    """Record the cross-attention of a network: ``with attention_maps(network) as maps: network(x, t, condition)``.

    Each cross-attention layer appends one tensor to ``maps``, in order of computation: (B, H, W, 1 + L) at that level's
    H × W, over the null word and the L words. Each pixel's weights sum to 1.
    """
    layers = [module for module in network.modules() if isinstance(module, CrossAttention)]
    maps: list[Tensor] = []
    for layer in layers:
        layer.maps = maps
    try:
        yield maps
    finally:
        for layer in layers:
            layer.maps = None
