"""Latents: encoding images, decoding latents, and storing the autoencoder with a latent diffusion model.

The weights of a latent diffusion model include those of its autoencoder, under names that begin with :data:`PREFIX`. The one
file is therefore enough to generate images, even if the autoencoder's own run is deleted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusion_core.denoiser import clip
from unets import build_autoencoder
from unets.autoencoder import LatentSpace

from ..common.devices import compute_dtype
from ..common.images import Pixels, as_input, montage, to_uint8
from ..common.reports import tracked
from ..storage.cache import cached_tensors, digest
from ..storage.config import NetworkConfig, RunConfig
from ..storage.run import Run
from .networks import empty_network, load_weights

PREFIX = "autoencoder."
AT_ONCE = 16  # batch size of the autoencoder, smaller for large images:
PIXELS_AT_ONCE = AT_ONCE * 256**2
TILE = 64  # side of the largest latents decoded in one piece
OVERLAP = 16  # width in latents of the overlap of neighbouring tiles
LATENT_RANGE = 3.0  # latent value shown as white; latents have a standard deviation of 1


def make_autoencoder(network: NetworkConfig, image_channels: int, latent_channels: int, seed: int | None) -> LatentSpace:
    """Return an autoencoder with initial weights from ``seed``, or without weights if it is None or comes from diffusers."""
    if network.imported:
        from .foreign.networks import ImportedAutoencoder

        return ImportedAutoencoder(network.settings)
    return build_autoencoder(
        seed=seed,
        image_channels=image_channels,
        latent_channels=latent_channels,
        channels=network.channels,
        blocks_per_level=network.blocks_per_level,
    )


def autoencoder_of(config: RunConfig) -> LatentSpace | None:
    """Return the autoencoder stored in a run's weights, itself without weights; None for a diffusion model of pixels.

    The run may also be that of an autoencoder.
    """
    assert config.image_shape is not None
    if config.model == "autoencoder":
        return make_autoencoder(config.network, config.image_shape[0], config.autoencoder.latent_channels, None)
    if config.latent.latent_network is None or config.latent.latent_shape is None:
        return None
    return make_autoencoder(config.latent.latent_network, config.image_shape[0], config.latent.latent_shape[0], None)


def split_weights(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a diffusion model's weights into those of its network and of its autoencoder (none for a model of pixels)."""
    own = {name: tensor for name, tensor in weights.items() if not name.startswith(PREFIX)}
    others = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items() if name.startswith(PREFIX)}
    return own, others


