"""Datasets that have a short name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """Where a named dataset lives on the hub, and how it is best prepared.

    Attributes:
        title: its usual name.
        about: one sentence that helps to choose.
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
    # A mirrored shoe points the other way than all others: flips would change what the data is.
    "fashion_mnist": Preset(
        "Fashion-MNIST",
        "Small grey pictures of clothes, 10 classes; the quickest to learn.",
        "zalando-datasets/fashion_mnist",
        image_size=32,
        fit="pad",
        flip=False,
    ),
    "oxford_flowers": Preset("Oxford Flowers", "Photographs of flowers, by species.", "nelorth/oxford-flowers"),
    "pokemon_captions": Preset(
        "Pokémon captions", "Drawings, each with a caption; few of them.", "svjack/pokemon-blip-captions-en-zh"
    ),
    "tiny_imagenet": Preset("Tiny ImageNet", "Photographs of animals and things, 64×64, by class.", "zh-plus/tiny-imagenet"),
}
