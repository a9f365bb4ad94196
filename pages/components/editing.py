"""Ways to edit a picture: the widgets of each, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from pages.components import BOUND
from pages.components.condition_table import choose_rows
from pages.components.painter import painter
from pages.components.pictures import show_image
from pages.components.requests import choose_condition, choose_guidance, follow_model, usual_prompt
from pages.components.sources import FILE_TYPES, choose_image
from pipelines.common.images import Pixels, place_on_canvas, png_bytes
from pipelines.sampling.fitting import fit_mask, fit_picture, picture_size
from pipelines.sampling.origins import BetweenPictures, FromInversion, FromPicture, Origin
from pipelines.storage.config import RunConfig

SHOWN = 280  # CSS pixels of a picture that is to be edited
STRENGTHS = tuple(round(0.1 * number, 1) for number in range(1, 11))
PASSES = (1, 2, 5, 10, 20)
# What traces a picture back to its noise, and makes it again from there.
TRACEABLE = {"sampler": "ddim", "spacing": "linspace"}
TRACED_STEPS = 50  # bring a picture back with a signal-to-noise ratio of about 40 dB, 20 with 27 (benchmarks.inversion)


@dataclass(frozen=True)
class Edit:
    """What is asked for: one cell for every row and column.

    Attributes:
        rows: what each is called, and fields of its request.
        columns: what each is called, and where it starts.
        common: fields of all requests.
        about: what all cells have in common, in words.
        problem: why it cannot be made yet, in a sentence; empty if it can.
    """

    rows: list[tuple[str, dict[str, Any]]]
    columns: list[tuple[str, Origin]]
    common: dict[str, Any]
    about: str
    problem: str = ""


def _choose_picture(config: RunConfig, label: str = "Picture", suffix: str = "") -> Pixels:
    """Widgets for a picture, (H, W, C) uint8, as the model's training images were prepared."""
    return fit_picture(choose_image(label, suffix), config)


def _strengths(key: str, default: tuple[float, ...], about: str) -> list[float]:
    strengths = st.multiselect(
        "Strengths", STRENGTHS, default, format_func="{:g}".format, key=key, help=about, wrap=True, **BOUND
    )
    return sorted(strengths)


def _row(condition: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(condition.get("label") or "".join(condition.get("prompt", ())), condition)]


def _count() -> dict[str, Any]:
    return {"num_images": int(st.number_input("Images a cell", 1, 64, 4, key="images_a_cell", **BOUND))}


def _vary(config: RunConfig) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config)
    with picture_place:
        show_image(picture, alt="The picture to vary", width=SHOWN)
    with settings_place:
        about = "How much noise is added first: with little, nearly the same picture comes back; at 1 nothing of it is left."
        strengths = _strengths("strengths", (0.3, 0.5, 0.7), about)
        condition = choose_condition(config, in_turn=False)
        count = _count()
    columns: list[tuple[str, Origin]] = [(f"strength {s:g}", FromPicture(png_bytes(picture), s)) for s in strengths]
    return Edit(_row(condition), columns, count, "Every cell: the same noises are added to the picture")


def _passes() -> list[int]:
    about = "RePaint takes every step several times, until both parts agree; one pass leaves the rest to the sampler."
    return sorted(
        st.multiselect("Passes", PASSES, (1, 10), format_func=_passes_name, key="passes", help=about, wrap=True, **BOUND)
    )


def _passes_name(passes: int) -> str:
    return "one pass" if passes == 1 else f"RePaint, {passes} passes"


def _repainted(picture: Pixels, mask: Pixels, passes: list[int], strength: float = 1.0) -> list[tuple[str, Origin]]:
    return [(_passes_name(number), FromPicture(png_bytes(picture), strength, png_bytes(mask), number)) for number in passes]


