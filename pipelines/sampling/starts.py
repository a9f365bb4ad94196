"""The state from which sampling starts, and the part of an image that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from diffusion_core.noise import InterpolatedNoise, SeededNoise


@dataclass(frozen=True, eq=False)
class Known:
    """The known part of an image, which inpainting keeps.

    Attributes:
        image: (1, C, H, W), pixels in [−1, 1] or latents, as the model takes them.
        mask: (1, 1, H, W), 1 where the image is kept and 0 elsewhere.
        resamplings: how often each step is repeated to harmonise both parts (RePaint); with 1 the request's sampler is used.
        guided: whether the rest is guided by the error in the known part (reconstruction guidance).
    """

    image: Tensor
    mask: Tensor
    resamplings: int = 1
    guided: bool = False


@dataclass(frozen=True, eq=False)
class Start:
    """The state from which sampling starts, and the timesteps and noise that it uses.

    Attributes:
        x: (B, C, H, W) float32, the state at the first timestep.
        timesteps: descending.
        noise: fresh noise of stochastic samplers, for B images.
        known: the part of the image to keep; None by default.
    """

    x: Tensor
    timesteps: Tensor
    noise: SeededNoise | InterpolatedNoise
    known: Known | None = None
