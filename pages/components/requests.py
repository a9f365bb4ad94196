"""Widgets for sampling requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from diffusion_core.choices import LEARNED, MODEL_SPACINGS, SAMPLERS, SPACINGS, USUAL_GUIDANCE
from pages.components import BOUND, about_choices
from pages.components.glossary import term, tooltip
from pages.components.named_choice import choose_model, choose_named
from pages.components.runs import settled_first
from pipelines.common.command_line import describe
from pipelines.common.settings import Described
from pipelines.common.text import literal
from pipelines.datasets.familiar import most_familiar
from pipelines.sampling.own_steps import own_steps, usual_spacing
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import DistillationConfig, RunConfig
from pipelines.storage.spacing import learned_spacing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pipelines.storage.catalogue import Listed
    from pipelines.storage.run import Run

MAX_SEED = 2**31 - 1
MAX_GUIDANCE = 20.0
MAX_PROMPT = 2000  # characters, since an address holds all prompts of a page
MOST_IMAGES = 100  # per column
EVERY_CLASS = "every class in turn"
GUIDING = ("guidance", "guidance_interval", "guidance_rescale", "negative")  # inputs, which a student does not have
OTHER_SAMPLER = "ddim"  # initially of a column whose model another column has too


def choose_request(number: int, models: Mapping[str, Listed], num_images: int) -> tuple[str, SamplingRequest]:
    """Draw widgets for one column of a comparison; return its model's name and its request.

    Args:
        number: number of the column, from 1; suffix of the widgets' keys.
    """
    usual = usual_models(models)
    name = choose_model(models, usual[(number - 1) % len(usual)], f"model{number}")
    config = models[name].config
    if config.is_student:  # what it determines would otherwise become the settings of the model that is chosen next
        chosen = {"steps"} if config.distillation is not None and config.distillation.varies else set()
        for key in (f"{field}{number}" for field in {*own_steps(config), *GUIDING} - chosen):
            if key not in st.session_state:  # an input's own, chosen for another model, cannot be deleted and need not be
                st.query_params.pop(key, None)
    sampler = choose_sampler(config, str(number), SamplingRequest.sampler if number <= len(usual) else OTHER_SAMPLER)
    condition = choose_condition(config, str(number))
    more = [*SAMPLERS[sampler["sampler"]].options, *["guidance interval"] * config.network.conditional]
    with st.expander(", ".join(["Seed, spacing", *more])):
        seed = choose_seed(str(number))
        noise = choose_noise(models[name].run, sampler["sampler"], str(number))
        if config.network.conditional and not config.is_student:
            condition |= choose_when_to_guide(str(number))
    return name, SamplingRequest(num_images, seed, **sampler, **noise, **condition)


def usual_models(models: Mapping[str, Listed], first: str = "") -> list[str]:
    """Return the models of a comparison's columns, initially: at least two, if there are, and as much like the first as can be.

    They have its data, size and kind, or else its data and size. Students are compared with their teachers instead.

    Args:
        first: the model that the others are to be like; the first with something to see by default.
    """
    first = first or settled_first(models)[0]

    def alike(*aspects: Callable[[RunConfig], object]) -> list[str]:
        own = models[first].config
        likely = {name: model.config for name, model in models.items() if name == first or not model.config.is_student}
        return [name for name, config in likely.items() if all(of(config) == of(own) for of in aspects)]

    def images(config: RunConfig) -> object:
        return Path(config.data.data).name, config.image_shape

    def kind(config: RunConfig) -> object:
        return config.network.takes, config.latent.latent_fingerprint

    return next((found for found in (alike(images, kind), alike(images)) if len(found) > 1), list(models))


def follow_model(key: str, usual: Any, choices: Collection[Any] | None = None) -> None:
    """Before drawing an input: set it to the model's default if it still shows the default of the previous model.

    It is also set if its value is not among the model's ``choices``, which Streamlit alone would keep or clear.
    """
    remembered = f"usual {key}"
    shown = st.session_state.get(key)
    untouched = shown is not None and shown == st.session_state.get(remembered)
    unfit = shown is not None and choices is not None and not set(shown) <= set(choices)
    if (untouched or unfit) and shown != usual:
        st.session_state[key] = usual
    st.session_state[remembered] = usual


def choose_sampler(config: RunConfig, suffix: str = "", usual: str = SamplingRequest.sampler) -> dict[str, Any]:
    """Draw widgets for the sampler, initially ``usual``, and its steps; return fields of a request.

    Args:
        suffix: suffix of the widgets' keys.
    """
    if (student := config.distillation) is not None:
        fresh = f" with eta {student.eta:g}" if student.eta else ""
        learnt = f"{student.in_words} of DDIM{fresh}"
        st.caption(literal(f"A student of {student.teacher}, which has learnt {learnt} only."))
        steps = _choose_calls(student, suffix) if student.varies else student.most
        return {name: value for name, value in own_steps(config, steps).items() if name in ("sampler", "steps")}
    sampler_place, steps_place = st.columns([2, 1])
    sampler = choose_named("Sampler", SAMPLERS, usual, f"sampler{suffix}", sampler_place)
    with steps_place:
        return {"sampler": sampler, "steps": choose_steps(config, suffix)}


def _choose_calls(student: DistillationConfig, suffix: str) -> int:
    """Draw a widget for one of the numbers of steps that a student has learnt, at first the most; return the number."""
    key = f"steps{suffix}"
    follow_model(key, student.most)
    shown = st.session_state.get(key)
    if isinstance(shown, int) and shown not in student.calls:  # of the model before
        st.session_state[key] = student.nearest(shown)
    calls = sorted(student.calls)
    about = term("steps")
    return int(st.segmented_control("Steps", calls, default=student.most, required=True, key=key, help=about, **BOUND))


def choose_steps(config: RunConfig, suffix: str = "", usual: int = SamplingRequest.steps) -> int:
    """Draw a widget for the number of steps, initially ``usual``, with a key that ends in ``suffix``; return the number."""
    longest = config.diffusion.timesteps
    usual = min(usual, longest)
    follow_model(f"steps{suffix}", usual)  # of a student, say, which shows others
    about = f"{term('steps')} This model allows 1 to {longest}."
    return int(st.number_input("Steps", 1, longest, usual, key=f"steps{suffix}", help=about, **BOUND))


def choose_seed(suffix: str = "") -> int:
    """Draw a widget for the seed and return it."""
    return int(st.number_input("Seed", 0, MAX_SEED, 0, key=f"seed{suffix}", help=term("seed"), **BOUND))


def choose_noise(run: Run, sampler: str, suffix: str = "") -> dict[str, Any]:
    """Draw widgets for the spacing and the sampler's options, with keys that end in ``suffix``; return fields of a request.

    The learned spacing is there if the run has one, and otherwise the help says why not.
    """
    spacings: Mapping[str, Described] = MODEL_SPACINGS
    try:
        if (student := run.config.distillation) is not None:
            return {"spacing": student.spacing, "eta": student.eta}
        about = f"For this model, {MODEL_SPACINGS[LEARNED].title} is for 1 to {learned_spacing(run).most} steps."
    except (ValueError, OSError) as error:
        spacings, about = SPACINGS, f"{MODEL_SPACINGS[LEARNED].title} is not offered: {literal(describe(error))}."
    about = f"{about_choices(spacings)}\n\n{about}"
    usual = usual_spacing(run.config)
    follow_model(f"spacing{suffix}", usual)
    spacing = choose_named("Timestep spacing", spacings, usual, f"spacing{suffix}", help=about)
    return {"spacing": spacing} | {
        name: st.slider(
            f"{name}: {option.about}", option.low, option.high, option.default, (option.high - option.low) / 20,
            key=f"{name}{suffix}", help=tooltip(name), **BOUND,
        )
        for name, option in SAMPLERS[sampler].options.items()
    }  # fmt: skip


def choose_condition(config: RunConfig, suffix: str = "", in_turn: bool = True, usual: str = "") -> dict[str, Any]:
    """Draw widgets for the condition and its guidance; return fields of a request, none for an unconditional model.

    Args:
        suffix: suffix of the widgets' keys.
        in_turn: whether to offer every class in turn.
        usual: the initial class or prompt, if the model takes it; one that everybody knows by default.
    """
    if not config.network.conditional:
        return {}
    what, how_much = st.columns([3, 2])
    condition: dict[str, Any]
    if config.network.takes == "class":
        classes = [EVERY_CLASS] * (in_turn and config.condition.cycles("all")) + list(config.condition.classes)
        known = usual if usual in classes else classes[most_familiar(classes, 1)[0]]
        first = EVERY_CLASS if EVERY_CLASS in classes else known
        follow_model(f"class{suffix}", first)
        label = what.selectbox("Class", classes, classes.index(first), key=f"class{suffix}", help=term("condition"), **BOUND)
        condition = {"label": "all" if label == EVERY_CLASS else label}
    else:
        default = usual or usual_prompt(config)
        follow_model(f"prompt{suffix}", default)
        about = term("prompt")
        prompt = what.text_input("Prompt", default, max_chars=MAX_PROMPT, key=f"prompt{suffix}", help=about, **BOUND)
        condition = {"prompt": (prompt,)}
        condition |= choose_negative(suffix)
    with how_much:
        return condition | {"guidance": choose_guidance(config, suffix)}


def usual_prompt(config: RunConfig) -> str:
    """Return the initial prompt for a text-conditional model."""
    examples = config.condition.examples
    return examples[most_familiar(examples, 1)[0]] if examples else ""


def usual_request(config: RunConfig) -> SamplingRequest:
    """Return the request of a model before anything is chosen: of every class in turn, or of a prompt that it knows well."""
    takes, every = config.network.takes, config.condition.cycles("all")
    return SamplingRequest(
        spacing=usual_spacing(config),
        label=("all" if every else config.condition.classes[0]) if takes == "class" else None,
        prompt=(usual_prompt(config),) if takes == "text" else (),
    )


def choose_negative(suffix: str = "") -> dict[str, Any]:
    """Draw a widget for the negative prompt; return the field of a request, if any."""
    about = term("negative prompt")
    key = f"negative{suffix}"
    negative = st.text_input("Negative prompt", "", MAX_PROMPT, key=key, placeholder="none", help=about, **BOUND)
    return {"negative_prompt": negative} if negative else {}


def choose_guidance(config: RunConfig, suffix: str = "") -> float:
    """Draw a widget for the guidance scale and return it; it is fixed for students and where there is none."""
    if config.network.always_conditional:
        about = "This network has no class that stands for none, so it cannot be guided."
        st.number_input("Guidance", value=1.0, disabled=True, key=f"no_guidance{suffix}", help=about)
        return 1.0
    if config.distillation is not None:
        about = f"This student has learnt this scale from {config.distillation.teacher}, and needs no second call for it."
        scale = config.distillation.scale
        st.number_input("Guidance", value=scale, disabled=True, key=f"learnt_guidance{suffix} {scale}", help=about)
        return scale
    about = term("guidance")
    key = f"guidance{suffix}"
    return float(st.number_input("Guidance", 0.0, MAX_GUIDANCE, USUAL_GUIDANCE, 0.5, key=key, help=about, **BOUND))


def choose_when_to_guide(suffix: str = "") -> dict[str, Any]:
    """Draw widgets for the guidance interval and rescaling; return fields of a request."""
    about = term("guidance interval")
    interval = st.slider("Guidance interval", 0.0, 1.0, (0.0, 1.0), 0.05, key=f"guidance_interval{suffix}", help=about, **BOUND)
    about = term("guidance rescale")
    rescale = st.slider("Guidance rescale", 0.0, 1.0, 0.0, 0.05, key=f"guidance_rescale{suffix}", help=about, **BOUND)
    return {"guidance_interval": interval, "guidance_rescale": rescale}
