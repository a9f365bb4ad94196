"""Which images are held out of a dataset that has no split for them: by content, so that copies fall on one side.

An image's key is a hash of its decoded picture before that is converted to sRGB, cropped and resized, with the range that the
picture alone suggests for its values. The images with the lowest keys are held out. Runs of any seed and image size,
autoencoders and classifiers therefore hold out the same images, in the same order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..storage.config import DataConfig, HeldOutConfig, RunConfig
from .sources import locate, resolve

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..storage.run import Run

Keys = NDArray[np.uint64]  # (N,)
Rows = NDArray[np.int64]  # (N,)


def picture_key(picture: Image.Image) -> int:
    """Return the key of a decoded picture: 64 bits of the SHA-256 of its pixels, its size and its mode."""
    return _key(f"{picture.mode} {picture.size}", picture.tobytes())


def tensor_keys(images: Tensor) -> Keys:
    """Return the keys of images in memory, (N, C, H, W): uint8 pixels, or floats in [−1, 1]."""
    import torch

    pixels = images if images.dtype == torch.uint8 else ((images + 1) * 127.5).round().clamp(0, 255).byte()
    return np.array([_key(str(image.shape), image.tobytes()) for image in pixels.cpu().numpy()], dtype=np.uint64)


def _key(kind: str, content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(kind.encode() + content).digest()[:8])


def digest_of(keys: Keys) -> str:
    """Return 16 hexadecimal digits that identify images, in their order, by their keys."""
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()[:16]


def hold_out(keys: Keys, most: int, wanted: HeldOutConfig) -> tuple[Rows, Rows]:
    """Split images into those to train on, in order, and those to hold out: a tenth, but at most ``most``.

    Copies of an image fall on one side, unless there is but one image with all its copies.

    Args:
        keys: (N,) of the images.
        most: maximum number of held-out images.
        wanted: what a run has recorded, or takes over from the run it starts from; empty for a new split by content.

    Raises:
        ValueError: there are fewer than two images, or none that may be held out.
    """
    count = len(keys)
    if count < 2:
        raise ValueError(f"{count} images: training needs at least 2, one of them held out")
    tenth = _tenth(count, most)
    if wanted.seed is not None:
        order = np.random.default_rng(wanted.seed).permutation(count)
        return np.sort(order[tenth:]), order[:tenth]
    different, copies = np.unique(keys, return_counts=True)
    if len(different) == 1:  # one picture many times, to see whether a network can learn it at all; the copies are reported
        return np.arange(tenth, count), np.arange(tenth)
    whole = int(np.searchsorted(copies.cumsum(), tenth, side="right"))  # as many images, with all their copies, are a tenth
    below = int(different[min(max(1, whole), len(different) - 1)])
    if wanted.below:
        below = min(below, int(wanted.below, 16))
    held_out = np.flatnonzero(keys < below)
    if not len(held_out):
        raise ValueError(f"none of the {count} images is one that was held out before: restore the data, or train a new run")
    return np.flatnonzero(keys >= below), held_out[keys[held_out].argsort(kind="stable")]


def _tenth(count: int, most: int) -> int:
    """Return how many of ``count`` images are held out: a tenth, but at least one and at most ``most``."""
    return max(1, min(most, count // 10))


def described(wanted: HeldOutConfig, train: Keys, held_out: Keys) -> HeldOutConfig:
    """Return what a run records of its split, given the keys of both sides; see :func:`hold_out`."""
    digest = digest_of(held_out)
    return replace(wanted, digest=digest, below="" if wanted.seed is not None else f"{int(train.min()):016x}")


def data_of(config: RunConfig) -> DataConfig:
    """Return the resolved data settings of a run.

    Older versions recorded no held-out images, because they chose them by the run's seed.
    """
    data = resolve(config.data)
    begun_by_older_version = config.image_shape is not None and not data.held_out.digest
    return replace(data, held_out=HeldOutConfig(seed=config.seed)) if begun_by_older_version else data


def refuse_missing(config: RunConfig, remedy: str) -> None:
    """Raise ValueError if the folder of a run's data is no longer there.

    Args:
        remedy: what to do if it has been moved, for the message.
    """
    data = config.data.data
    try:
        there = Path(locate(data)).exists() or not Path(data).is_absolute()  # or on the hub
    except ValueError:
        there = False
    if not there:
        raise ValueError(f"the data of this run are not at {data!r}: put them there, or {remedy}")


def inherit(config: DataConfig, keys: Keys, sources: Sequence[Run]) -> DataConfig:
    """Return the configuration of a new run that holds out no image that the runs it starts from were trained on.

    Args:
        config: of data without a split of held-out images.
        keys: of its readable images.
        sources: the runs it starts from, and those that they started from. Those of other data are ignored.

    Raises:
        ValueError: the images that one of them was trained on are not known, or no image is left for all.
    """
    for source in sources:
        theirs = data_of(source.config)
        split, own = theirs.held_out, config.held_out
        if not (_same_place(config, theirs) or _same_held_out(split, keys)):
            continue
        if split.seed is None and not split.below:  # their data had a split for it
            continue
        if own != HeldOutConfig() and (own.seed, bool(own.below)) != (split.seed, bool(split.below)):
            raise ValueError(
                f"{source.name} and a run that started from it held out different images of {config.data}, and each was "
                "trained on those of the other: start from another run"
            )
        if split.seed is None:
            config = replace(config, held_out=HeldOutConfig(below=min(own.below or split.below, split.below)))
            continue
        trained_on = source.config.training_images
        left = len(keys) - _tenth(len(keys), theirs.held_out_images)
        if trained_on not in (None, left) or theirs.only_classes != config.only_classes:
            raise ValueError(
                f"an older version of Noisescope chose at random which images of {config.data} {source.name} held out, and "
                f"which of the present {len(keys):,} they are is no longer known: restore the data, or start from another run"
            )
        config = replace(config, held_out_images=theirs.held_out_images, held_out=HeldOutConfig(seed=split.seed))
    return config


def _same_held_out(split: HeldOutConfig, keys: Keys) -> bool:
    """Return whether images, wherever they lie, include all that a run has held out by content."""
    return bool(split.below and split.digest) and digest_of(np.sort(keys[keys < int(split.below, 16)])) == split.digest


def _same_place(one: DataConfig, other: DataConfig) -> bool:
    """Return whether two configurations read pictures in the same place, perhaps of different classes."""
    columns = [(config.train_split, config.image_column) for config in (one, other)]
    return columns[0] == columns[1] and _place(one.data) == _place(other.data)


def _place(name: str) -> str:
    """Return the folder or hub id of a dataset; its name if it is no longer there."""
    try:
        place = locate(name)
    except ValueError:
        return name
    return os.path.realpath(place) if Path(place).exists() else place
