"""Ways to edit a picture: the widgets of each, and the requests that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from pages.components import BOUND, end_page
from pages.components.carried import MASK, left_out, picture_key
from pages.components.condition_choice import choose_rows
from pages.components.glossary import term
from pages.components.painter import painter
from pages.components.pictures import show_image
from pages.components.requests import MAX_PROMPT, choose_condition, choose_guidance, follow_model, usual_prompt
from pages.components.sources import FILE_TYPES, carry_upload, choose_image, is_upload, shown_condition
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels, place_on_canvas, png_bytes
from pipelines.common.public import upload_limit
from pipelines.common.text import literal
from pipelines.sampling.fitting import colour_note, fit_mask, fit_picture, picture_size
from pipelines.sampling.origins import BetweenPictures, FromInversion, FromPicture, Origin
from pipelines.storage.config import RunConfig

SHOWN = 280  # CSS width of the picture to edit
STRENGTHS = tuple(round(0.1 * number, 1) for number in range(1, 11))
# Ways to inpaint, and the settings of FromPicture for each.
METHODS: dict[str, dict[str, Any]] = {"one pass": {}, "reconstruction guidance": {"guided": True}} | {
    f"RePaint, {number} passes": {"resamplings": number} for number in (2, 5, 10, 20)
}
USUAL_METHODS = ("one pass", "reconstruction guidance", "RePaint, 10 passes")
# The sampler that inverts a picture to its noise and denoises it from there.
TRACEABLE = {"sampler": "ddim", "spacing": "linspace"}
TRACED_STEPS = 50  # reconstruct a picture at a PSNR of about 40 dB, 20 steps at 27 dB (benchmarks.inversion)


@dataclass(frozen=True)
class Edit:
    """A requested edit, with one cell per row and column.

    Attributes:
        rows: name and request fields of each row.
        columns: name and origin of each column.
        common: request fields of all cells.
        about: what all cells have in common, for the caption.
        original: the picture to edit, (H, W, C), to be shown beside the results; None if there are two.
        problem: what is missing before it can be generated, in a sentence; empty if nothing is.
    """

    rows: list[tuple[str, dict[str, Any]]]
    columns: list[tuple[str, Origin]]
    common: dict[str, Any]
    about: str
    original: Pixels | None = None
    problem: str = ""


def _choose_picture(config: RunConfig, model: str, label: str = "Picture", suffix: str = "") -> Pixels | None:
    """Draw widgets for a picture; return it prepared for a model as :func:`_fitted` does."""
    return _fitted(choose_image(label, suffix, model), config, suffix)


def _fitted(file: bytes | None, config: RunConfig, suffix: str = "") -> Pixels | None:
    """Return a picture prepared like the model's training images, (H, W, C) uint8, or None and say why it cannot be edited.

    Args:
        suffix: suffix of the keys of the widgets with which it was chosen.
    """
    if file is None:
        return None
    try:
        picture = fit_picture(file, config)
    except ValueError as error:  # of a run without images, say
        st.error(literal(f"This picture cannot be edited: {describe(error)}"))
        return None
    carry_upload(picture, suffix)
    if note := colour_note(file, config):
        st.caption(f":material/info: {note}")
    return picture


def left_out_of_link(kind: str) -> str:
    """Return what a link to an edit leaves out, in sentences; empty if it carries everything."""
    suffixes = ("", "2") if kind == "Interpolate" else ("",)
    needed = [picture_key(suffix) for suffix in suffixes if is_upload(suffix)]
    return left_out([*needed, MASK] if kind == "Inpaint" else needed)


def _strengths(key: str, default: tuple[float, ...], about: str) -> list[float]:
    strengths = st.multiselect(
        "Strengths", STRENGTHS, default, format_func="{:g}".format, key=key, help=about, wrap=True, **BOUND
    )
    return sorted(strengths)


def _row(condition: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(condition.get("label") or "".join(condition.get("prompt", ())), condition)]


def _count() -> dict[str, Any]:
    return {"num_images": int(st.number_input("Images per cell", 1, 64, 4, key="images_a_cell", **BOUND))}


def _vary(config: RunConfig, model: str) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config, model)
    with settings_place:
        strengths = _strengths("strengths", (0.3, 0.5, 0.7), term("strength"))
        condition = choose_condition(config, in_turn=False, usual=shown_condition())
        count = _count()
    if picture is None:
        end_page()
    with picture_place:
        show_image(picture, alt="The picture to vary", width=SHOWN)
    columns: list[tuple[str, Origin]] = [(f"strength {s:g}", FromPicture(png_bytes(picture), s)) for s in strengths]
    return Edit(_row(condition), columns, count, "The same noise is added to the picture in every cell", picture)


def _methods() -> list[str]:
    about = (
        "One pass keeps the known area in place, but the inpainted area hardly adapts to it. Reconstruction guidance "
        "corrects the inpainted area by the error in the known one, which takes three times as long. RePaint repeats every "
        "step until both fit."
    )
    chosen = st.multiselect("Methods", list(METHODS), USUAL_METHODS, key="methods", help=about, wrap=True, **BOUND)
    return [method for method in METHODS if method in chosen]


def _inpainted(picture: Pixels, mask: Pixels, methods: list[str], strength: float = 1.0) -> list[tuple[str, Origin]]:
    files = png_bytes(picture), png_bytes(mask)
    return [(method, FromPicture(files[0], strength, files[1], **METHODS[method])) for method in methods]


def _paint(config: RunConfig, model: str) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        whole = choose_image("Picture", model=model)
        picture = _fitted(whole, config)
    with settings_place:
        methods = _methods()
        about = "How far the inpainted area may depart from the original: 1 ignores what was there."
        strength = st.slider("Strength", 0.0, 1.0, 1.0, 0.05, key="paint_strength", help=about, **BOUND)
        condition = choose_condition(config, in_turn=False, usual=shown_condition())
        count = _count()
    if whole is None or picture is None:
        end_page()
    given = None
    with picture_place:
        canvas_place = st.container()
        with st.popover("Mask from a file", icon=":material/upload:"):
            width, height = picture_size(whole)
            about = f"A mask of {width}×{height} pixels, the size of the picture, white in the area to inpaint"
            file = st.file_uploader(about, type=FILE_TYPES, key="mask_file", max_upload_size=upload_limit())
        if file is not None:
            try:
                given = fit_mask(whole, file.getvalue(), config)
            except ValueError as error:  # a mask of another picture, perhaps: continue without it
                st.warning(literal(f"{file.name} is ignored: {describe(error)}"))
    with canvas_place:
        painted = painter(picture, "mask", alt="The picture to paint on", begin=given)
    mask = np.where(painted, 255, 0).astype(np.uint8)[..., None]
    return Edit(
        _row(condition),
        _inpainted(picture, mask, methods, strength),
        count,
        "Every cell starts from the same noise in the inpainted area",
        picture,
        "" if painted.any() else "Paint over the area to inpaint.",
    )


def _widen(config: RunConfig, model: str) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config, model)
        share = st.slider("Size on the canvas", 0.2, 0.95, 0.65, 0.05, key="share", **BOUND)
        across = st.slider("Position, left to right", 0.0, 1.0, 0.5, 0.05, key="across", **BOUND)
        down = st.slider("Position, top to bottom", 0.0, 1.0, 0.5, 0.05, key="down", **BOUND)
    with settings_place:
        methods = _methods()
        condition = choose_condition(config, in_turn=False, usual=shown_condition())
        count = _count()
    if picture is None:
        end_page()
    canvas, mask = place_on_canvas(picture, share, across, down)
    with picture_place:
        show_image(canvas, alt="The picture on its canvas, grey in the area to outpaint", width=SHOWN)
    return Edit(
        _row(condition),
        _inpainted(canvas, mask, methods),
        count,
        "Every cell starts from the same noise around the picture",
        canvas,
    )


def _blend(config: RunConfig, model: str) -> Edit:
    pictures = []
    for place, label, suffix in zip(st.columns(2, gap="large"), ("From", "To"), ("", "2"), strict=True):
        with place:
            picture = _choose_picture(config, model, label, suffix)
            if picture is not None:
                show_image(picture, alt=f"The picture to interpolate {label.lower()}", width=SHOWN // 2)
                pictures.append(png_bytes(picture))
    count = int(st.number_input("Images, including both ends", 3, 33, 9, key="between", width=280, **BOUND))
    if len(pictures) < 2:
        end_page()
    first, second = pictures
    between = BetweenPictures(first, second, tuple(np.linspace(0, 1, count).tolist()))
    return Edit([("", {})], [("", between)], {"num_images": count} | TRACEABLE, "From the first picture to the second")


def _reword(config: RunConfig, model: str) -> Edit:
    choice_place, picture_place, settings_place = st.columns(3, gap="medium")
    with choice_place:
        picture = _choose_picture(config, model)
        shows: dict[str, str]
        known = shown_condition()  # what the picture was made for
        if config.condition.classes:
            classes = config.condition.classes
            default = known if known in classes else classes[0]
            follow_model("shows_class", default)
            current = st.selectbox("Current class", classes, classes.index(default), key="shows_class", **BOUND)
            shows = {"label": current}
        else:
            default = known or usual_prompt(config)
            follow_model("shows", default)
            shows = {"prompt": st.text_input("Current prompt", default, MAX_PROMPT, key="shows", **BOUND)}
    with settings_place:
        st.markdown("**New classes**" if config.condition.classes else "**New prompts**")
        rows = choose_rows(config.condition)
        about = "How far the picture is inverted towards noise: a lower strength keeps more of it."
        strengths = _strengths("strengths_traced", (0.7, 0.9, 1.0), about)
        common = {"num_images": 1, "guidance": choose_guidance(config)} | TRACEABLE
    if picture is None:
        end_page()
    with picture_place:
        show_image(picture, alt="The picture to edit", width=SHOWN)
    columns: list[tuple[str, Origin]] = [
        (f"strength {s:g}", FromInversion(png_bytes(picture), strength=s, **shows)) for s in strengths
    ]
    return Edit(rows, columns, common, "Every cell starts from the inverted noise of the picture", picture)


@dataclass(frozen=True)
class Way:
    """A way to edit.

    Attributes:
        about: what it does, in a sentence.
        ask: draws its widgets for a model, given its configuration and its name, and returns the edit.
        conditional: whether it needs a class- or text-conditional model.
        free: whether it works with every sampler.
    """

    about: str
    ask: Callable[[RunConfig, str], Edit]
    conditional: bool = False
    free: bool = True


WAYS: Mapping[str, Way] = {
    "Vary": Way("Add noise to the picture and remove it again: more noise gives freer variations.", _vary),
    "Inpaint": Way("Paint over an area, which the model replaces to fit the rest of the picture.", _paint),
    "Outpaint": Way("Shrink the picture on its canvas and let the model fill in the surroundings.", _widen),
    "Interpolate": Way(
        "Invert both pictures to noise with DDIM, interpolate between the two noises, and denoise the results.",
        _blend,
        free=False,
    ),
    "Change condition": Way(
        "Invert the picture to noise with DDIM, and denoise it with another class or prompt.",
        _reword,
        conditional=True,
        free=False,
    ),
}


def choose_way(config: RunConfig) -> str:
    """Draw the ways to edit, and return the name of the chosen one.

    Those that the model cannot do are there with the reason; the page stops at one of them.
    """
    unfit = [kind for kind, way in WAYS.items() if way.conditional and not config.network.conditional]
    for number in [list(WAYS).index(kind) + 1 for kind in unfit]:
        st.html(f"<style>.st-key-edit button:nth-of-type({number}) {{ opacity: 0.4; cursor: not-allowed; }}</style>")
    usual = next(iter(WAYS))
    kind = st.segmented_control("Edit", list(WAYS), default=usual, required=True, key="edit", wrap=True, **BOUND)
    if kind in unfit:
        st.info(
            f"**{kind}** needs a model that was trained on classes or prompts. Choose another model above, or another edit."
        )
        end_page()
    reason = f" {' and '.join(unfit)}: only for models trained on classes or prompts." if unfit else ""
    st.caption(WAYS[kind].about + reason)
    return kind
