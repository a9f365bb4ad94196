"""The overview of a generation: grid.png and denoising.gif, whose size does not grow with the images and steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..common.images import Pixels, enlarge, film_strip, gif_bytes, montage, to_uint8
from ..common.indices import evenly_spaced
from .origins import FROM_NOISE
from .request import SamplingRequest
from .sample import sample

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

GRID_IMAGES, GRID_PIXELS = 64, 2**22  # at most: columns of the grid, and pixels of all images in a row
GRID_ROWS = 21  # at most
GIF_IMAGES, GIF_PIXELS = 64, 2**18  # at most: images in a frame, and their pixels
GIF_FRAMES = 51  # at most
Frames = Mapping[int, tuple[float, Pixels]]  # timestep and images of a batch, by step


@dataclass(frozen=True)
class Overview:
    """What is kept of a generation while it runs: some steps, evenly spaced, and of them the first images.

    Attributes:
        steps: number of steps; the sample is the last of ``steps + 1`` states.
        side: height and width of an image.
    """

    steps: int
    side: tuple[int, int]

    @property
    def rows(self) -> list[int]:
        """Steps shown in the grid, the first and the last among them."""
        return evenly_spaced(self.steps + 1, GRID_ROWS).tolist()

    @property
    def frames(self) -> list[int]:
        """Steps shown in the GIF, the first and the last among them."""
        return evenly_spaced(self.steps + 1, GIF_FRAMES).tolist()

    @property
    def moving(self) -> int:
        """Number of images in the GIF."""
        return max(1, min(GIF_IMAGES, GIF_PIXELS // math.prod(self.side)))

    def kept(self) -> dict[int, int]:
        """Return how many images to keep of each step that is kept."""
        shown = max(1, min(GRID_IMAGES, GRID_PIXELS // math.prod(self.side)))
        return dict.fromkeys(self.frames, self.moving) | dict.fromkeys(self.rows, shown)

    def grid(self, batches: Sequence[Frames]) -> Pixels:
        """Return the grid of what was kept of each batch: rows = timesteps, columns = images."""
        labels = [f"t = {batches[0][index][0]:.0f}" for index in self.rows[:-1]]
        return film_strip([_images(batches, index) for index in self.rows], [*labels, "sample"])

    def gif(self, batches: Sequence[Frames]) -> bytes:
        """Return the GIF of what was kept of each batch."""
        return denoising_gif([_images(batches, index)[: self.moving] for index in self.frames])


def _images(batches: Sequence[Frames], index: int) -> Pixels:
    return np.concatenate([frames[index][1] for frames in batches if index in frames])


def denoising_gif(frames: Sequence[Pixels]) -> bytes:
    """Return a GIF of montages of (N, H, W, C) frames, the last of which is shown longer."""
    factor = max(1, 64 // frames[0].shape[1])
    pictures = (enlarge(montage(frame), factor) for frame in frames)
    return gif_bytes(pictures, [120] * (len(frames) - 1) + [1500])


def frames_of(model: LoadedModel, request: SamplingRequest, count: int) -> Iterator[tuple[str, Pixels]]:
    """Generate the samples of a request and yield ``count`` states, evenly spaced in the sampler's steps: label and pictures.

    Fewer if there are not as many steps. The first is the noise, the last is the sample.
    """
    last = len(FROM_NOISE.timesteps(model, request))
    shown = set(evenly_spaced(last + 1, count).tolist())
    for step in sample(model, request):
        if step.index == last:
            yield "sample", to_uint8(FROM_NOISE.images(model, step.x))
        elif step.index in shown:
            yield f"t = {step.timestep:.0f}", model.pictures(step.x)
