"""DDIM inversions of pictures: the noise from which DDIM generates them; cached, since the rows of a table share a few."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .fitting import fit_to_model
from .own_steps import refuse_student

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.loading import LoadedModel
    from .request import SamplingRequest

INVERSIONS_KEPT = 16  # per model
_kept: WeakKeyDictionary[LoadedModel, dict[tuple[Any, ...], tuple[Tensor, int]]] = WeakKeyDictionary()


def inverted(model: LoadedModel, request: SamplingRequest, picture: bytes, timesteps: Tensor) -> tuple[Tensor, int]:
    """Return a picture's state at the first of the timesteps, (1, C, H, W), and the number of network evaluations it took.

    It is cached for as long as the model is loaded. Only the request's class or prompt is used, without guidance.
    """
    kept = _kept.setdefault(model, {})
    asked = (request.label, request.prompt, picture, tuple(timesteps.tolist()))
    if asked not in kept:
        kept[asked] = _invert(model, request, picture, timesteps)
    kept[asked] = kept.pop(asked)  # now the most recently used
    if len(kept) > INVERSIONS_KEPT:
        del kept[next(iter(kept))]  # the least recently used
    return kept[asked]


def _invert(model: LoadedModel, request: SamplingRequest, picture: bytes, timesteps: Tensor) -> tuple[Tensor, int]:
    from diffusion_core.inversion import invert

    from .prompts import guided_denoiser

    refuse_student(model.config, model.name, "whose few steps cannot be taken backwards")
    denoise, condition = guided_denoiser(model, replace(request, num_images=1, guidance=1.0, negative_prompt=None), [0])
    x0 = model.encode(fit_to_model(model, picture))
    *_, step = invert(denoise, x0, timesteps, model.schedule, condition)
    return step.x, step.nfe
