"""Training and held-out images, decoded once and kept in memory as uint8, (N, C, H, W)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..common.images import Pixels
from ..common.indices import evenly_spaced
from ..common.machine import refuse_beyond_memory
from ..common.picture_files import open_picture
from ..storage.config import DataConfig, RunConfig
from .classes import label_columns, labels_in

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from PIL import Image
from .decoding import fit_image, read_cell
from .sources import image_column, open_dataset, picture_folders, split_names

COPIES = 2  # of all pixels at once while they are read


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory.

    Attributes:
        images: (N, C, H, W) uint8, C = 1 if all are grey, else 3.
        rows: (N,) row of each image in its split.
        skipped: one sentence for each unusable file.
    """

    images: torch.Tensor
    rows: NDArray[np.int64]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def digest(self, rows: NDArray[np.int64] | slice = slice(None)) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of some images, as the network sees them, in order."""
        pixels = self.images[rows].contiguous().numpy()
        return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]


def read_images(dataset: Dataset, config: DataConfig, chosen: NDArray[np.int64] | None = None) -> ImageSet:
    """Decode, fit and stack the images of one split.

    Args:
        config: a resolved configuration (see :func:`resolve`).
        chosen: rows to read; all by default.

    Raises:
        ValueError: no image can be used, or the images plainly do not fit into memory.
    """
    import datasets
    import torch

    column = image_column(dataset, config.image_column)
    numbers = np.arange(len(dataset)) if chosen is None else chosen
    rows = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False)).select(numbers)
    folders = picture_folders(config.data)
    images: list[Image.Image] = []
    kept, skipped = [], []
    for place, (row, cell) in enumerate(zip(numbers, (row[column] for row in rows), strict=True)):
        try:
            picture = open_picture(read_cell(cell, folders))
            image = fit_image(picture, config.image_size or 64, config.fit or "crop")
        except (OSError, ValueError) as error:
            name = (cell or {}).get("path") or f"image {place}"
            skipped.append(f"{' '.join(name.split())}: {error}")
        else:
            if not images:  # the others are as large
                size = COPIES * len(numbers) * math.prod(image.size) * len(image.getbands())
                refuse_beyond_memory(size, f"reading {len(numbers):,} images of {config.data}", "choose a smaller image_size")
            images.append(image)
            kept.append(row)
    if not images:
        example = f" (the first: {skipped[0]})" if skipped else ""
        raise ValueError(f"no readable image in {config.data}{example}")
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    stacked = np.stack([np.asarray(image if image.mode == mode else image.convert(mode)) for image in images])
    tensor = torch.from_numpy(stacked)
    tensor = tensor[:, None] if mode == "L" else tensor.permute(0, 3, 1, 2).contiguous()
    return ImageSet(tensor, np.array(kept), tuple(skipped))


def preview_images(config: DataConfig, count: int = 16) -> Pixels:
    """Return training images as the network sees them, evenly spaced in the split: (N, H, W, C) uint8, N ≤ ``count``.

    If training mirrors half of the images, every second one is mirrored here.

    Args:
        config: a resolved configuration (see :func:`resolve`).
    """
    splits = open_dataset(config.data, config.only_classes)
    split = splits[split_names(splits, config)[0]]
    images = read_images(split, config, evenly_spaced(len(split), count)).images.permute(0, 2, 3, 1).numpy()
    if config.flip:
        images[1::2] = images[1::2, :, ::-1].copy()
    return images


def _held_out_rows(split: Dataset, count: int) -> NDArray[np.int64]:
    """Return the first ``count`` rows or, if the split is sorted by class as folders are, evenly spaced ones in random order.

    The first few of these are therefore a fair sample too.
    """
    labels = (labels_in(split, column) for column in label_columns(split))
    by_class = any(0 < np.count_nonzero(np.diff(own)) == len(np.unique(own)) - 1 for own in labels)
    rows = evenly_spaced(len(split), count)
    return np.random.default_rng(0).permutation(rows) if by_class else np.arange(len(rows))


def load_images(config: DataConfig, seed: int = 0, measured: int | None = None) -> tuple[ImageSet, ImageSet]:
    """Load the training images and the held-out ones, which never overlap.

    ``held_out_images`` images of the test or validation split are held out. Without such a split, a random tenth of the
    training images is held out, but at most that many.

    Args:
        config: a resolved configuration (see :func:`resolve`).
        seed: determines which training images are held out, if any.
        measured: number of held-out images to return instead, without taking any from training.
    """
    splits = open_dataset(config.data, config.only_classes)
    train_name, held_out_name = split_names(splits, config)
    train = read_images(splits[train_name], config)
    if held_out_name is not None:
        split = splits[held_out_name]
        return _same_channels(train, read_images(split, config, _held_out_rows(split, measured or config.held_out_images)))
    if len(train) < 2:
        raise ValueError(f"{config.data} has 1 readable image: training needs at least 2, one of them held out")
    kept, held_out = held_out_split(len(train), config.held_out_images, seed)
    held_out = held_out[:measured]
    others = ImageSet(train.images[held_out], train.rows[held_out.numpy()])
    return ImageSet(train.images[kept], train.rows[kept.numpy()], train.skipped), others


def held_out_split(count: int, most: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Split image numbers into those to train on, in order, and those to hold out: a random tenth, but at most ``most``.

    Raises:
        ValueError: there are fewer than two images.
    """
    import torch

    if count < 2:
        raise ValueError(f"{count} images: training needs at least 2, one of them held out")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    held_out = max(1, min(most, count // 10))
    return order[held_out:].sort().values, order[:held_out]


def refuse_other_images(config: RunConfig, train: ImageSet) -> None:
    """Raise ValueError if the number of training images has changed: a run may have seen images that are now held out."""
    if config.training_images not in (None, len(train)):
        raise ValueError(
            f"{config.data.data} has {len(train)} readable training images, but had {config.training_images} when this run "
            "started: restore them, or start a new run with --init-from"
        )


def _same_channels(train: ImageSet, held_out: ImageSet) -> tuple[ImageSet, ImageSet]:
    if train.images.shape[1] == held_out.images.shape[1]:
        return train, held_out
    widened = (replace(part, images=part.images.expand(-1, 3, -1, -1).contiguous()) for part in (train, held_out))
    first, second = widened
    return first, second
