"""Taking the request of a picture that Noisescope made over into the inputs of Compare."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.components.requests import EVERY_CLASS, MAX_GUIDANCE, MAX_PROMPT, MAX_SEED, MOST_IMAGES
from pipelines.common.command_line import describe
from pipelines.common.images import read_request
from pipelines.common.public import upload_limit
from pipelines.common.settings import settings_from
from pipelines.common.text import literal, shorten
from pipelines.sampling.request import SamplingRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.storage.catalogue import Listed
    from pipelines.storage.run import Run


def offer_png(models: Mapping[str, Listed], columns: int) -> None:
    """Draw an upload that loads a picture's request.

    A picture from this page's ZIP sets the column that it comes from. Any other one sets the first column's model and the
    settings of all columns.
    """
    with st.popover(
        "Load from PNG", icon=":material/image_search:", help="Load the settings stored in a PNG made by Noisescope."
    ):
        st.file_uploader(
            "A PNG made by Noisescope", type="png", key="request_png", on_change=_load_request, args=(models, columns),
            max_upload_size=upload_limit(),
        )  # fmt: skip
        if problem := st.session_state.pop("request_problem", None):
            st.warning(literal(problem))


def _load_request(models: Mapping[str, Listed], columns: int) -> None:
    file = st.session_state["request_png"]
    if file is None:
        return
    try:
        name, made, values = _request_in(file, models)
        label, config = values.pop("label"), models[name].config
        if label is not None:
            condition = config.condition
            values["class"] = EVERY_CLASS if condition.cycles(label) else condition.classes[condition.class_number(label)]
    except (ValueError, OSError) as error:
        st.session_state["request_problem"] = describe(error)
        return
    prompt, negative = values.pop("prompt"), values.pop("negative_prompt")
    if config.network.takes == "text":
        values |= {"prompt": prompt[made.image % len(prompt)] if prompt else "", "negative": negative or ""}
    chosen = range(1, columns + 1) if made.column is None else [min(max(made.column, 1), columns)]
    st.session_state[f"model{chosen[0]}"] = name
    st.session_state["images"] = min(count := values.pop("num_images"), MOST_IMAGES)
    if count > MOST_IMAGES:
        st.session_state["request_problem"] = f"This page generates only the first {MOST_IMAGES} of its {count} images."
    for number in chosen:
        st.session_state.update({f"{key}{number}": value for key, value in values.items()})


@dataclass(frozen=True)
class _Made:
    """What a picture says about how it was made (see :func:`pipelines.sampling.sample.metadata_of`).

    Attributes:
        image: its number in the request; 0 for a grid.
        column: its column on the Compare page, from 1.
    """

    run: str
    fingerprint: str
    request: Any
    image: int = 0
    origin: Any = None
    column: int | None = None


def _request_in(file: io.BytesIO, models: Mapping[str, Listed]) -> tuple[str, _Made, dict[str, Any]]:
    """Return the name of the run that made a picture, what the picture says, and the request.

    Raises:
        ValueError: Noisescope did not make the picture, its run is missing, or a page cannot express its request.
    """
    try:
        made = settings_from(_Made, read_request(file), "This picture")
    except ValueError as error:
        raise ValueError(
            "This picture contains no request: choose an original PNG made by Noisescope, not a converted copy."
        ) from error
    request = settings_from(SamplingRequest, made.request, "This picture's request")
    values = asdict(request)
    if values["seed"] > MAX_SEED:
        raise ValueError(f"This picture's seed, {values['seed']}, is larger than a page allows: use pipelines.sample.")
    if not 0 <= values["guidance"] <= MAX_GUIDANCE:
        raise ValueError(
            f"This picture's guidance, {values['guidance']:g}, is larger than a page allows: use pipelines.sample."
        )
    if any(len(text) > MAX_PROMPT for text in (*values["prompt"], values["negative_prompt"] or "")):
        raise ValueError(f"This picture's prompt is longer than a page allows, {MAX_PROMPT} characters: use pipelines.sample.")
    if made.origin is not None:
        raise ValueError("This picture was made from another one, which it does not contain: repeat the edit on the Edit page.")
    same_weights = [name for name, model in models.items() if _has_weights(model.run, made.fingerprint)]
    if not same_weights:
        raise ValueError(
            f"The run {shorten(made.run, 80)!r} that made this picture is not available with the same weights "
            f"({shorten(made.fingerprint, 16)})."
        )
    name = made.run if made.run in same_weights else same_weights[0]
    request.learned_timesteps(models[name].run)  # raises an error if the run has not learnt them
    if values["label"] is None and models[name].config.network.takes == "class":
        raise ValueError("This picture was made without a class, but a page always sets one: use pipelines.sample.")
    longest = models[name].config.diffusion.timesteps
    if values["steps"] > longest:
        raise ValueError(
            f"This picture's {values['steps']} steps exceed the {longest} timesteps of {name}: choose another picture."
        )
    return name, made, values


def _has_weights(run: Run, fingerprint: str) -> bool:
    """Return whether a run has these weights; one that cannot be read has not."""
    try:
        return run.has_weights and run.fingerprint == fingerprint
    except (ValueError, OSError):
        return False
