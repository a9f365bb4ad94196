"""How much a request asks of the network, before it is computed. Importing this module does not load torch."""

from __future__ import annotations

import math

from diffusion_core.choices import SAMPLERS

from ..storage.config import RunConfig
from .origins import FROM_NOISE, Origin
from .request import SamplingRequest

UNIT = 32 * 32  # values in a channel of the image or latents for which a call counts once


def guided_calls(config: RunConfig, request: SamplingRequest) -> int:
    """Return how many calls guidance makes of one; a student needs no second one."""
    return 2 if request.guidance != 1 and not config.is_student else 1


def calls_of(config: RunConfig, request: SamplingRequest, origin: Origin = FROM_NOISE) -> float:
    """Return about how many network calls a request takes, each counted for every image."""
    calls = request.num_images * request.steps * SAMPLERS[request.sampler].calls * guided_calls(config, request)
    return calls * origin.effort(request.num_images)


def size_of(config: RunConfig) -> float:
    """Return how many images of 32×32 pixels one of a run counts as: by what its network denoises, image or latents.

    Decoding the latents is not counted.
    """
    return math.prod((config.state_shape or (1, 0, 0))[1:]) / UNIT
