"""Reproducible noise: one random stream per image, others for images that exist already, and interpolation between two."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 8  # images drawn by one thread at a time, beside an accelerator
MOST_THREADS = 8


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="noise")


@dataclass(frozen=True)
class SeededNoise:
    """Standard normal noise from which images are sampled; it depends only on the seed, the image number and the draw.

    Image i of seed s gets the same noise whatever the batch, the order, the chunking or the device: it is drawn on the CPU
    from its own stream, keyed by (seed, image, draw).

    Attributes:
        seed: from 0 to 2³² − 1.
        image_shape: (C, H, W).
        images: image numbers, from 0 to 2³² − 1, one per row of the batch.

    Example:
        >>> alone = SeededNoise(seed=0, image_shape=(1, 2, 2), images=[5]).initial()
        >>> among_others = SeededNoise(seed=0, image_shape=(1, 2, 2), images=[8, 5, 2]).initial()
        >>> torch.equal(alone[0], among_others[1])
        True
    """

    seed: int
    image_shape: tuple[int, ...]
    images: Sequence[int]
    _purpose: ClassVar[int] = 0

    def __post_init__(self) -> None:
        # Larger numbers would take two words of the stream's key, which could then equal another image's key.
        for name, number in [("seed", self.seed), *(("image number", image) for image in self.images)]:
            if not 0 <= number < 2**32:
                raise ValueError(f"{name} {number}: choose a whole number from 0 to {2**32 - 1}")

    def _draw(self, draw: int, device: torch.device | str) -> Tensor:
        return self.begin(draw, device)()

    def begin(self, draw: int, device: torch.device | str) -> Callable[[], Tensor]:
        """Begin to draw for ``device`` and return a function that returns the noise there.

        Beside an accelerator threads draw, each some images, while it computes; the CPU, which computes itself, draws at once.
        """
        device = torch.device(device)
        pinned = device.type == "cuda"  # so that copying does not wait for the device
        drawn = torch.empty(len(self.images), *self.image_shape, pin_memory=pinned)
        if device.type == "cpu":
            self._fill(drawn, draw, 0)
            return lambda: drawn
        parts = [_threads().submit(self._fill, part, draw, AT_ONCE * i) for i, part in enumerate(torch.split(drawn, AT_ONCE))]

        def finish() -> Tensor:
            for part in parts:
                part.result()
            return drawn.to(device, non_blocking=pinned)

        return finish

    def _fill(self, rows: Tensor, draw: int, first: int) -> None:
        """Draw the noise of the images from position ``first`` on into ``rows``."""
        for row, image in zip(rows.numpy(), self.images[first:], strict=False):
            # One generator per image: NumPy's seed sequence hashes the numbers into independent streams.
            stream = np.random.default_rng((self.seed, image, draw, self._purpose))
            stream.standard_normal(dtype=np.float32, out=row)

    def initial(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise from which sampling starts, (B, C, H, W) float32."""
        return self._draw(0, device)

    def at_step(self, index: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the fresh noise of a stochastic sampler's step ``index`` (from 0), (B, C, H, W) float32."""
        return self._draw(index + 1, device)


@dataclass(frozen=True)
class ForwardNoise(SeededNoise):
    """Noise to add to images that exist already, drawn from streams of its own.

    An image that was sampled from a seed depends on that seed's :class:`SeededNoise`. Noised with the same numbers, its noisy
    states would have another distribution than the forward process: with x0 correlated with ε, the variance of
    alpha·x0 + sigma·ε is more than alpha²·Var(x0) + sigma².
    """

    _purpose: ClassVar[int] = 1


class DrawnAhead:
    """Noise of which the draw for the next step is made while a device computes this one; the numbers are the same.

    Args:
        noise: the noise to draw, for steps in ascending order.
    """

    def __init__(self, noise: SeededNoise) -> None:
        self.noise = noise
        self._next: tuple[int, Callable[[], Tensor]] | None = None

    def initial(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise from which sampling starts, (B, C, H, W) float32."""
        return self.noise.initial(device)

    def at_step(self, index: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the fresh noise of a stochastic sampler's step ``index`` (from 0), (B, C, H, W) float32."""
        begun, finish = self._next or (None, None)
        if finish is None or begun != index:
            finish = self.noise.begin(index + 1, device)
        self._next = index + 1, self.noise.begin(index + 2, device)
        return finish()


def slerp(first: Tensor, second: Tensor, weights: Sequence[float]) -> Tensor:
    """Interpolate image by image along the arc from ``first`` to ``second`` (Shoemake 1985, section 3.3).

    With Ω the angle between the two images as vectors: (sin((1 − w)·Ω)·first + sin(w·Ω)·second) / sin Ω.

    High-dimensional noise lies close to a sphere of radius sqrt(C·H·W), and two draws are nearly orthogonal. The midpoint of
    the straight line between them is shorter by a factor of sqrt(2), a state that no network was trained on; the arc stays on
    the sphere (as in Song et al. 2021, appendix D.5).

    Args:
        first, second: (B, C, H, W).
        weights: B numbers from 0, exactly ``first``, to 1, exactly ``second``.

    Returns:
        (B, C, H, W) of the inputs' dtype. Images in the same or opposite directions have no unique arc between them and are
        interpolated linearly.

    Example:
        >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), [0.5])
        tensor([[0.7071, 0.7071]])
    """
    # In float64, so that both ends are exact; on the CPU, because MPS has no float64.
    a, b = first.cpu().double().flatten(1), second.cpu().double().flatten(1)
    w = torch.as_tensor(weights, dtype=torch.float64)[:, None]
    angle = torch.nn.functional.cosine_similarity(a, b)[:, None].clamp(-1, 1).acos()
    sine = angle.sin()
    parallel = sine < 1e-6
    share_a = torch.where(parallel, 1 - w, ((1 - w) * angle).sin() / sine)
    share_b = torch.where(parallel, w, (w * angle).sin() / sine)
    return (share_a * a + share_b * b).view_as(first).to(first)


@dataclass(frozen=True)
class InterpolatedNoise:
    """Noise interpolated between two seeds: every draw is the :func:`slerp` of the two seeds' draws.

    Attributes:
        first, second: noise of the same image shape and number of images.
        weights: one per image, from 0 (the first seed's noise) to 1 (the second's).
    """

    first: SeededNoise
    second: SeededNoise
    weights: Sequence[float]

    def initial(self, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise from which sampling starts, (B, C, H, W) float32."""
        return slerp(self.first.initial(), self.second.initial(), self.weights).to(device)

    def at_step(self, index: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the fresh noise of a stochastic sampler's step ``index`` (from 0), (B, C, H, W) float32."""
        return slerp(self.first.at_step(index), self.second.at_step(index), self.weights).to(device)
