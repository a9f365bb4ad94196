"""The building blocks of every network.

Their design suits channels-last bfloat16 convolutions: one group norm and one activation per residual block, wide groups and
heads (narrow ones miss the vectorised kernels), and a time embedding that is added to a convolution's bias while sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Layer = TypeVar("Layer", bound=nn.Module)

GROUP_WIDTH = 32  # channels per normalisation group
HEAD_WIDTH = 64  # channels per attention head (Dhariwal & Nichol 2021, table 2)
FEW_KEYS = 256  # on a CPU, attention over up to this many keys is trained with explicit probabilities


def equal_parts(channels: int, width: int) -> int:
    """Return the largest number of equal parts of ``channels`` that are at least ``width`` wide; 1 if there is none."""
    return next(parts for parts in range(max(1, channels // width), 0, -1) if channels % parts == 0)


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which autocast leaves the precision of ``x`` alone; on the "meta" device there is no autocast."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018) in the precision of its input, even under autocast, which would convert it to float32.

    The kernel itself accumulates the statistics in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(equal_parts(channels, GROUP_WIDTH), channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):  # (B, channels, H, W)
            return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class TimestepEmbedding(nn.Module):
    """Sinusoidal embedding and two linear layers (Ho et al. 2020, appendix B; Vaswani et al. 2017, section 3.5).

    Embeds timesteps (B,) as (B, dim).
    """

    def __init__(self, dim: int, sinusoids: int = 128, max_period: float = 10_000.0) -> None:
        super().__init__()
        self.sinusoids, self.max_period = sinusoids, max_period
        self.hidden = nn.Linear(sinusoids, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        half = self.sinusoids // 2
        exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half  # (half,)
        angles = t.float()[:, None] * torch.exp(-math.log(self.max_period) * exponents)  # (B, half)
        features = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.hidden.weight.dtype)  # (B, sinusoids)
        embedding: Tensor = self.out(F.silu(self.hidden(features)))  # (B, dim)
        return embedding


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with its own random generator.

    While training, a fraction of the activations are set to zero and the others are scaled up to compensate. Unlike torch's
    layer it draws from a generator that the training loop sets, so that a resumed run repeats the same draws.

    Args:
        share: the fraction to drop, in [0, 1).

    Attributes:
        generator: a generator on the device of the images; None uses the global one.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"dropout={share}: choose a fraction from 0 to less than 1")
        self.share = share
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.share  # the shape of x
        return x * (kept / (1 - self.share)).to(x.dtype)


class ResBlock(nn.Module):
    """Residual block with one norm and one activation: x + conv(dropout(silu(conv(norm(x)) + embedding))).

    The order is that of a transformer's feed-forward block (He et al. 2016 for the residual form; Liu et al. 2022, ConvNeXt,
    for one norm and one activation per block). The time enters as in DDPM (Ho et al. 2020, appendix B).

    Args:
        channels: channels of input and output, (B, channels, H, W).
        embedding_dim: width of the time embedding, (B, embedding_dim), or (1, embedding_dim) when all images share a
            timestep; 0 for a block without time.
        dropout: fraction of the activations before the last convolution that are dropped while training.
    """

    def __init__(self, channels: int, embedding_dim: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.dropout = Dropout(dropout)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.embed = nn.Linear(embedding_dim, channels) if embedding_dim else None
        self.conv_out = zero_initialised(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.norm(x)  # (B, channels, H, W), like all below
        if self.embed is None:
            h = self.conv_in(h)
        else:
            shift = self.embed(embedding)  # (B, channels) or (1, channels)
            if shift.shape[0] == 1:
                bias = (self.conv_in.bias + shift[0]).to(self.conv_in.weight.dtype)  # (channels,)
                h = F.conv2d(h, self.conv_in.weight, bias, padding=1)
            else:
                h = add_per_image(self.conv_in(h), shift)
        x = x + self.conv_out(self.dropout(F.silu(h)))  # (B, channels, H, W)
        return x


def add_per_image(x: Tensor, shift: Tensor) -> Tensor:
    """Add ``shift`` (B, C) to every pixel of ``x`` (B, C, H, W).

    A plain broadcast gives the same result, but its gradient sums over pixels with a kernel 10 times slower than the
    neighbouring convolution (channels-last bfloat16 on a CPU). Written as a rank-1 matrix product, the sum is one as well.
    """
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # a view when x is channels-last
    ones = torch.ones((), dtype=x.dtype, device=x.device).expand(batch, height * width, 1)
    pixels = torch.baddbmm(pixels, ones, shift.to(x.dtype)[:, None])  # (B, H·W, C)
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return softmax(q·kᵀ/sqrt(d))·v (Vaswani et al. 2017, equation 1), (B, heads, N, d).

    This uses torch's fused kernel, except where its gradient is slow: in bfloat16 on a CPU, matrix products with explicit
    probabilities train 3 to 5 times faster over 64 pixels, and about as fast over 256.

    Args:
        q: (B, heads, N, d).
        k, v: (B, heads, L, d).
        allowed: (B, 1, 1, L) bool, True for the keys that may be attended to; all by default.
    """
    slow_gradient = q.requires_grad and q.device.type == "cpu" and q.dtype == torch.bfloat16
    if not slow_gradient or k.shape[-2] > FEW_KEYS:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, heads, N, L)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(-1).to(v.dtype) @ v  # (B, heads, N, d)


