"""Settings of a run's data: its images and their conditions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import StringConstraints

from ..common.settings import MAY_BE_PATH, RECORDED, Between, Settings, SomeOf
from .presets import PRESETS

HEX = StringConstraints(pattern="^([0-9a-f]{16})?$")


@dataclass(frozen=True)
class HeldOutConfig(Settings):
    """The images that a run has held out, recorded when training starts; empty for runs of versions before 0.2."""

    digest: str = ""
    """Digest of their contents, in order."""
    below: Annotated[str, HEX] = ""
    """Key below which images are held out, where the data have no test or validation split (see datasets/splits.py)."""
    seed: Annotated[int | None, Between(0, 2**63 - 1)] = None
    """Seed that chose them instead, in older versions."""
    copies: Annotated[int | None, Between(0, 10**12)] = None
    """Number of them that are also training images."""
    near_copies: Annotated[int | None, Between(0, 10**12)] = None
    """Number of others that are nearly the same as a training image (see datasets/copies.py)."""

    @property
    def about_copies(self) -> str:
        """One sentence on held-out images that are copies of training images; empty if none are known."""
        exact, near = self.copies or 0, self.near_copies or 0
        if not exact + near:
            return ""
        parts = []
        if exact:
            parts.append(f"{exact:,} {'is' if exact == 1 else 'are'} also among the training images")
        if near:
            parts.append(f"{near:,} {'is' if near == 1 else 'are'} nearly the same as a training image")
        return f"of the held-out images, {' and '.join(parts)}: on these the model may look better than on new images"


@dataclass(frozen=True)
class DataConfig(Settings):
    """The images."""

    data: Annotated[str, MAY_BE_PATH, SomeOf(PRESETS)] = "fashion_mnist"
    """A short name, a hub id, or a local folder, archive or table."""
    image_size: Annotated[int | None, Between(4, 1024)] = None
    """Side in pixels. By default that of the run to start from or of the latents to diffuse, else the dataset's own default,
    else 64."""
    fit: Literal["crop", "pad"] | None = None
    """crop: resize the shorter side and cut out the middle; pad: surround smaller images with black. Crop by default."""
    flip: bool | None = None
    """Mirror half of the training images left-right. On by default, except for datasets that it would change."""
    image_column: str | None = None
    """Name of the image column; detected by its type by default."""
    train_split: str = "train"
    """Split to train on."""
    train_images: Annotated[int | None, Between(1, 10**9)] = None
    """Images of it to train on, evenly spaced; all by default. Of a few dozen, a network makes copies instead of new images."""
    held_out_images: Annotated[int, Between(1, 1_000_000)] = 1024
    """Images of the test or validation split (or, without one, of the training split) for the validation loss."""
    augment: Annotated[float, Between(0.0, 1.0)] = 0.0
    """Probability of each flip, scaling, rotation, stretch and shift of a training image. The network is conditioned on them,
    so that samples show none. Helps with few images (0.12 in Karras et al. 2022)."""
    only_classes: tuple[str, ...] = ()
    """Names of the classes to use; all by default."""
    held_out: Annotated[HeldOutConfig, RECORDED] = field(default_factory=HeldOutConfig)
    """The held-out images, recorded when training starts."""


@dataclass(frozen=True)
class ConditionConfig(Settings):
    """Conditions of the images, for class- and text-conditional networks."""

    condition_dropout: Annotated[float, Between(0.0, 1.0, below=True)] = 0.1
    """Fraction of training images whose condition is dropped, so that the network learns unconditional denoising too."""
    label_column: str | None = None
    """Name of the column of classes, any of words or numbers; detected by its type, its name and its values by default."""
    text_column: str | None = None
    """Name of the column of captions, any of words, numbers or classes. By default it is one of a usual name (text, caption,
    …); without such a column captions are made from the classes, and without classes the only column of words is taken."""
    templates: tuple[str, ...] = ()
    """Caption templates in which {} stands for the class name; chosen to suit the dataset by default."""
    synonyms: bool = False
    """Make captions also from synonyms and plurals of the class names, as far as pipelines/datasets/synonyms.json lists them,
    so that prompts in other words than the class's name are understood."""
    encoder: Annotated[str, MAY_BE_PATH] = "minilm"
    """Text encoder: minilm, or the hub id or folder of a CLIP or sentence-transformers model."""
    classes: Annotated[tuple[str, ...], RECORDED] = ()
    """Names of the classes, read from the data when training starts."""
    text_dim: Annotated[int, Between(0, 65_536), RECORDED] = 0
    """Width of the encoder's word embeddings, recorded when training starts."""
    encoder_digest: Annotated[str, RECORDED] = ""
    """SHA-256 of the encoder's weights, recorded when training starts."""
    examples: Annotated[tuple[str, ...], RECORDED] = ()
    """Captions for sample grids, chosen from the data when training starts."""

    digest: Annotated[str, HEX, RECORDED] = ""
    """Digest of the training images' classes or captions, in order, recorded when training starts; empty for older runs."""

    def cycles(self, label: str | None) -> bool:
        """Return whether a label stands for every class in turn: "all" does, unless it is the name of a class."""
        return label == "all" and label not in self.classes

    def class_number(self, label: str) -> int:
        """Return the number of a class, given its name (see :func:`find_class`) or its number.

        Raises:
            ValueError: there is no such class; the message lists those there are.
        """
        named = find_class(self.classes, label)
        if named is not None:
            return named
        if label.isdecimal() and len(label) < 10 and int(label) < len(self.classes):
            return int(label)
        known = ", ".join(self.classes)
        raise ValueError(f"unknown class {label!r}: choose a number from 0 to {len(self.classes) - 1}, or one of {known}")


def find_class(names: Sequence[str], wanted: str) -> int | None:
    """Return the number of a class, given its name or one of its synonyms separated by commas; None if there is none.

    The name as it is written comes first, then the same letters however they are encoded and spaced, then any case; and
    names come before synonyms.

    Raises:
        ValueError: in any case, and not otherwise, it is the name of several classes.
    """
    synonyms = [(number, part) for number, name in enumerate(names) for part in re.split(r"\s*,\s*", name)]
    for named in (list(enumerate(names)), synonyms):
        for alike in (str, _in_one_form, lambda name: _in_one_form(_in_one_form(name).casefold())):
            found = list(dict.fromkeys(number for number, name in named if alike(name) == alike(wanted)))
            if len(found) > 1:
                several = " and ".join(repr(names[number]) for number in found)
                raise ValueError(
                    f"{wanted!r} fits {len(found)} classes, {several}: write the name of one exactly as it is here"
                )
            if found:
                return found[0]
    return None


def _in_one_form(name: str) -> str:
    """Return a name with composed letters, as é is on most keyboards, and single spaces, none of them around it."""
    return " ".join(unicodedata.normalize("NFC", name).split())
