"""The networks to compare with: diffusers' ``UNet2DModel`` and denoising-diffusion-pytorch's ``Unet`` of our size and cost.

The search covers widths and, for diffusers, also blocks per level and the width of the time embedding. The number of levels,
and thus the resolutions, is that of our network, and so are the levels with attention in diffusers' network. Where ours takes
patches, diffusers' has finer levels instead. denoising-diffusion-pytorch has its default attention, linear at every level and
full at the innermost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel
from diffusers.utils import logging
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unets.baseline import BaselineUNet

if TYPE_CHECKING:
    from denoising_diffusion_pytorch import Unet

logging.set_verbosity_error()  # it warns at every change of precision

IMAGE_SIDE = 32
WIDTHS = range(32, 193, 32)  # its group norm has 32 groups
EXAMPLE_HEAD_WIDTH = 8  # the default attention_head_dim, which its examples keep
UNET_WIDTHS = range(16, 97, 8)  # widths of the first level of denoising-diffusion-pytorch
HEAD_WIDTHS = (EXAMPLE_HEAD_WIDTH, 32, None)  # None is one head; parameters and FLOPs are equal for all
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Size:
    """Number of parameters, and floating-point operations per image (a multiply-add is two)."""

    parameters: int
    flops: int

    @classmethod
    def of(cls, network: nn.Module, image_channels: int, side: int = IMAGE_SIDE) -> Size:
        """Return the size of ``network`` for one square image."""
        device = next(network.parameters()).device
        image = torch.zeros(1, image_channels, side, side, device=device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image, torch.zeros(1, device=device))
        return cls(count_parameters(network), counter.get_total_flops())

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters, {self.flops / 1e9:.3f} GFLOP an image"


@dataclass(frozen=True)
class UnetPeer:
    """The arguments and the size of a denoising-diffusion-pytorch ``Unet``."""

    options: dict[str, Any]
    size: Size

    def build(self) -> Unet:
        """Build the network in float32 with random weights."""
        from denoising_diffusion_pytorch import Unet

        return Unet(**self.options)

    def __str__(self) -> str:
        return f"dim={self.options['dim']}, dim_mults={self.options['dim_mults']}: {self.size}"


@dataclass(frozen=True)
class Peer:
    """The arguments and the size of a ``UNet2DModel``."""

    options: dict[str, Any]
    size: Size

    @property
    def head_widths(self) -> tuple[int | None, ...]:
        """Head widths worth trying; a single one, without effect, if there is no attention."""
        return HEAD_WIDTHS if self.options["add_attention"] else HEAD_WIDTHS[:1]

    def describe(self, layout: str, head_width: int | None) -> str:
        """Describe a memory format and a head width."""
        heads = "one head" if head_width is None else f"heads of {head_width}"
        return f"{layout}, {heads}" if self.options["add_attention"] else layout

    def build(self, head_width: int | None = EXAMPLE_HEAD_WIDTH) -> UNet2DModel:
        """Build the network in float32 with random weights; ``head_width`` None gives one head."""
        return UNet2DModel(**self.options, attention_head_dim=head_width)

    def __str__(self) -> str:
        options = self.options
        embedding = options["time_embedding_dim"] or 4 * options["block_out_channels"][0]
        return (
            f"block_out_channels={options['block_out_channels']}, layers_per_block={options['layers_per_block']}, "
            f"time_embedding_dim={embedding}: {self.size}"
        )


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def find_peer(network: BaselineUNet, side: int = IMAGE_SIDE) -> Peer:
    """Find the ``UNet2DModel`` nearest to ``network`` in parameters and FLOPs, for images with this side."""
    return Peer(*_nearest(network, side, UNet2DModel, _candidates(network, side)))


def find_unet_peer(network: BaselineUNet) -> UnetPeer:
    """Find the denoising-diffusion-pytorch ``Unet`` nearest to ``network`` in parameters and FLOPs."""
    from denoising_diffusion_pytorch import Unet

    multiples = combinations_with_replacement((1, 2, 3, 4), len(network.encoder))
    candidates = (
        {"dim": dim, "dim_mults": widths, "channels": network.image_channels}
        for dim, widths in product(UNET_WIDTHS, multiples)
        if widths[0] == 1
    )
    return UnetPeer(*_nearest(network, IMAGE_SIDE, Unet, candidates))


def _nearest(
    network: BaselineUNet, side: int, build: Callable[..., nn.Module], candidates: Iterable[dict[str, Any]]
) -> tuple[dict[str, Any], Size]:
    """Find the candidate nearest to ``network`` in parameters and FLOPs; the larger deviation decides.

    Raises:
        ValueError: no candidate comes within a tenth of its number of parameters.
    """
    target = Size.of(network, network.image_channels, side)
    near = []
    for options in candidates:
        with torch.device("meta"):  # counting needs no weights
            candidate = build(**options)
        if abs(count_parameters(candidate) / target.parameters - 1) < 0.1:
            near.append((options, Size.of(candidate, network.image_channels, side)))
    if not near:
        raise ValueError(f"no {build.__name__} has about {target.parameters} parameters: widen the search")
    return min(near, key=lambda found: _deviation(found[1], target))


def _deviation(size: Size, target: Size) -> float:
    return max(abs(size.parameters / target.parameters - 1), abs(size.flops / target.flops - 1))


def _candidates(network: BaselineUNet, side: int) -> Iterator[dict[str, Any]]:
    finer = network.downsampling.bit_length() - len(network.encoder)  # levels that patches replace
    attends = [False] * finer + [level in getattr(network, "attention_levels", ()) for level in range(len(network.encoder))]
    levels = len(attends)
    shared = {
        "sample_size": side,
        "in_channels": network.image_channels,
        "out_channels": network.image_channels,
        "down_block_types": tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        "up_block_types": tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        "add_attention": attends[-1],
    }
    for widths, layers, embedding in product(combinations_with_replacement(WIDTHS, levels), (1, 2), (None, network.dim)):
        yield shared | {"block_out_channels": widths, "layers_per_block": layers, "time_embedding_dim": embedding}


def fill_zeros(network: nn.Module, std: float = 0.02) -> nn.Module:
    """Give random weights to layers that start at zero, so that no measurement multiplies by zeros only."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=std)
    return network
