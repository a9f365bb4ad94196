"""Image datasets through Hugging Face ``datasets``: a short name, a hub id, or a local folder.

Images are decoded once and kept in memory as uint8, (N, C, H, W).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .classes import in_words, label_columns, labels_in, of_classes
from .config import DataConfig, RunConfig
from .images import Pixels

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict

HELD_OUT_SPLITS = ("test", "validation", "valid", "val")


@dataclass(frozen=True)
class Preset:
    """Where a named dataset lives on the hub, and how it is best prepared."""

    hub_id: str
    image_size: int
    fit: Literal["crop", "pad"] = "crop"
    flip: bool = True


PRESETS = {
    # A mirrored shoe points the other way than all others: flips would change what the data is.
    "fashion_mnist": Preset("zalando-datasets/fashion_mnist", image_size=32, fit="pad", flip=False),
    "oxford_flowers": Preset("nelorth/oxford-flowers", image_size=64),
    "pokemon_captions": Preset("svjack/pokemon-blip-captions-en-zh", image_size=64),
    "tiny_imagenet": Preset("zh-plus/tiny-imagenet", image_size=64),
}


def resolve(config: DataConfig) -> DataConfig:
    """The same configuration with the dataset's own defaults in place of what was left open.

    They are those of a dataset whatever it is called: by its short name, its hub id, or a folder of that short name.
    """
    ids = {preset.hub_id: preset for preset in PRESETS.values()}
    preset = ids.get(config.data) or PRESETS.get(Path(config.data).name, Preset(config.data, image_size=64))
    return replace(
        config,
        image_size=config.image_size or preset.image_size,
        fit=config.fit or preset.fit,
        flip=preset.flip if config.flip is None else config.flip,
    )


def locate(name: str) -> str:
    """Where a dataset is read from: a folder of this machine, or a hub id.

    Args:
        name: a short name ($NOISESCOPE_DATA/<name> where that folder exists, else the hub), a local folder, or a hub id.

    Raises:
        ValueError: it is none of these.
    """
    if name in PRESETS:
        local = Path(os.environ.get("NOISESCOPE_DATA", ".")) / name
        return str(local) if "NOISESCOPE_DATA" in os.environ and local.is_dir() else PRESETS[name].hub_id
    if not name or (not Path(name).is_dir() and name.count("/") != 1):  # Path("") would be the working directory
        raise ValueError(
            f"unknown dataset {name!r}: give a short name ({', '.join(PRESETS)}), a hub id (owner/name), or a local folder"
        )
    return name


def open_dataset(name: str, only_classes: Sequence[str] = ()) -> DatasetDict:
    """All splits of a dataset (see :func:`locate`), images not decoded yet.

    Args:
        name: see :func:`locate`.
        only_classes: leave out all other classes, see :func:`pipelines.classes.of_classes`; keep all by default.

    Raises:
        ValueError: there is no such dataset, nothing in it can be read, or it has no such classes.
    """
    import datasets

    source = locate(name)
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source)
    except Exception as error:  # the library raises many kinds, some its own, some the hub's
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"dataset {name!r} could not be loaded from {source}: {reason}") from error
    for split, table in list(loaded.items()):
        loaded[split] = in_words(table)
        if only_classes:
            loaded[split] = of_classes(loaded[split], only_classes)
            if not len(loaded[split]):  # a test split may keep its classes to itself
                del loaded[split]
    return loaded


def image_column(dataset: Dataset, name: str | None = None) -> str:
    """The column that holds images: ``name``, or the only one of that type."""
    import datasets

    columns = [key for key, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    if name in columns or (name is None and len(columns) == 1):
        return name or columns[0]
    asked = f"no image column {name!r}" if name else f"{len(columns)} image columns"
    raise ValueError(f"{asked} in this dataset: its image columns are {columns or 'none'}; choose one with --image-column")


def split_names(dataset: DatasetDict, config: DataConfig) -> tuple[str, str | None]:
    """The split to train on, and the one held out for measuring, if the dataset has one."""
    if config.train_split not in dataset:
        raise ValueError(f"no split {config.train_split!r} in {config.data}: choose one of {', '.join(dataset)}")
    held_out = next((name for name in HELD_OUT_SPLITS if name in dataset and name != config.train_split), None)
    return config.train_split, held_out


def to_8_bit(image: Image.Image, background: str = "white") -> Image.Image:
    """First frame, 8 bits a channel: grey ("L") if it has no colour, else "RGB"; transparency shows the background."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 257.0 if image.mode.startswith("I;16") or values.max() > 255 else 1.0
        if image.mode == "F" and values.max() <= 1:  # floating-point pictures usually lie in [0, 1]
            scale = 1 / 255
        return Image.fromarray((values / scale).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    if image.mode in ("1", "L"):
        return image.convert("L")
    rgb = image.convert("RGB")
    red, green, blue = rgb.split()
    return red if red == green == blue else rgb


def fit_image(image: Image.Image, size: int, fit: str) -> Image.Image:
    """A square of ``size`` pixels: the middle of the image ("crop"), or all of it inside a black frame ("pad")."""
    if fit == "pad":
        if max(image.size) > size:
            scale = size / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        square = Image.new(image.mode, (size, size))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def open_image(source: bytes | str | Path | io.BytesIO) -> Image.Image:
    """Decode an image file that may be anything, upright as its EXIF tag says.

    Raises:
        ValueError: it is not a readable image, or it is larger than is reasonable (an attack, or a mistake).
    """
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        image.load()
        try:
            return ImageOps.exif_transpose(image)
        except (struct.error, SyntaxError, ValueError, TypeError):  # damaged EXIF; the picture itself is whole
            return image
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image is too large: {error}".replace(", could be decompression bomb DOS attack.", "")) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"not a readable image: {error}") from error


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory.

    Attributes:
        images: (N, C, H, W) uint8, C = 1 if all are grey, else 3.
        rows: (N,) the row of its split that each image comes from.
        skipped: one sentence for each file that could not be used.
    """

    images: torch.Tensor
    rows: NDArray[np.int64]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def _decoded(rows: Iterable[Any], column: str) -> Iterator[tuple[str, bytes | str | None]]:
    for number, row in enumerate(rows):
        cell = row[column] or {}
        yield cell.get("path") or f"image {number}", cell.get("bytes") or cell.get("path")


def read_images(dataset: Dataset, config: DataConfig, chosen: NDArray[np.int64] | None = None) -> ImageSet:
    """Decode, fit and stack the images of one split.

    Args:
        config: a resolved one (see :func:`resolve`).
        chosen: their rows; all by default.

    Raises:
        ValueError: not one image can be used.
    """
    import datasets
    import torch

    column = image_column(dataset, config.image_column)
    numbers = np.arange(len(dataset)) if chosen is None else chosen
    rows = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False)).select(numbers)
    images, kept, skipped = [], [], []
    for row, (name, source) in zip(numbers, _decoded(rows, column), strict=True):
        try:
            if source is None:
                raise ValueError("no image in this row")
            images.append(fit_image(to_8_bit(open_image(source)), config.image_size or 64, config.fit or "crop"))
            kept.append(row)
        except ValueError as error:
            skipped.append(f"{name}: {error}")
    if not images:
        example = f" (the first: {skipped[0]})" if skipped else ""
        raise ValueError(f"no readable image in {config.data}{example}")
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    stacked = np.stack([np.asarray(image if image.mode == mode else image.convert(mode)) for image in images])
    tensor = torch.from_numpy(stacked)
    tensor = tensor[:, None] if mode == "L" else tensor.permute(0, 3, 1, 2).contiguous()
    return ImageSet(tensor, np.array(kept), tuple(skipped))


def spread(length: int, count: int) -> NDArray[np.int64]:
    """``count`` rows of ``length``, evenly spaced; all if there are no more."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(np.int64)


def preview_images(config: DataConfig, count: int = 16) -> Pixels:
    """A few training images as the network will see them, from all over the split: (N, H, W, C) uint8, N ≤ ``count``.

    Where training mirrors half of the images, every second one is mirrored here.

    Args:
        config: a resolved one (see :func:`resolve`).
    """
    splits = open_dataset(config.data, config.only_classes)
    split = splits[split_names(splits, config)[0]]
    images = read_images(split, config, spread(len(split), count)).images.permute(0, 2, 3, 1).numpy()
    if config.flip:
        images[1::2] = images[1::2, :, ::-1].copy()
    return images


def _held_out_rows(split: Dataset, count: int) -> NDArray[np.int64]:
    """The first ``count`` rows; of a split that goes class by class, as folders of classes do, evenly spaced ones, mixed.

    Whoever takes the first few of these gets a fair sample too.
    """
    labels = (labels_in(split, column) for column in label_columns(split))
    by_class = any(0 < np.count_nonzero(np.diff(own)) == len(np.unique(own)) - 1 for own in labels)
    rows = spread(len(split), count)
    return np.random.default_rng(0).permutation(rows) if by_class else np.arange(len(rows))


def load_images(config: DataConfig, seed: int = 0, measured: int | None = None) -> tuple[ImageSet, ImageSet]:
    """The training images and the held-out ones, which never overlap.

    Held out are ``held_out_images`` of the test or validation split; a dataset without one gives up a random tenth of its
    training images, at most that many.

    Args:
        config: a resolved one (see :func:`resolve`).
        seed: fixes which training images are held out, where that is needed.
        measured: give so many held-out images instead, but none that are there for training.
    """
    import torch

    splits = open_dataset(config.data, config.only_classes)
    train_name, held_out_name = split_names(splits, config)
    train = read_images(splits[train_name], config)
    if held_out_name is not None:
        split = splits[held_out_name]
        return _same_channels(train, read_images(split, config, _held_out_rows(split, measured or config.held_out_images)))
    if len(train) < 2:
        raise ValueError(f"{config.data} has 1 readable image: training needs at least 2, one of them held out")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(train)))
    count = max(1, min(config.held_out_images, len(train) // 10))
    kept, held_out = order[count:].sort().values, order[: min(count, measured or count)]
    others = ImageSet(train.images[held_out], train.rows[held_out.numpy()])
    return ImageSet(train.images[kept], train.rows[kept.numpy()], train.skipped), others


def refuse_other_images(config: RunConfig, train: ImageSet) -> None:
    """Fail where a run was trained on another number of images: others are held out then, and it may have seen them."""
    if config.training_images not in (None, len(train)):
        raise ValueError(
            f"{config.data.data} has {len(train)} readable training images, and had {config.training_images} when this run "
            "began: put them back as they were, or begin a new run with --init-from"
        )


def _same_channels(train: ImageSet, held_out: ImageSet) -> tuple[ImageSet, ImageSet]:
    if train.images.shape[1] == held_out.images.shape[1]:
        return train, held_out
    widened = (replace(part, images=part.images.expand(-1, 3, -1, -1).contiguous()) for part in (train, held_out))
    first, second = widened
    return first, second
