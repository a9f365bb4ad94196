"""What a request tells the network about each image it is to make: from a class or prompts to conditions and guidance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from diffusion_core.condition import Condition
from diffusion_core.guidance import ClassifierFreeGuidance

from ..datasets.conditions import encoder_called, trained_encoder
from ..datasets.text_encoders import EncodedText, encode_cached

if TYPE_CHECKING:
    from diffusion_core.denoiser import Denoiser

    from ..models.loading import LoadedModel
    from ..storage.config import ConditionConfig
    from .request import SamplingRequest


def guided_denoiser(
    model: LoadedModel, request: SamplingRequest, images: Sequence[int], condition: Condition | None = None
) -> tuple[Denoiser | ClassifierFreeGuidance, Condition | None]:
    """What estimates x0 for a request, and what the images with these numbers are to show: ``condition``, if it is given.

    Raises:
        ValueError: a class or a prompt that the model does not take, or guidance without either.
    """
    network = model.config.network
    asked = {"label": request.label is not None, "prompt": bool(request.prompt)}
    takes = {"class": "label", "text": "prompt", None: None}[network.takes]
    for name, given in (asked | {"negative prompt": request.negative_prompt is not None}).items():
        if given and takes != name.removeprefix("negative "):
            instead = f"it takes a {takes}" if takes else "it takes neither labels nor prompts"
            raise ValueError(f"a {name} was given, and {model.name} is a network of kind {network.unet!r}: {instead}")
    if condition is None and not any(asked.values()):
        if request.guidance != 1 or request.negative_prompt is not None:
            needed = f"give a {takes}" if takes else "choose a conditional model"
            raise ValueError(f"guidance={request.guidance:g} needs something to guide by: {needed}, or leave it at 1")
        return model.denoiser, None
    negative = None
    if condition is None:
        condition, negative = condition_of(model.config.condition, request, images)
    guided = ClassifierFreeGuidance(
        model.denoiser,
        request.guidance,
        None if negative is None else negative.to(model.device),
        request.guidance_interval,
        request.guidance_rescale,
    )
    return guided, condition.to(model.device)


def condition_of(
    config: ConditionConfig, request: SamplingRequest, images: Sequence[int]
) -> tuple[Condition, Condition | None]:
    """What a request asks for: the condition of the images with these numbers, and the one to lead away from, if any.

    Raises:
        ValueError: a class that there is none of, or prompts that the encoder cannot have been trained with.
    """
    if request.label == "all":
        return conditions_in_turn(config, images), None
    if request.label is not None:
        number = config.class_number(request.label)
        return Condition(labels=torch.full((len(images),), number)), None
    trained_encoder(config)  # refuses another one
    prompts = [request.prompt[image % len(request.prompt)] for image in images]
    negative = None if request.negative_prompt is None else _of_prompts(config, [request.negative_prompt])
    return _of_prompts(config, prompts), negative


@lru_cache(maxsize=256)
def _encoded(encoder: str, prompt: str) -> EncodedText:
    """One prompt, (1, L, D): read by itself, so that no other prompt changes a bit of it, and only once."""
    return encoder_called(encoder).encode([prompt])


def _of_prompts(config: ConditionConfig, prompts: Sequence[str]) -> Condition:
    """One prompt an image; one without words is none, as in training."""
    texts = [_encoded(config.encoder, prompt) for prompt in prompts]
    tokens, mask = (torch.cat([getattr(text, part) for text in texts]) for part in ("tokens", "mask"))
    return Condition(tokens=tokens, mask=mask, dropped=torch.tensor([not prompt.strip() for prompt in prompts]))


def cut_notes(config: ConditionConfig, request: SamplingRequest) -> list[str]:
    """A sentence for each prompt of a request that is too long for the encoder, naming the lost words."""
    if not request.prompt:
        return []
    encoder = trained_encoder(config)
    texts = dict.fromkeys([*request.prompt, request.negative_prompt or ""])
    return [note for text in texts if (note := encoder.cut_note(text))]


def conditions_in_turn(config: ConditionConfig, images: Sequence[int]) -> Condition:
    """One condition after another, starting over after the last: every class, or every example caption."""
    if config.classes:
        return Condition(labels=torch.tensor(images) % len(config.classes))
    text = encode_cached(trained_encoder(config), list(config.examples))
    rows = torch.tensor(images) % len(config.examples)
    return Condition(tokens=text.tokens[rows], mask=text.mask[rows])