def prepare_autoencoder(
    autoencoder: LatentSpace, network: NetworkConfig, device: torch.device, dtype: torch.dtype | None = None
) -> LatentSpace:
    """Prepare an autoencoder for inference: move it to a device, set its precision and disable gradients.

    Args:
        network: its architecture. An autoencoder from diffusers stays in float32 by default, since its last layer cannot have
            a precision of its own.
        dtype: precision; by default the fastest one of the device.
    """
    fastest = torch.float32 if network.imported else compute_dtype(device)
    autoencoder.to(device=device, dtype=dtype or fastest, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return autoencoder.eval().requires_grad_(False)


def empty_autoencoder(run: Run) -> tuple[LatentSpace, NetworkConfig]:
    """Return the autoencoder of an autoencoder's run or of a latent diffusion model, without weights, and its architecture.

    Raises:
        ValueError: the run is a diffusion model of pixels.
    """
    config = run.config
    network = config.network if config.model == "autoencoder" else config.latent.latent_network
    if network is None:
        raise ValueError(
            f"{run.name} has no autoencoder, it is a diffusion model of pixels: name the run of an autoencoder "
            "(python -m pipelines.train --model autoencoder trains one) or of a latent diffusion model"
        )
    autoencoder = autoencoder_of(config)
    assert autoencoder is not None
    return autoencoder, network


def read_autoencoder(run: Run) -> tuple[LatentSpace, NetworkConfig]:
    """Read the autoencoder of an autoencoder's run or of a latent diffusion model, on the CPU, with its architecture.

    Raises:
        ValueError: the run is a diffusion model of pixels, or the weights do not fit.
    """
    autoencoder, network = empty_autoencoder(run)
    config = run.config
    whole = config.model == "autoencoder"
    load_weights(run.model_path, {"": autoencoder} if whole else {"": empty_network(config), PREFIX: autoencoder})
    return autoencoder, network


def in_parts(images: Tensor, factor: int = 1, most: int = AT_ONCE) -> tuple[Tensor, ...]:
    """Split images, or latents of images ``factor`` times as wide and high, into batches for an autoencoder.

    A batch holds at most ``most`` images, sixteen by default, and at most as many pixels as sixteen images of 256×256.
    """
    pixels = factor**2 * images.shape[2] * images.shape[3]
    return images.split(max(1, min(most, AT_ONCE, PIXELS_AT_ONCE // pixels)))


@torch.no_grad()
def encode(autoencoder: LatentSpace, x: Tensor) -> Tensor:
    """Encode (N, C, H, W) images in [−1, 1], in batches -> (N, latent channels, h, w) float32 on the autoencoder's device."""
    device = autoencoder.latent_scale.device
    with torch.autocast(device.type, enabled=False):  # the autoencoder sets its own precision
        return torch.cat([autoencoder.encode(part.to(device)) for part in in_parts(x)])


def encode_cached(autoencoder: LatentSpace, images: Tensor, about: str, mirrored: bool = False) -> Tensor:
    """Encode a dataset, or read its latents from the cache if the same autoencoder has already encoded the same images.

    Args:
        images: (N, C, H, W) uint8.
        about: label of the progress bar.
        mirrored: whether to mirror the images before they are encoded.

    Returns:
        (N, latent channels, h, w) float16 on the CPU.
    """

    def make() -> dict[str, Tensor]:
        parts = (part.flip(-1) if mirrored else part for part in tracked(in_parts(images), about, "batch"))
        return {"latents": torch.cat([encode(autoencoder, as_input(part)).half().cpu() for part in parts])}

    weights = {name: tensor.cpu() for name, tensor in autoencoder.state_dict().items()}
    key = hashlib.sha256((digest(weights) + digest({"images": images.cpu()}) + "mirrored" * mirrored).encode()).hexdigest()
    size = len(images) * math.prod(autoencoder.latent_shape(*images.shape[2:])) * torch.half.itemsize
    return cached_tensors("latents", key, make, size=size)["latents"]


@torch.no_grad()
def decode(autoencoder: LatentSpace, z: Tensor) -> Tensor:
    """Decode (N, latent channels, h, w) latents, in batches and large ones in tiles -> (N, C, H, W) float32 in [−1, 1]."""
    with torch.autocast(z.device.type, enabled=False):  # the autoencoder sets its own precision
        return clip(torch.cat([_decode_tiles(autoencoder, part) for part in in_parts(z, autoencoder.downsampling)]), -1, 1)


def _decode_tiles(autoencoder: LatentSpace, z: Tensor) -> Tensor:
    height, width = z.shape[-2:]
    if max(height, width) <= TILE:
        return autoencoder.decode(z)
    factor = autoencoder.downsampling
    total: Tensor | None = None
    weights = z.new_zeros(1, 1, height * factor, width * factor)
    for rows in _tiles(height):
        for columns in _tiles(width):
            tile = autoencoder.decode(z[..., rows, columns])
            if total is None:
                total = tile.new_zeros(len(z), tile.shape[1], height * factor, width * factor)
            weight = _fade(rows, height, factor, z)[:, None] * _fade(columns, width, factor, z)
            place = ..., slice(rows.start * factor, rows.stop * factor), slice(columns.start * factor, columns.stop * factor)
            total[place] += tile * weight
            weights[place] += weight
    assert total is not None
    return total / weights


def _tiles(side: int) -> Iterator[slice]:
    """Yield evenly spaced slices of length at most TILE that cover a side; neighbours overlap by OVERLAP or more."""
    count = max(1, math.ceil((side - OVERLAP) / (TILE - OVERLAP)))
    for number in range(count):
        start = round(number * max(0, side - TILE) / max(1, count - 1))
        yield slice(start, min(start + TILE, side))


def _fade(part: slice, side: int, factor: int, like: Tensor) -> Tensor:
    """Return the weight of each pixel along a tile, which falls to nearly zero towards neighbouring tiles."""
    length = (part.stop - part.start) * factor
    ramp = (torch.arange(length, device=like.device, dtype=torch.float32) + 0.5) / (OVERLAP * factor)
    weight = torch.ones_like(ramp)
    if part.start > 0:
        weight = torch.minimum(weight, ramp)
    if part.stop < side:
        weight = torch.minimum(weight, ramp.flip(0))
    return weight


def latent_pictures(z: Tensor, image_shape: tuple[int, int, int]) -> Pixels:
    """Show latents, (N, C, h, w) clipped to [−1, 1], as grey images of their channels -> (N, H, W, image channels) uint8."""
    channels, *size = image_shape
    grey = to_uint8(z.flatten(0, 1)[:, None]).reshape(*z.shape, 1)
    sheets = torch.from_numpy(np.stack([montage(image, gap=0, background=128) for image in grey]))
    shown = F.interpolate(sheets.permute(0, 3, 1, 2), size=tuple(size), mode="nearest-exact")
    return shown.expand(-1, channels, -1, -1).permute(0, 2, 3, 1).numpy()
