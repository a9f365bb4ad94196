"""The settings of a comparison's columns, one line each, with what differs between them emphasised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from diffusion_core.choices import SAMPLERS
from pipelines.common.text import counted, literal, shorten
from pipelines.sampling.request import SamplingRequest, spacing_in_words

ALWAYS = ("model", "sampler", "steps", "condition", "seed")
USUAL = SamplingRequest()
MOST = 60  # characters of a prompt


def show_folded(wishes: Sequence[tuple[str, SamplingRequest]]) -> None:
    """Show the settings of columns side by side, one line for each.

    Args:
        wishes: the model and the request of each column.
    """
    spaced = len({request.spacing for _, request in wishes}) > 1
    lines = [settings_in_words(name, request, ("spacing",) * spaced) for name, request in wishes]
    with st.container(key="folded"):
        places = st.columns(len(lines), gap="small")
    for number, (place, line) in enumerate(zip(places, lines, strict=True), start=1):
        text = [f"**{literal(told)}**" if _differs(lines, name) else literal(told) for name, told in line.items() if told]
        place.markdown(f":gray-badge[{number}] {' · '.join(text)}")


def _differs(lines: Sequence[dict[str, str]], name: str) -> bool:
    return len({line.get(name) for line in lines}) > 1


def settings_in_words(name: str, request: SamplingRequest, differing: Sequence[str] = ()) -> dict[str, str]:
    """Return the settings of a column in words, by name; empty where they are the usual ones.

    Args:
        differing: settings to tell even so.
    """
    shown = "every class in turn" if request.label == "all" else request.label
    told: dict[str, Any] = {
        "model": name,
        "sampler": SAMPLERS[request.sampler].title,
        "steps": counted(request.steps, "step"),
        "condition": shown or shorten(", ".join(request.prompt), MOST),
        "negative_prompt": f"not {shorten(request.negative_prompt or '', MOST)}",
        "guidance": f"guidance {request.guidance:g}",
        "guidance_interval": "guided from {:g} to {:g}".format(*request.guidance_interval),
        "guidance_rescale": f"guidance rescale {request.guidance_rescale:g}",
        "eta": f"eta {request.eta:g}",
        "spacing": spacing_in_words(request.spacing),
        "seed": f"seed {request.seed}",
    }
    optional = [name for name in told if name not in (*ALWAYS, *differing)]
    return told | {name: "" for name in optional if getattr(request, name) == getattr(USUAL, name)}
