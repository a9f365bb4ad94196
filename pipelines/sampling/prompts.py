"""Conditions and guidance of a sampling request, from its class or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from diffusion_core.condition import Condition
from diffusion_core.guidance import ClassifierFreeGuidance

from ..datasets.conditions import encoder_called, trained_encoder
from ..datasets.encoded_text import EncodedText
from ..datasets.text_encoders import encode_cached
from ..models.networks import told_calls
from .own_steps import refuse_unlearnt

if TYPE_CHECKING:
    from diffusion_core.denoiser import Denoiser

    from ..models.loading import LoadedModel
    from ..storage.config import ConditionConfig
    from .request import SamplingRequest


def guided_denoiser(
    model: LoadedModel, request: SamplingRequest, images: Sequence[int], condition: Condition | None = None
) -> tuple[Denoiser | ClassifierFreeGuidance, Condition | None]:
    """Return the x0 estimator of a request, with guidance, and the condition of the images with these numbers.

    A network that serves several numbers of calls is told that of the request.

    Args:
        condition: used instead of the request's class or prompts.

    Raises:
        ValueError: the model does not take the request's class or prompt, or guidance is used without either.
    """
    network = model.config.network
    asked = {"label": request.label is not None, "prompt": bool(request.prompt)}
    takes = {"class": "label", "text": "prompt", None: None}[network.takes]
    for name, given in (asked | {"negative prompt": request.negative_prompt is not None}).items():
        if given and takes != name.removeprefix("negative "):
            instead = f"it takes a {takes}" if takes else "it takes neither labels nor prompts"
            raise ValueError(f"a {name} was given, and {model.name} has a network of kind {network.unet!r}: {instead}")
    if network.always_conditional and (request.guidance != 1 or (condition is None and not asked["label"])):
        raise ValueError(
            f"guidance={request.guidance:g} and label={request.label}: {model.name} has no class that stands for none, so it "
            "always needs a label and cannot be guided; give a label, such as 0 or all, and guidance 1"
        )
    refuse_unlearnt(model.config, request, model.name)
    scale = 1.0 if model.config.is_student else request.guidance  # a student's guidance takes no calls
    if condition is None and not any(asked.values()):
        if scale != 1 or request.negative_prompt is not None:
            needed = f"give a {takes}" if takes else "choose a conditional model"
            raise ValueError(f"guidance={request.guidance:g} needs a condition: {needed}, or leave it at 1")
        return model.denoiser, told_calls(model.config, request.steps, None, len(images), model.device)
    negative = None
    if condition is None:
        condition, negative = condition_of(model.config.condition, request, images)
    guided = ClassifierFreeGuidance(
        model.denoiser,
        scale,
        None if negative is None else negative.to(model.device),
        request.guidance_interval,
        request.guidance_rescale,
    )
    condition = condition.to(model.device)
    return guided, told_calls(model.config, request.steps, condition, len(images), model.device)


def condition_of(
    config: ConditionConfig, request: SamplingRequest, images: Sequence[int]
) -> tuple[Condition, Condition | None]:
    """Return the condition of the images with these numbers and that of the negative prompt, if there is one.

    Raises:
        ValueError: there is no such class, or the text encoder is not the one the model was trained with.
    """
    if config.cycles(request.label):
        return conditions_in_turn(config, images), None
    if request.label is not None:
        number = config.class_number(request.label)
        return Condition(labels=torch.full((len(images),), number)), None
    trained_encoder(config)  # raises an error if the installed encoder is another one
    prompts = [request.prompt[image % len(request.prompt)] for image in images]
    negative = None if request.negative_prompt is None else _of_prompts(config, [request.negative_prompt])
    return _of_prompts(config, prompts), negative


@lru_cache(maxsize=256)
def _encoded(encoder: str, prompt: str) -> EncodedText:
    """Encode one prompt, (1, L, D); by itself, so that the result does not depend on other prompts, and only once."""
    return encoder_called(encoder).encode([prompt])


def _of_prompts(config: ConditionConfig, prompts: Sequence[str]) -> Condition:
    """Return the condition of one prompt per image; a blank prompt counts as none, as in training."""
    texts = [_encoded(config.encoder, prompt) for prompt in prompts]
    tokens, mask = (torch.cat([getattr(text, part) for text in texts]) for part in ("tokens", "mask"))
    return Condition(tokens=tokens, mask=mask, dropped=torch.tensor([not prompt.strip() for prompt in prompts]))


def condition_notes(config: ConditionConfig, request: SamplingRequest) -> list[str]:
    """Return a sentence for each prompt that is too long for the encoder, and for a negative prompt that has no effect."""
    if not request.prompt:
        return []
    encoder = trained_encoder(config)
    texts = dict.fromkeys([*request.prompt, request.negative_prompt or ""])
    notes = [note for text in texts if (note := encoder.cut_note(text))]
    if request.negative_prompt is not None and request.guidance == 1:
        notes.append("The negative prompt has no effect at guidance 1, which is no guidance: choose another scale, such as 2.")
    return notes


def conditions_in_turn(config: ConditionConfig, images: Sequence[int]) -> Condition:
    """Return conditions that cycle through the classes or the example captions, one for each image number."""
    if config.classes:
        return Condition(labels=torch.tensor(images) % len(config.classes))
    text = encode_cached(trained_encoder(config), list(config.examples))
    rows = torch.tensor(images) % len(config.examples)
    return Condition(tokens=text.tokens[rows], mask=text.mask[rows])
