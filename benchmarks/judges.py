"""What judges see: ``python -m benchmarks.judges oxford_flowers --image-size 64``.

Held-out photographs are disturbed, and their Fréchet distance from the training photographs is measured in the features of
every shipped classifier of the dataset: as they are (the floor), made smaller and enlarged again, blurred, and with noise. A
judge of smaller images makes them smaller first, and cannot see what is lost in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import tyro
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tyro.conf import Positional

from pipelines.common.images import as_input
from pipelines.common.indices import evenly_spaced
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.sources import resolve
from pipelines.evaluation.distances import Reference
from pipelines.evaluation.judges import shipped_classifiers
from pipelines.storage.config import DataConfig

from .timing import table


@dataclass(frozen=True)
class Arguments:
    """Measure what the judges of a dataset see of disturbed photographs."""

    data: Positional[str]
    """A dataset that shipped classifiers know."""
    image_size: int = 64
    images: int = 400
    """Largest number of held-out photographs."""
    reference_images: int = 5_000
    """Largest number of training photographs."""


def resized_twice(x: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, W) made smaller, ``side`` pixels high and wide, and enlarged again."""
    smaller = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return F.interpolate(smaller, x.shape[2:], mode="bicubic").clamp(-1, 1)


def without_details(x: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, H) without what is lost when they are made smaller, ``side`` pixels high and wide.

    Made smaller, as by a judge, they are the same as before.
    """
    size = x.shape[-1]
    columns = torch.eye(size, dtype=torch.float64)[None, None]
    smaller = F.interpolate(columns, (side, size), mode="bilinear", antialias=True)[0, 0]
    kept = (torch.linalg.pinv(smaller) @ smaller).to(x.dtype)
    return kept @ x @ kept.T


def chequered(x: Tensor, strength: float) -> Tensor:
    """Return images (N, C, H, W) with pixels brighter and darker in turn, as networks of patches may leave them."""
    rows, columns = (torch.arange(side) for side in x.shape[2:])
    return x + strength * (1 - 2 * ((rows[:, None] + columns) % 2))


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Return images (N, C, H, W) blurred with a Gaussian kernel."""
    return torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest"))


def noisy(x: Tensor, sigma: float) -> Tensor:
    """Return images in [−1, 1] with Gaussian noise of that standard deviation."""
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def disturbances(size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what is done to images of ``size`` pixels, by what it is called."""
    half = size // 2
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "as they are": lambda x: x,
        f"without what is lost at {half}×{half}": partial(without_details, side=half),
        "chequered, ±0.1": partial(chequered, strength=0.1),
        f"made {half}×{half} and enlarged again": partial(resized_twice, side=half),
    }
    for sigma in (0.5, 1.0):
        found[f"blurred, σ = {sigma:g} pixels"] = partial(blurred, sigma=sigma)
    for sigma in (0.05, 0.1):
        found[f"with noise, σ = {sigma:g}"] = partial(noisy, sigma=sigma)
    return found


def main(arguments: Arguments) -> None:
    """Print Markdown: a table."""
    train, held_out = load_images(resolve(DataConfig(data=arguments.data, image_size=arguments.image_size)))
    known = as_input(train.images[evenly_spaced(len(train), arguments.reference_images)])
    x = as_input(held_out.images[evenly_spaced(len(held_out), arguments.images)])
    judges = list(shipped_classifiers(arguments.data, tuple(x.shape[1:])))
    references = {path.stem: Reference(judge.features(known).double().numpy()) for path, judge in judges}
    rows = []
    for name, disturb in disturbances(arguments.image_size).items():
        changed = disturb(x)
        seen = [judge.features(changed).double().numpy() for _, judge in judges]
        pairs = zip(references.values(), seen, strict=True)
        rows.append((name, *(f"{reference.frechet_distance(features):.2f}" for reference, features in pairs)))
    told = f"{len(x)} held-out photographs of {arguments.data} at {arguments.image_size}×{arguments.image_size}"
    print(f"{told}, {len(known)} training photographs\n\n{table(('photographs', *references), rows)}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
