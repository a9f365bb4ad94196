"""The ``Unet`` of denoising-diffusion-pytorch 2, with weights under the same names.

Its layers are read off the shapes of its weights, so no configuration is needed. Versions before 2 have group norms and, in
some releases, standardised convolutions, which the weights do not tell apart; they are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


def unet_settings(shapes: Shapes) -> dict[str, Any]:
    """Return the settings of the network from the shapes of its weights.

    Raises:
        ValueError: it is of another version, or has an option that cannot be represented.
    """
    if "downs.0.0.block1.norm.g" not in shapes:
        raise ValueError(
            "a U-Net of denoising-diffusion-pytorch before version 2, whose weights do not tell plain from standardised "
            "convolutions: only networks of version 2 can be imported"
        )
    if "time_mlp.0.weights" in shapes:
        raise ValueError(
            "a U-Net of denoising-diffusion-pytorch with learned or random time features, which cannot be imported"
        )
    levels = sum(f"downs.{level}.0.block1.norm.g" in shapes for level in range(len(shapes)))
    steps = [f"downs.{level}.3.{'1.' * (level < levels - 1)}weight" for level in range(levels)]
    full = [f"downs.{level}.2.to_out.weight" in shapes for level in range(levels)]
    memory = [shapes[f"downs.{level}.2.mem_kv"] for level in range(levels)]
    channels, wanted = shapes["init_conv.weight"][1], shapes["final_conv.weight"][0]
    if channels != wanted:
        raise ValueError(
            f"a U-Net of denoising-diffusion-pytorch with {channels} input and {wanted} output channels: networks with "
            "self-conditioning, or that predict a variance, cannot be imported"
        )
    return {
        "in_channels": channels,
        "dim": shapes["time_mlp.1.weight"][1],
        "block_out_channels": [shapes["init_conv.weight"][0], *(shapes[step][0] for step in steps)],
        "layers_per_block": 2,
        "full_attention": full,
        "attention_heads": [shape[1] for shape in memory],
        "attention_head_dim": [shape[3 if whole else 2] for shape, whole in zip(memory, full, strict=True)],
        "memory_tokens": memory[0][2 if full[0] else 3],
    }


class RMSNorm(nn.Module):
    """Root-mean-square norm over the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.g * self.g.shape[1] ** 0.5


class Block(nn.Module):
    """Convolution, norm, modulation by the time, and activation."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(taken, given, 3, padding=1)
        self.norm = RMSNorm(given)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        return F.silu(x if scale is None or shift is None else x * (scale + 1) + shift)


class ResnetBlock(nn.Module):
    """Two blocks and a shortcut."""

    def __init__(self, taken: int, given: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * given))
        self.block1, self.block2 = Block(taken, given), Block(given, given)
        self.res_conv = nn.Conv2d(taken, given, 1) if taken != given else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale, shift = self.mlp(t)[:, :, None, None].chunk(2, dim=1)
        shortcut: Tensor = self.res_conv(x)
        return self.block2(self.block1(x, scale, shift)) + shortcut


class Attention(nn.Module):
    """Self-attention with learned keys and values besides those of the pixels: full, or linear (Shen et al. 2021)."""

    def __init__(self, channels: int, heads: int, width: int, memory: int, full: bool) -> None:
        super().__init__()
        self.heads, self.full = heads, full
        self.norm = RMSNorm(channels)
        self.mem_kv = nn.Parameter(torch.empty(2, heads, *((memory, width) if full else (width, memory))))
        self.to_qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        out = nn.Conv2d(heads * width, channels, 1)
        self.to_out = out if full else nn.Sequential(out, RMSNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).view(batch, 3, self.heads, -1, height * width)  # (B, 3, heads, d, H·W)
        q, k, v = qkv.transpose(-1, -2).unbind(1) if self.full else qkv.unbind(1)
        mk, mv = self.mem_kv[:, None].expand(-1, batch, *(-1,) * 3)
        k, v = (torch.cat(pair, dim=-2 if self.full else -1) for pair in ((mk, k), (mv, v)))
        if self.full:
            attended = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)  # (B, heads, d, H·W)
        else:
            context = k.softmax(-1) @ v.transpose(-1, -2)  # (B, heads, d, d)
            attended = context.transpose(-1, -2) @ (q.softmax(-2) * q.shape[-2] ** -0.5)  # (B, heads, d, H·W)
        added: Tensor = self.to_out(attended.reshape(batch, -1, height, width))
        return x + added


class Unpatch(nn.Module):
    """Each 2×2 patch becomes one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)


class LucidrainsUNet(nn.Module):
    """The network, with the interface of our own.

    Args:
        settings: as :func:`unet_settings` returns them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.dim = settings["dim"]
        first, *_ = widths = settings["block_out_channels"]
        time, last = 4 * self.dim, len(widths) - 2
        self.init_conv = nn.Conv2d(settings["in_channels"], first, 7, padding=3)
        self.time_mlp = nn.Sequential(nn.Identity(), nn.Linear(self.dim, time), nn.GELU(), nn.Linear(time, time))

        def attention(channels: int, level: int, full: bool) -> Attention:
            heads, width = settings["attention_heads"][level], settings["attention_head_dim"][level]
            return Attention(channels, heads, width, settings["memory_tokens"], full)

        def stage(taken: tuple[int, int], given: int, level: int, step: nn.Module) -> nn.ModuleList:
            blocks = [ResnetBlock(sum(taken), given, time) for _ in range(2)]
            return nn.ModuleList([*blocks, attention(given, level, settings["full_attention"][level]), step])

        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (fine, coarse) in enumerate(pairwise(widths)):
            down = nn.Sequential(Unpatch(), nn.Conv2d(4 * fine, coarse, 1))
            up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 3, padding=1))
            ends = nn.Conv2d(fine, coarse, 3, padding=1), nn.Conv2d(coarse, fine, 3, padding=1)
            self.downs.append(stage((fine, 0), fine, level, down if level < last else ends[0]))
            self.ups.insert(0, stage((coarse, fine), coarse, level, up if level else ends[1]))
        self.mid_block1, self.mid_block2 = (ResnetBlock(widths[-1], widths[-1], time) for _ in range(2))
        self.mid_attn = attention(widths[-1], last, full=True)
        self.final_res_block = ResnetBlock(2 * first, first, time)
        self.final_conv = nn.Conv2d(first, settings["in_channels"], 1)

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        """Predict from x_t (B, C, H, W) at timesteps t, (B,) or (1,) -> (B, C, H, W) float32."""
        half = self.dim // 2
        angles = t.float()[:, None] * torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / (half - 1)))
        time = self.time_mlp(torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.init_conv.weight.dtype))
        x = start = self.init_conv(x_t.to(self.init_conv.weight.dtype))
        skips = []
        for down in self.downs:
            block1, block2, attend, step = cast(list[Any], down)
            skips.append(block1(x, time))
            skips.append(attend(block2(skips[-1], time)))
            x = step(skips[-1])
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for up in self.ups:
            block1, block2, attend, step = cast(list[Any], up)
            x = block1(torch.cat([x, skips.pop()], dim=1), time)
            x = step(attend(block2(torch.cat([x, skips.pop()], dim=1), time)))
        prediction: Tensor = self.final_conv(self.final_res_block(torch.cat([x, start], dim=1), time))
        return prediction.float()