def _paint(config: RunConfig) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        whole = choose_image("Picture")
        picture = fit_picture(whole, config)
    given = None
    with picture_place:
        canvas_place = st.container()
        with st.popover("Mask from a file", icon=":material/upload:"):
            width, height = picture_size(whole)
            about = f"A picture of {width}×{height} pixels, as the one that is edited, white where it is made anew"
            file = st.file_uploader(about, type=FILE_TYPES, key="mask_file")
        if file is not None:
            try:
                given = fit_mask(whole, file.getvalue(), config)
            except ValueError as error:  # of another picture, perhaps: the page goes on without it
                st.warning(f"{file.name} is left out: {error}")
    with canvas_place:
        painted = painter(picture, "mask", alt="The picture to paint on", begin=given)
    with settings_place:
        passes = _passes()
        about = "How far the new part may be from the old: 1 forgets what was there."
        strength = st.slider("Strength", 0.0, 1.0, 1.0, 0.05, key="paint_strength", help=about, **BOUND)
        condition = choose_condition(config, in_turn=False)
        count = _count()
    mask = np.where(painted, 255, 0).astype(np.uint8)[..., None]
    return Edit(
        _row(condition),
        _repainted(picture, mask, passes, strength),
        count,
        "Every cell: the same noises in the part that is made anew",
        "" if painted.any() else "Paint over the part of the picture that is to be made anew.",
    )


def _widen(config: RunConfig) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config)
        share = st.slider("Size on the canvas", 0.2, 0.95, 0.65, 0.05, key="share", **BOUND)
        across = st.slider("Place, left to right", 0.0, 1.0, 0.5, 0.05, key="across", **BOUND)
        down = st.slider("Place, top to bottom", 0.0, 1.0, 0.5, 0.05, key="down", **BOUND)
    with settings_place:
        passes = _passes()
        condition = choose_condition(config, in_turn=False)
        count = _count()
    canvas, mask = place_on_canvas(picture, share, across, down)
    with picture_place:
        show_image(canvas, alt="The picture on its canvas, grey where it is made", width=SHOWN)
    return Edit(_row(condition), _repainted(canvas, mask, passes), count, "Every cell: the same noises around the picture")


def _blend(config: RunConfig) -> Edit:
    pictures = []
    for place, label, suffix in zip(st.columns(2, gap="large"), ("From", "To"), ("", "2"), strict=True):
        with place:
            picture = _choose_picture(config, label, suffix)
            show_image(picture, alt=f"The picture {label.lower()} which the way leads", width=SHOWN // 2)
            pictures.append(png_bytes(picture))
    count = int(st.number_input("Pictures, both ends among them", 3, 33, 9, key="between", width=280, **BOUND))
    first, second = pictures
    between = BetweenPictures(first, second, tuple(np.linspace(0, 1, count).tolist()))
    return Edit([("", {})], [("", between)], {"num_images": count} | TRACEABLE, "From the first picture to the second")


def _reword(config: RunConfig) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config)
        shows: dict[str, str]
        if config.condition.classes:
            shows = {"label": st.selectbox("What it shows", config.condition.classes, key="shows_class", **BOUND)}
        else:
            default = usual_prompt(config)
            follow_model("shows", default)
            shows = {"prompt": st.text_input("What it shows", default, key="shows", **BOUND)}
    with picture_place:
        show_image(picture, alt="The picture to reword", width=SHOWN)
    with settings_place:
        st.markdown("**What it shall show**")
        rows = choose_rows(config.condition)
        about = "How far the picture is traced back to noise: with less, more of it stays."
        strengths = _strengths("strengths_traced", (0.7, 0.9, 1.0), about)
        common = {"num_images": 1, "guidance": choose_guidance()} | TRACEABLE
    columns: list[tuple[str, Origin]] = [
        (f"strength {s:g}", FromInversion(png_bytes(picture), strength=s, **shows)) for s in strengths
    ]
    return Edit(rows, columns, common, "Every cell starts from the noise that the picture comes from")


@dataclass(frozen=True)
class Way:
    """A way to edit.

    Attributes:
        about: what it does, in a sentence.
        ask: its widgets.
        conditional: whether the model must take classes or words.
        free: whether it works with every sampler.
    """

    about: str
    ask: Callable[[RunConfig], Edit]
    conditional: bool = False
    free: bool = True


WAYS: Mapping[str, Way] = {
    "Vary": Way("Noise is added to the picture and taken away again: the more, the freer the variation.", _vary),
    "Paint anew": Way("What you paint over is made anew, to fit what stays.", _paint),
    "Widen": Way("The picture gets smaller, and the model makes what lies around it.", _widen),
    "Blend two": Way(
        "Both pictures are traced back to the noise they come from; what lies between the noises becomes what lies between "
        "the pictures.",
        _blend,
        free=False,
    ),
    "Reword": Way(
        "The picture is traced back to its noise and made again from there, told that it shows something else.",
        _reword,
        conditional=True,
        free=False,
    ),
}
