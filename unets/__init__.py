"""The networks. Each variant is one file built from ``blocks``; to add one, write it and add a line to :data:`NETWORKS`.

Every network is called as ``network(x_t, t, condition=None)`` with x_t (B, C, H, W) and t (B,) or (1,), and returns one
(B, C, H, W) float32 tensor. This package does not know ``diffusion_core``: what the output means is decided there.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from .attention import AttentionUNet
from .autoencoder import Autoencoder
from .baseline import BaselineUNet
from .blocks import initialise
from .conditional import ConditionalUNet
from .discriminator import PatchDiscriminator

Network = TypeVar("Network", bound=nn.Module)

NETWORKS: dict[str, type[BaselineUNet]] = {
    "baseline": BaselineUNet,
    "attention": AttentionUNet,
    "class": ConditionalUNet,
    "text": ConditionalUNet,
}


def build_network(name: str, *, seed: int | None = 0, **options: Any) -> BaselineUNet:
    """The network called ``name`` in :data:`NETWORKS`, on the CPU in float32.

    Args:
        seed: fixes the initial weights without touching the global random state; None leaves the network on the "meta"
            device, without weights, for a loader to fill.
        options: keyword arguments of the network's class.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    known = inspect.signature(NETWORKS[name]).parameters
    for option in options.keys() - known.keys():
        raise ValueError(f"network {name!r} has no option {option}: it takes {', '.join(known)}")
    return _built(NETWORKS[name], seed, options)


def build_autoencoder(*, seed: int | None = 0, **options: Any) -> Autoencoder:
    """An autoencoder on the CPU in float32, or without weights; see :func:`build_network`."""
    network = _built(Autoencoder, seed, options)
    if seed is not None:
        network.latent_scale.fill_(1)
    return network


def build_discriminator(*, seed: int | None = 0, **options: Any) -> PatchDiscriminator:
    """A discriminator on the CPU in float32; see :func:`build_network`."""
    return _built(PatchDiscriminator, seed, options)


def _built(kind: type[Network], seed: int | None, options: dict[str, Any]) -> Network:
    with torch.device("meta"):
        network = kind(**options)
    if seed is None:
        return network
    network = network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    return network
