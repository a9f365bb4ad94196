"""The networks. Each is one file built from ``blocks``; to add one, write it and add an entry to :data:`NETWORKS`.

Every network is called as ``network(x_t, t, condition=None)`` with x_t (B, C, H, W) and t (B,) or (1,), and returns one
(B, C, H, W) float32 tensor. This package is independent of ``diffusion_core``, which decides what the output means.
Importing it does not load torch, so listing the networks is fast.

    >>> import torch
    >>> network = build_network("attention", image_channels=1, channels=(8, 16), seed=0)
    >>> network(torch.zeros(2, 1, 16, 16), torch.tensor([500.0])).shape
    torch.Size([2, 1, 16, 16])
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .choices import NETWORKS as NETWORKS

if TYPE_CHECKING:
    from torch import nn

    from .autoencoder import Autoencoder
    from .baseline import BaselineUNet
    from .discriminator import PatchDiscriminator

    Network = TypeVar("Network", bound=nn.Module)


def build_network(name: str, *, seed: int | None = 0, **options: Any) -> BaselineUNet:
    """Build the network called ``name`` in :data:`NETWORKS`, on the CPU in float32.

    Args:
        name: a key of :data:`NETWORKS`.
        seed: seed of the initial weights, which leaves the global random state untouched. None leaves the network on the
            "meta" device, without weights, for a loader to fill.
        options: keyword arguments of the network's class.

    Raises:
        ValueError: an unknown network or option.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    known = inspect.signature(NETWORKS[name].load()).parameters
    for option in options.keys() - known.keys():
        raise ValueError(f"network {name!r} has no option {option}: it takes {', '.join(known)}")
    return _built(NETWORKS[name], seed, options)


def build_autoencoder(*, seed: int | None = 0, **options: Any) -> Autoencoder:
    """Build an autoencoder on the CPU in float32, or without weights; see :func:`build_network`.

    Example:
        >>> import torch
        >>> autoencoder = build_autoencoder(channels=(8, 16, 16), latent_channels=4)
        >>> autoencoder.encode(torch.zeros(1, 3, 32, 32)).shape  # to a quarter of the side
        torch.Size([1, 4, 8, 8])
    """
    from .autoencoder import Autoencoder

    network = _built(Autoencoder, seed, options)
    if seed is not None:
        network.latent_scale.fill_(1)
    return network


def build_discriminator(*, seed: int | None = 0, **options: Any) -> PatchDiscriminator:
    """Build a discriminator on the CPU in float32; see :func:`build_network`."""
    from .discriminator import PatchDiscriminator

    return _built(PatchDiscriminator, seed, options)


def _built(kind: Callable[..., Network], seed: int | None, options: dict[str, Any]) -> Network:
    import torch

    from .blocks import Uninitialised, initialise

    with torch.device("meta"), Uninitialised():
        network = kind(**options)
    if seed is None:
        return network
    network = network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    return network
