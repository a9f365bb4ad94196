"""Widgets that say what to generate."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from diffusion_core.choices import SAMPLERS, SPACINGS
from pages.components import BOUND, about_choices
from pipelines.common.images import read_request
from pipelines.common.settings import settings_from
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pipelines.storage.runs import Run

MAX_SEED = 2**31 - 1
MAX_GUIDANCE = 20.0
MOST_IMAGES = 100  # of a column
EVERY_CLASS = "every class in turn"


def choose_request(number: int, runs: Mapping[str, Run], num_images: int) -> tuple[str, SamplingRequest]:
    """Widgets for one column of a comparison; its model's name and what it shall make.

    Args:
        number: of the column, from 1; the widgets' keys end in it.
    """
    names = list(runs)
    name = st.selectbox("Model", names, index=(number - 1) % len(names), key=f"model{number}", **BOUND)
    config = readable_config(runs[name])
    sampler = choose_sampler(config, str(number))
    condition = choose_condition(config, str(number))
    more = [*SAMPLERS[sampler["sampler"]].options, *["when to guide"] * config.network.conditional]
    with st.expander(", ".join(["Seed, spacing", *more])):
        seed = choose_seed(str(number))
        noise = choose_noise(sampler["sampler"], str(number))
        if config.network.conditional:
            condition |= choose_when_to_guide(str(number))
    return name, SamplingRequest(num_images, seed, **sampler, **noise, **condition)


def readable_config(run: Run) -> RunConfig:
    """The run's configuration; if it cannot be read that is said, and a usual one stands in: what is asked will fail alike."""
    try:
        return run.config
    except (ValueError, OSError) as error:
        st.error(f"This run cannot be read: {error}")
        return RunConfig()


def follow_model(key: str, usual: Any, choices: Collection[Any] | None = None) -> None:
    """Before an input is made: let it show what is usual for the model, if it shows what was usual for the one before.

    It does too if it shows what is not among the model's ``choices``. Streamlit by itself would keep or empty it.
    """
    remembered = f"usual {key}"
    shown = st.session_state.get(key)
    untouched = shown is not None and shown == st.session_state.get(remembered)
    unfit = shown is not None and choices is not None and not set(shown) <= set(choices)
    if (untouched or unfit) and shown != usual:
        st.session_state[key] = usual
    st.session_state[remembered] = usual


def choose_sampler(config: RunConfig, suffix: str = "") -> dict[str, Any]:
    """Widgets for a sampler and its steps; fields of a request. The widgets' keys end in ``suffix``."""
    sampler_place, steps_place = st.columns([3, 2])
    sampler = sampler_place.selectbox(
        "Sampler", list(SAMPLERS), list(SAMPLERS).index(SamplingRequest.sampler), key=f"sampler{suffix}",
        help=about_choices(SAMPLERS), **BOUND,
    )  # fmt: skip
    with steps_place:
        return {"sampler": sampler, "steps": choose_steps(config, suffix)}


def choose_steps(config: RunConfig, suffix: str = "", usual: int = SamplingRequest.steps) -> int:
    """A widget for the number of steps, ``usual`` at first. Its key ends in ``suffix``."""
    longest = config.diffusion.timesteps
    usual = min(usual, longest)
    return int(st.number_input("Steps", 1, longest, usual, key=f"steps{suffix}", help=f"1 to {longest}", **BOUND))


def choose_seed(suffix: str = "") -> int:
    """A widget for the seed."""
    about = "The same seed: the same noise."
    return int(st.number_input("Seed", 0, MAX_SEED, 0, key=f"seed{suffix}", help=about, **BOUND))


def choose_noise(sampler: str, suffix: str = "") -> dict[str, Any]:
    """Widgets for the spacing and the sampler's own options; fields of a request. The widgets' keys end in ``suffix``."""
    about = about_choices(SPACINGS)
    spacing = st.selectbox("Timestep spacing", list(SPACINGS), key=f"spacing{suffix}", help=about, **BOUND)
    return {"spacing": spacing} | {
        name: st.slider(
            f"{name}: {option.about}", option.low, option.high, option.default, (option.high - option.low) / 20,
            key=f"{name}{suffix}", **BOUND,
        )
        for name, option in SAMPLERS[sampler].options.items()
    }  # fmt: skip


def choose_condition(config: RunConfig, suffix: str = "", in_turn: bool = True) -> dict[str, Any]:
    """Widgets for what a conditional model is told; fields of a request.

    Args:
        suffix: what the widgets' keys end in.
        in_turn: offer all classes in turn, too.
    """
    if not config.network.conditional:
        return {}
    what, how_much = st.columns([3, 2])
    condition: dict[str, Any]
    if config.network.takes == "class":
        classes = [EVERY_CLASS] * in_turn + list(config.condition.classes)
        label = what.selectbox("Class", classes, key=f"class{suffix}", **BOUND)
        condition = {"label": "all" if label == EVERY_CLASS else label}
    else:
        default = usual_prompt(config)
        follow_model(f"prompt{suffix}", default)
        condition = {"prompt": (what.text_input("Prompt", default, key=f"prompt{suffix}", **BOUND),)}
        condition |= choose_negative(suffix)
    with how_much:
        return condition | {"guidance": choose_guidance(suffix)}


