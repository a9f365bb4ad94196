"""The steps that suit a model, and those that a student has learnt. Importing this module does not load torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..common.text import counted
from ..storage.config import RunConfig
from ..storage.distillation_config import SAMPLER
from .request import SamplingRequest

SMALL = 32  # side of images or latents, up to which trailing timesteps suit them (benchmarks/README.md, "The default sampler")


def usual_spacing(config: RunConfig) -> str:
    """Return the spacing that suits the size of a model's images or latents.

    The same noise hides less of a larger image, so that more of what it shows is decided where there is more noise (Hoogeboom
    et al. 2023, section 2; Esser et al. 2024, section 5.3.2).
    """
    large = max((config.state_shape or (0, 0, 0))[1:]) > SMALL
    return "shifted" if large else SamplingRequest.spacing


def default_request(config: RunConfig) -> SamplingRequest:
    """Return the request of a model of which nothing else was asked, as commands and pages begin with."""
    return as_learnt(SamplingRequest(spacing=usual_spacing(config)), config)


def as_learnt(request: SamplingRequest, config: RunConfig) -> SamplingRequest:
    """Return a request as a student can take it: in its own steps, with its own guidance; of other models, as it is."""
    own = config.distillation
    if own is None:
        return request
    fixed: dict[str, Any] = {
        "guidance": own.scale,
        "guidance_interval": (0.0, 1.0),
        "guidance_rescale": 0.0,
        "negative_prompt": None,
    }
    return replace(request, **own_steps(config, request.steps), **fixed)


def own_steps(config: RunConfig, steps: int = SamplingRequest.steps) -> dict[str, Any]:
    """Return the fields of a request that a student determines; none for other models.

    Args:
        steps: the number of steps asked for, of which the student takes the nearest that it has learnt.
    """
    own = config.distillation
    if own is None:
        return {}
    return {"sampler": SAMPLER, "steps": own.nearest(steps), "spacing": own.spacing, "eta": own.eta}


def refuse_student(config: RunConfig, name: str, why: str) -> None:
    """Raise ValueError if a model is a student, which cannot do what is asked for the reason ``why``."""
    if config.distillation is not None:
        raise ValueError(f"{name} is a student, {why}: take its teacher, {config.distillation.teacher}")


def refuse_unlearnt(config: RunConfig, request: SamplingRequest, name: str) -> None:
    """Raise ValueError if a student is asked for other steps or guidance than it has learnt.

    Its network no longer estimates the mean of the clean images: it says where a straight step from one of its timesteps to
    the next should lead, or where a whole path ends. No other sampler, timestep or guidance can be made of that.
    """
    own = config.distillation
    if own is None:
        return
    if any(getattr(request, field) != value for field, value in own_steps(config, request.steps).items()):
        asked, learnt = (
            f"{steps} of {sampler} at {spacing} spacing" + (f" with eta={eta:g}" if eta else "")
            for steps, sampler, spacing, eta in (
                (counted(request.steps, "step"), request.sampler, request.spacing, request.eta),
                (own.in_words, SAMPLER, own.spacing, own.eta),
            )
        )
        raise ValueError(
            f"{asked}: {name} is a student, which has learnt {learnt} and nothing else: ask for that, or sample its teacher, "
            f"{own.teacher}"
        )
    changed = request.guidance_interval != (0.0, 1.0) or request.guidance_rescale or request.negative_prompt is not None
    if changed or request.guidance not in (1.0, own.scale):
        asked = "a guidance interval, rescaling or negative prompt" if changed else f"guidance={request.guidance:g}"
        raise ValueError(
            f"{asked}: {name} is a student with guidance {own.scale:g} distilled in, which cannot be changed: leave it at "
            f"{own.scale:g}, or sample its teacher, {own.teacher}"
        )
