"""Choose the rows and columns of a table of samples: conditions, and one guidance scale or model per column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.components import BOUND
from pages.components.requests import MAX_PROMPT, choose_guidance, follow_model
from pipelines.common.text import lines_of, shorten
from pipelines.datasets.familiar import most_familiar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.storage.catalogue import Listed
    from pipelines.storage.config import ConditionConfig

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
USUAL_SCALES = (1.0, 2.0, 4.0, 8.0)
STANDARD, SCALED, MODELS, GUIDED = "Without and with guidance", "Guidance scales", "Models", "Guided only"
USUAL_CLASSES, USUAL_PROMPTS = 6, 4  # rows at first
MOST_IMAGES = 400
LONGEST_NAME = 120  # characters of a prompt shown beside its row


def choose_rows(condition: ConditionConfig) -> list[tuple[str, dict[str, Any]]]:
    """Draw widgets for the conditions; return the name of each row and its fields of a request."""
    if condition.classes:
        classes = list(condition.classes)
        first = [classes[number] for number in most_familiar(classes, USUAL_CLASSES)]
        follow_model("classes", first, classes)
        chosen = st.multiselect("Classes", classes, first, wrap=True, key="classes", **BOUND)
        return [(name, {"label": name}) for name in chosen]
    some = [condition.examples[number] for number in most_familiar(condition.examples, USUAL_PROMPTS)]
    follow_model("prompts", "\n".join(some))
    text = st.text_area("Prompts, one per line", "\n".join(some), max_chars=10 * MAX_PROMPT, key="prompts", height=122, **BOUND)
    prompts = lines_of(text)[: MOST_IMAGES + 1] or [""]  # one too many, which the page says
    return [(shorten(prompt, LONGEST_NAME) or "empty prompt", {"prompt": (prompt,)}) for prompt in dict.fromkeys(prompts)]


def choose_columns(name: str, models: Mapping[str, Listed]) -> list[tuple[str, str, dict[str, Any]]]:
    """Draw widgets for what to vary; return the name, the model and the request fields of each column.

    Args:
        name: name of the model.
        models: models with the same conditions and image size, itself included.
    """
    config = models[name].config
    if config.network.always_conditional or config.is_student:
        why = "has no class that stands for none, so it cannot be guided"
        if config.distillation is not None:
            why = f"is a student with guidance {config.distillation.scale:g} distilled in"
        st.caption(f"This model {why}.")
        chosen = [name]
        if len(models) > 1:
            chosen = st.multiselect("Models", list(models), [name], wrap=True, key="unguided", **BOUND)
        return [(model if len(chosen) > 1 else "", model, {"guidance": 1.0}) for model in chosen]
    kinds = [STANDARD, SCALED, MODELS, GUIDED] if len(models) > 1 else [STANDARD, SCALED, GUIDED]
    kind = st.pills("Compare", kinds, default=STANDARD, required=True, wrap=True, key="vary", **BOUND)
    if kind == SCALED:
        scales = st.multiselect(
            "Guidance scales", SCALES, USUAL_SCALES, format_func="{:g}".format, wrap=True, key="scales", **BOUND
        )
        return [(f"guidance {scale:g}", name, {"guidance": scale}) for scale in sorted(scales)]
    chosen = [name]
    if kind == MODELS:
        chosen = st.multiselect("Models", list(models), list(models)[:4], wrap=True, key="models", **BOUND)
    guidance = choose_guidance(config)
    if kind == STANDARD:
        return [
            ("no guidance (scale 1)", name, {"guidance": 1.0}),
            (f"guidance {guidance:g}", name, {"guidance": guidance}),
        ]
    return [(model if kind == MODELS else "", model, {"guidance": guidance}) for model in chosen]


def same_conditions(name: str, models: Mapping[str, Listed]) -> dict[str, Listed]:
    """Return the models with the same conditions and image size as the named one, itself first."""

    def kind(model: Listed) -> object:
        config = model.config
        network = config.network
        return network.takes, network.always_conditional, config.condition.classes, config.image_shape

    own = kind(models[name])
    return {name: models[name]} | {other: model for other, model in models.items() if kind(model) == own}


def too_many(rows: int, columns: int, num_images: int) -> str:
    """Return why a table of this size cannot be generated, in a sentence; empty if it can."""
    total = rows * columns * num_images
    if not total:
        return f"Nothing is chosen for the {'columns' if rows else 'rows'} of the table: choose at least one value."
    if total > MOST_IMAGES:
        return (
            f"This would generate {total} images: choose fewer rows, columns or images per cell, at most {MOST_IMAGES} in all."
        )
    return ""
