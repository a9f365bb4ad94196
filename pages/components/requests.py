"""Widgets that say what to generate."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.components import BOUND
from pipelines.config import RunConfig
from pipelines.images import read_request
from pipelines.sample import SamplingRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.runs import Run

MAX_SEED = 2**31 - 1
EVERY_CLASS = "every class in turn"


def choose_request(number: int, runs: Mapping[str, Run], num_images: int) -> tuple[str, SamplingRequest]:
    """Widgets for one column of a comparison; its model's name and what it shall make.

    Args:
        number: of the column, from 1; the widgets' keys end in it.
    """
    from diffusion_core.samplers import SAMPLERS
    from diffusion_core.schedules import SPACINGS

    names = list(runs)
    name = st.selectbox("Model", names, index=(number - 1) % len(names), key=f"model{number}", **BOUND)
    sampler_place, steps_place = st.columns([3, 2])
    default = list(SAMPLERS).index(SamplingRequest.sampler)
    sampler = sampler_place.selectbox("Sampler", list(SAMPLERS), index=default, key=f"sampler{number}", **BOUND)
    try:
        config = runs[name].config
    except (ValueError, OSError) as error:
        st.error(f"This run cannot be read: {error}")
        config = RunConfig()  # whatever is asked, its generation will say the same
    longest = config.diffusion.timesteps
    condition = _choose_condition(config, number)
    steps = steps_place.number_input(
        "Steps", 1, longest, min(SamplingRequest.steps, longest), key=f"steps{number}", help=f"1 to {longest}", **BOUND
    )
    with st.expander("Seed, spacing" + (", eta" if sampler == "ddim" else "")):
        seed = st.number_input("Seed", 0, MAX_SEED, 0, key=f"seed{number}", help="The same seed: the same noise.", **BOUND)
        spacing = st.selectbox("Timestep spacing", list(SPACINGS), key=f"spacing{number}", **BOUND)
        eta = 0.0
        if sampler == "ddim":
            eta = st.slider("eta: fresh noise at every step", 0.0, 1.0, 0.0, 0.05, key=f"eta{number}", **BOUND)
    return name, SamplingRequest(num_images, int(seed), sampler, int(steps), eta, spacing, **condition)


def _choose_condition(config: RunConfig, number: int) -> dict[str, Any]:
    """Widgets for what a conditional model is told; the fields of a request."""
    if not config.network.conditional:
        return {}
    what, how_much = st.columns([3, 2])
    condition: dict[str, Any]
    if config.network.unet == "class":
        label = what.selectbox("Class", [EVERY_CLASS, *config.condition.classes], key=f"class{number}", **BOUND)
        condition = {"label": "all" if label == EVERY_CLASS else label}
    else:
        default = config.condition.examples[0] if config.condition.examples else ""
        condition = {"prompt": (what.text_input("Prompt", default, key=f"prompt{number}", **BOUND),)}
        negative = st.text_input("Negative prompt", "", key=f"negative{number}", placeholder="nothing", **BOUND)
        condition |= {"negative_prompt": negative} if negative else {}
    guidance = how_much.number_input(
        "Guidance", 0.0, 20.0, 2.0, 0.5, key=f"guidance{number}", help="1 follows the model as it is.", **BOUND
    )
    return condition | {"guidance": float(guidance)}


def offer_png(runs: Mapping[str, Run], columns: int) -> None:
    """An upload that reads a picture's request back into the widgets: its model in the first column, its settings in all."""
    with st.popover("From a picture", icon=":material/image_search:", help="Load the request of a PNG that Noisescope made."):
        st.file_uploader(
            "A PNG made by Noisescope", type="png", key="request_png", on_change=_load_request, args=(runs, columns)
        )
        if problem := st.session_state.pop("request_problem", None):
            st.warning(problem)


def _load_request(runs: Mapping[str, Run], columns: int) -> None:
    file = st.session_state["request_png"]
    if file is None:
        return
    try:
        name, values = _request_in(file, runs)
    except ValueError as error:
        st.session_state["request_problem"] = str(error)
        return
    label, prompt, negative = (values.pop(key) for key in ("label", "prompt", "negative_prompt"))
    st.session_state["model1"] = name
    st.session_state["images"] = values.pop("num_images")
    if label is not None:
        condition = runs[name].config.condition
        values["class"] = EVERY_CLASS if label == "all" else condition.classes[condition.class_number(label)]
    if prompt:
        values |= {"prompt": prompt[0], "negative": negative or ""}
    for number in range(1, columns + 1):
        st.session_state.update({f"{key}{number}": value for key, value in values.items()})


def _request_in(file: io.BytesIO, runs: Mapping[str, Run]) -> tuple[str, dict[str, Any]]:
    """The run at hand that made a picture, and its request.

    Raises:
        ValueError: it is no picture of ours, or its run is not at hand.
    """
    try:
        made = read_request(file) or {}
        wanted, fingerprint, values = made["run"], made["fingerprint"], asdict(SamplingRequest(**made["request"]))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise ValueError("This picture carries no request: choose a PNG that Noisescope made, not a copy of one.") from error
    same_weights = [name for name, run in runs.items() if run.has_weights and run.fingerprint == fingerprint]
    if wanted not in same_weights and not same_weights:
        raise ValueError(f"The run {wanted!r} that made this picture is not at hand with those weights ({fingerprint}).")
    return (wanted if wanted in same_weights else same_weights[0]), values
