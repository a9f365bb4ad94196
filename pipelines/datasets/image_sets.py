"""Training and held-out images, decoded once: uint8, (N, C, H, W), in memory or mapped from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.images import Pixels
from ..common.indices import evenly_spaced
from ..storage.config import DataConfig, RunConfig
from ..storage.pixel_stack import coloured, take
from .classes import label_columns, labels_in
from .decoded import Fit, NoReadableImage, Part, Pictures
from .decoded_cache import read_pictures
from .files.inventory import Source, Unused
from .sources import image_column, open_source, picture_folders, split_names
from .splits import Keys, Rows, described, digest_of, hold_out, inherit

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from ..storage.run import Run


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images, as the network sees them.

    Attributes:
        images: (N, C, H, W) uint8, C = 1 if all are grey, else 3.
        rows: (N,) row of each image in its split.
        keys: (N,) key of each picture, made before it is cropped and resized (see :mod:`pipelines.datasets.splits`).
        split: name of that split.
        skipped: the pictures that cannot be read, by name.
        surplus: rows of further images of the split, which are not needed.
        notes: how pictures of unusual kinds were read, a sentence each.
    """

    images: torch.Tensor
    rows: Rows
    keys: Keys
    split: str = "train"
    skipped: tuple[Unused, ...] = ()
    surplus: Sequence[int] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: Rows) -> ImageSet:
        """Return some of the images, in that order, without what is told about all."""
        import torch

        images = torch.from_numpy(take(self.images.numpy(), rows))
        return ImageSet(images, self.rows[rows], self.keys[rows], self.split)

    def digest(self, rows: Rows | slice = slice(None)) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of some images, as the network sees them, in order."""
        pixels, chosen = self.images.numpy(), np.arange(len(self))[rows]
        found = hashlib.sha256(repr((len(chosen), *pixels.shape[1:])).encode())
        for row in chosen:  # one by one, because together they may be half of the memory
            found.update(pixels[row].tobytes())
        return found.hexdigest()[:16]


def read_images(dataset: Dataset, config: DataConfig, chosen: Rows | None = None, others: Sequence[Dataset] = ()) -> ImageSet:
    """Decode, fit and stack the images of one split.

    Args:
        config: a resolved configuration (see :func:`resolve`).
        chosen: rows to read; all by default.
        others: other splits of the same data; where files declare no range of their sample values, all share one.

    Raises:
        NoReadableImage: no image can be used.
        TooLarge: the images fit neither into memory nor on the disk.
    """
    import torch

    own, *theirs = (pictures_in(split, config) for split in (dataset, *others))
    every = np.arange(len(dataset))
    rows = every if chosen is None else chosen
    rest = [Part(own, np.setdiff1d(every, rows)), *(Part(split, np.arange(len(split.dataset))) for split in theirs)]
    settings = [
        config.only_classes,
        config.image_column,
        str(dataset.split),
        None if chosen is None else len(chosen),
    ]
    fit = Fit(config.image_size or 64, config.fit or "crop")
    found = read_pictures(Part(own, rows), fit, rest, config.data, settings)
    return ImageSet(torch.from_numpy(found.pixels), found.rows, found.keys, skipped=found.skipped, notes=found.notes)


def pictures_in(split: Dataset, config: DataConfig) -> Pictures:
    """Return the picture files of a split, in its column of images and in the folders of the dataset."""
    return Pictures(split, image_column(split, config.image_column), picture_folders(config.data))


def preview_images(config: DataConfig, count: int = 16, opened: Source | None = None) -> Pixels:
    """Return training images as the network sees them, evenly spaced in the split: (N, H, W, C) uint8, N ≤ ``count``.

    There are fewer than ``count`` only if no more can be read. If training mirrors half of the images, every second one is
    mirrored here.

    Args:
        config: a resolved configuration (see :func:`resolve`).
        count: number of images.
        opened: the dataset that it names, if it is open already.

    Raises:
        NoReadableImage: no image can be used.
    """
    splits = (opened or open_source(config.data, config.only_classes)).splits
    split, *others = (splits[name] for name in split_names(splits, config) if name is not None)
    images = _examples(split, config, others, count).permute(0, 2, 3, 1).numpy()
    if config.flip:
        images[1::2] = images[1::2, :, ::-1].copy()
    return images


def _examples(split: Dataset, config: DataConfig, others: Sequence[Dataset], count: int) -> torch.Tensor:
    """Return ``count`` images of a split, (N, C, H, W), from more and more rows while too few of them can be read."""
    looked_at = count
    while looked_at < len(split):
        with suppress(NoReadableImage):
            images = read_images(split, config, evenly_spaced(len(split), looked_at), others).images
            if len(images) >= count:
                break
        looked_at *= 4
    else:
        images = read_images(split, config, None, others).images
    return images[evenly_spaced(len(images), count)]


def held_out_rows(split: Dataset, count: int) -> Rows:
    """Return the first ``count`` rows or, if the split is sorted by class as folders are, evenly spaced ones in random order.

    The first few of these are therefore a fair sample too.
    """
    labels = (labels_in(split, column) for column in label_columns(split))
    by_class = any(0 < np.count_nonzero(np.diff(own)) == len(np.unique(own)) - 1 for own in labels)
    rows = evenly_spaced(len(split), count)
    return np.random.default_rng(0).permutation(rows) if by_class else np.arange(len(rows))


def load_images(config: DataConfig, measured: int | None = None) -> tuple[ImageSet, ImageSet]:
    """Load the training images and the held-out ones; see :func:`load_split`."""
    return load_split(config, open_source(config.data, config.only_classes), measured=measured)[:2]


def load_split(
    config: DataConfig, opened: Source, sources: Sequence[Run] = (), measured: int | None = None
) -> tuple[ImageSet, ImageSet, DataConfig]:
    """Load the training images and the held-out ones, which never overlap, and record which are held out.

    ``held_out_images`` images of the test or validation split are held out. Without such a split, a tenth of the training
    images is held out, but at most that many, chosen by content (see :mod:`pipelines.datasets.splits`). ``train_images`` of the
    others are trained on, or all.

    Args:
        config: a resolved configuration (see :func:`resolve`; of a run, see :func:`pipelines.datasets.splits.data_of`).
        opened: the dataset that it names.
        sources: runs whose training images may not be held out, because a new run starts from them.
        measured: number of held-out images to return instead, without taking any from training.

    Raises:
        ValueError: the held-out images are not those that a run recorded, or cannot be chosen.
    """
    splits = opened.splits
    train_name, held_out_name = split_names(splits, config)
    others = [] if held_out_name is None else [splits[held_out_name]]
    train = replace(read_images(splits[train_name], config, others=others), split=train_name)
    if held_out_name is not None:
        [split] = others
        rows = held_out_rows(split, measured or config.held_out_images)
        held_out = read_images(split, config, rows, [splits[train_name]])
        digest = digest_of(held_out.keys) if measured is None else config.held_out.digest
        found = replace(config.held_out, digest=digest, below="", seed=None)
        train, held_out = _same_channels(train, replace(held_out, split=held_out_name))
    else:
        if len(train) < 2:
            raise ValueError(f"{config.data} has 1 readable image: training needs at least 2, one of them held out")
        config = inherit(config, train.keys, sources)
        kept, rows = hold_out(train.keys, config.held_out_images, config.held_out)
        found = described(config.held_out, train.keys[kept], train.keys[rows])
        train, held_out = replace(train.part(kept), skipped=train.skipped, notes=train.notes), train.part(rows[:measured])
    if config.held_out.digest not in ("", found.digest):
        raise ValueError(
            f"the held-out images of {config.data} have changed since this run started: restore the data, or start a new run "
            "with --init-from"
        )
    if config.train_images is not None:
        train = _thinned(train, config.train_images)
    return train, held_out, replace(config, held_out=found)


def _thinned(images: ImageSet, most: int) -> ImageSet:
    """Return at most this many of the images, evenly spaced; the others are surplus."""
    rows = evenly_spaced(len(images), most)
    surplus = np.delete(images.rows, rows).tolist()
    return replace(images.part(rows), skipped=images.skipped, surplus=surplus, notes=images.notes)


def readable_images(config: DataConfig, opened: Source) -> tuple[ImageSet, ...]:
    """Return what can be read of the training split and of the held-out one, if any, whether it is enough to train on or not.

    Args:
        config: a resolved configuration (see :func:`resolve`).
        opened: the dataset that it names.
    """
    splits = opened.splits
    train_name, held_out_name = split_names(splits, config)
    train = _readable(splits[train_name], config)
    if held_out_name is None:
        return (train,)
    return train, _readable(splits[held_out_name], config, held_out_rows(splits[held_out_name], config.held_out_images))


def _readable(split: Dataset, config: DataConfig, chosen: Rows | None = None) -> ImageSet:
    import torch

    try:
        return read_images(split, config, chosen)
    except NoReadableImage as error:
        none = np.zeros(0, np.uint64)
        return ImageSet(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), none.astype(np.int64), none, skipped=error.skipped)


def refuse_other_images(config: RunConfig, train: ImageSet) -> None:
    """Raise ValueError if these are not the images that a run was trained on, or not in the order in which it draws them."""
    if config.training_images not in (None, len(train)):
        raise ValueError(
            f"{config.data.data} has {len(train)} readable training images, but had {config.training_images} when this run "
            "started: restore them, or start a new run with --init-from"
        )
    if config.training_digest not in ("", digest_of(train.keys)):
        raise ValueError(
            f"the {len(train)} training images of {config.data.data} are not those that this run has begun with, or are in "
            "another order: restore the pictures and their names, or start a new run with --init-from"
        )


def _same_channels(train: ImageSet, held_out: ImageSet) -> tuple[ImageSet, ImageSet]:
    import torch

    if train.images.shape[1] == held_out.images.shape[1]:
        return train, held_out
    first, second = (replace(part, images=torch.from_numpy(coloured(part.images.numpy()))) for part in (train, held_out))
    return first, second
