"""Datasets with a short name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..common.paths import settled


@dataclass(frozen=True)
class Preset:
    """Named dataset: where it is on the hub, and how to prepare it.

    Attributes:
        title: its usual name.
        about: one sentence to help choose it.
        hub_id: owner/name on the Hugging Face hub.
        image_size, fit, flip: see :class:`pipelines.storage.config.DataConfig`.
    """

    title: str
    about: str
    hub_id: str
    image_size: int = 64
    fit: Literal["crop", "pad"] = "crop"
    flip: bool = True


PRESETS: dict[str, Preset] = {
    # All shoes point the same way: flips would change what the data shows.
    "fashion_mnist": Preset(
        "Fashion-MNIST",
        "Small grey images of clothes in 10 classes; the fastest to learn.",
        "zalando-datasets/fashion_mnist",
        image_size=32,
        fit="pad",
        flip=False,
    ),
    "oxford_flowers": Preset("Oxford Flowers", "Photographs of flowers, labelled by species.", "nelorth/oxford-flowers"),
    "pokemon_captions": Preset(
        "Pokémon captions", "A small set of drawings with captions.", "svjack/pokemon-blip-captions-en-zh"
    ),
    "tiny_imagenet": Preset(
        "Tiny ImageNet", "64×64 photographs of animals and objects, labelled by class.", "zh-plus/tiny-imagenet"
    ),
}


def dataset_name(data: str) -> str:
    """Return the name of a dataset: the last part of its hub id or folder, or a short name that a link leads to."""
    name, real = Path(settled(data)).name, Path(os.path.realpath(data)).name
    return real if real in PRESETS and name not in PRESETS else name