class SelfAttention(nn.Module):
    """Multi-head self-attention over all pixels, x + attention(norm(x)) (Vaswani et al. 2017; Ho et al. 2020 in a U-Net)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = equal_parts(channels, HEAD_WIDTH)
        self.norm = GroupNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zero_initialised(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # (B, H·W, channels)
        qkv = self.qkv(pixels).view(batch, height * width, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, H·W, channels/heads)
        attended = attend(q, k, v).transpose(1, 2).reshape(batch, height * width, channels)  # (B, H·W, channels)
        x = x + self.out(attended).view(batch, height, width, channels).permute(0, 3, 1, 2)  # (B, channels, H, W)
        return x


class CrossAttention(nn.Module):
    """Cross-attention from pixels to words, x + attention(norm(x) → context) (Rombach et al. 2022, section 3.3).

    Args:
        channels: channels of x, (B, channels, H, W).
        context_dim: width of the context, (B, L, context_dim).

    Attributes:
        maps: None, or a list to which every call appends its attention weights, (B, H, W, L) float32, averaged over heads;
            each pixel's weights sum to 1.
    """

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        self.heads = equal_parts(channels, HEAD_WIDTH)
        self.norm = GroupNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(context_dim, 2 * channels)
        self.out = zero_initialised(nn.Linear(channels, channels))
        self.maps: list[Tensor] | None = None

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Attend to the words where ``mask``, (B, L) bool, is True: at least one per row. B may be 1 if all share the words."""
        batch, channels, height, width = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # (B, H·W, channels)
        q = self.query(pixels).view(batch, height * width, self.heads, -1).transpose(1, 2)  # (B, heads, H·W, channels/heads)
        words = self.key_value(context).view(len(context), -1, 2, self.heads, channels // self.heads)
        k, v = words.permute(2, 0, 3, 1, 4).expand(-1, batch, -1, -1, -1)  # each (B, heads, L, channels/heads)
        allowed = mask[:, None, None, :].expand(batch, -1, -1, -1)  # (B, 1, 1, L)
        if self.maps is not None:
            scores = q.float() @ k.float().transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, heads, H·W, L)
            weights = scores.masked_fill(~allowed, -math.inf).softmax(-1).mean(1)  # (B, H·W, L)
            self.maps.append(weights.view(batch, height, width, -1))
        attended = attend(q, k, v, allowed).transpose(1, 2).reshape(batch, height * width, channels)  # (B, H·W, channels)
        x = x + self.out(attended).view(batch, height, width, channels).permute(0, 3, 1, 2)  # (B, channels, H, W)
        return x


class FeedForward(nn.Module):
    """GEGLU feed-forward layer at every pixel, x + W₂(a · gelu(b)) with (a, b) = W₁·norm(x) (Shazeer 2020, equation 6)."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)
        self.gate = nn.Linear(channels, 2 * expansion * channels)
        self.out = zero_initialised(nn.Linear(expansion * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(x).permute(0, 2, 3, 1)  # (B, H, W, channels)
        values, gates = self.gate(pixels).chunk(2, dim=-1)  # each (B, H, W, expansion·channels)
        x = x + self.out(values * F.gelu(gates)).permute(0, 3, 1, 2)  # (B, channels, H, W)
        return x


class SpatialTransformer(nn.Module):
    """Self-attention over pixels, cross-attention to words, feed-forward layer (Rombach et al. 2022, appendix E.2.1).

    Group norms replace the layer norms of language models: on image channels they work as well and are fast.
    """

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        self.self_attention = SelfAttention(channels)
        self.cross_attention = CrossAttention(channels, context_dim)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        x = self.self_attention(x)  # (B, channels, H, W)
        x = self.cross_attention(x, context, mask)  # (B, channels, H, W)
        x = self.feed_forward(x)  # (B, channels, H, W)
        return x


class Downsample(nn.Conv2d):
    """Halve the side: each 2×2 patch becomes one pixel of ``out_channels``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)


class Upsample(nn.Conv2d):
    """Double the side: mix the channels at the small size, where it is cheap, then repeat each pixel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)  # (B, out_channels, H, W)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")  # (B, out_channels, 2·H, 2·W)


def read_out(x: Tensor, head: nn.Linear) -> Tensor:
    """Apply the last layer to every pixel in float32: (B, C, H, W) -> (B, head.out_features, H, W)."""
    with without_autocast(x):
        out = F.linear(x.permute(0, 2, 3, 1).float(), head.weight.float(), head.bias.float())  # (B, H, W, head.out_features)
    return out.permute(0, 3, 1, 2).contiguous()


def zero_initialised(layer: Layer) -> Layer:
    """Mark a layer to start at zero, so that its residual block starts as the identity (Nichol & Dhariwal 2021)."""
    layer.starts_at_zero = True  # type: ignore[assignment]
    return layer


class Uninitialised(TorchFunctionMode):
    """A context in which layers are made without initial weights, which take longest to make, even on the "meta" device."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        of_weights = getattr(function, "__module__", "") == "torch.nn.init"
        return kwargs["tensor"] if of_weights else function(*args, **kwargs)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Initialise every weight from ``generator``: normal with standard deviation 1/sqrt(fan-in), and biases 0.

    Norms start as the identity, layers marked by :func:`zero_initialised` at zero, and embeddings are standard normal.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if getattr(module, "starts_at_zero", False):
                nn.init.zeros_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