def usual_prompt(config: RunConfig) -> str:
    """What a model that reads is asked for at first."""
    return config.condition.examples[0] if config.condition.examples else ""


def choose_negative(suffix: str = "") -> dict[str, Any]:
    """A widget for what to lead away from; the field of a request, if anything is written."""
    negative = st.text_input("Negative prompt", "", key=f"negative{suffix}", placeholder="nothing", **BOUND)
    return {"negative_prompt": negative} if negative else {}


def choose_guidance(suffix: str = "") -> float:
    """A widget for the guidance scale."""
    about = "How much to exaggerate the condition. 1 follows the model as it is."
    return float(st.number_input("Guidance", 0.0, MAX_GUIDANCE, 2.0, 0.5, key=f"guidance{suffix}", help=about, **BOUND))


def choose_when_to_guide(suffix: str = "") -> dict[str, Any]:
    """Widgets for the guidance interval and rescaling; fields of a request."""
    about = "Shares of the schedule's length: 0 is clean, 1 is noise. Elsewhere the guidance is 1."
    interval = st.slider("Guide between", 0.0, 1.0, (0.0, 1.0), 0.05, key=f"guidance_interval{suffix}", help=about, **BOUND)
    about = "How far to bring the contrast of guided images back to that of unguided ones."
    rescale = st.slider("Rescale contrast", 0.0, 1.0, 0.0, 0.05, key=f"guidance_rescale{suffix}", help=about, **BOUND)
    return {"guidance_interval": interval, "guidance_rescale": rescale}


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
        name, image, values = _request_in(file, runs)
        label, config = values.pop("label"), runs[name].config
        if label is not None:
            condition = config.condition
            values["class"] = EVERY_CLASS if label == "all" else condition.classes[condition.class_number(label)]
    except ValueError as error:
        st.session_state["request_problem"] = str(error)
        return
    prompt, negative = values.pop("prompt"), values.pop("negative_prompt")
    if config.network.takes == "text":
        values |= {"prompt": prompt[image % len(prompt)] if prompt else "", "negative": negative or ""}
    st.session_state["model1"] = name
    st.session_state["images"] = min(count := values.pop("num_images"), MOST_IMAGES)
    if count > MOST_IMAGES:
        st.session_state["request_problem"] = f"Of its {count} images this page makes the first {MOST_IMAGES}."
    for number in range(1, columns + 1):
        st.session_state.update({f"{key}{number}": value for key, value in values.items()})


def _request_in(file: io.BytesIO, runs: Mapping[str, Run]) -> tuple[str, int, dict[str, Any]]:
    """The run at hand that made a picture, which image of its request it is (0 for all of them), and the request.

    Raises:
        ValueError: it is no picture of ours, or its run is not at hand.
    """
    try:
        made = read_request(file) or {}
        wanted, fingerprint, request = made["run"], made["fingerprint"], made["request"]
        image = int(made.get("image", 0))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        raise ValueError("This picture carries no request: choose a PNG that Noisescope made, not a copy of one.") from error
    values = asdict(settings_from(SamplingRequest, request, "This picture's request"))
    if values["seed"] > MAX_SEED:
        raise ValueError(f"This picture's seed, {values['seed']}, is larger than a page takes: make it with pipelines.sample.")
    if not 0 <= values["guidance"] <= MAX_GUIDANCE:
        raise ValueError(
            f"This picture's guidance, {values['guidance']:g}, is larger than a page takes: make it with pipelines.sample."
        )
    if "origin" in made:
        raise ValueError("This picture was made from another one, which it does not carry: make it again on the Edit page.")
    same_weights = [name for name, run in runs.items() if run.has_weights and run.fingerprint == fingerprint]
    if wanted not in same_weights and not same_weights:
        raise ValueError(f"The run {wanted!r} that made this picture is not at hand with those weights ({fingerprint}).")
    name = wanted if wanted in same_weights else same_weights[0]
    if values["label"] is None and runs[name].config.network.takes == "class":
        raise ValueError(
            "This picture was made without a class, and a page always asks for one: make it with pipelines.sample."
        )
    longest = runs[name].config.diffusion.timesteps
    if values["steps"] > longest:
        raise ValueError(f"This picture's {values['steps']} steps are more than {name} has, {longest}: choose another picture.")
    return name, image, values
