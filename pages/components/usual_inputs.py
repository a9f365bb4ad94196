"""The inputs of each page, which buttons and lessons that lead to it set as a whole: what they do not name is as usual.

Inputs keep their values when their page is left, and several pages share some, so that a page would otherwise show part of
what was chosen before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import streamlit as st

from diffusion_core.choices import SAMPLERS
from pages.components.named_choice import forget_choice

OPTIONS = tuple(dict.fromkeys(option for sampler in SAMPLERS.values() for option in sampler.options))
GUIDING = ("guidance", "guidance_interval", "guidance_rescale")
REQUEST = ("model", "sampler", "steps", "seed", "spacing", *OPTIONS, "class", "prompt", "negative", *GUIDING)
PICTURE = ("source", "source_run", "source_number", "dataset", "dataset_image")
TABLE = ("images_a_cell", "view", "level")
MOST_COLUMNS = 4
# By the names of the pages' files.
INPUTS: Mapping[str, Sequence[str]] = {
    "compare": ("columns", "images", "numbers", *(f"{key}{n}" for key in REQUEST for n in range(1, MOST_COLUMNS + 1))),
    "forward": (*PICTURE, "schedule_A", "schedule_B", "zero_terminal_snr_A", "zero_terminal_snr_B", "noise_seed", "t"),
    "reverse": (*REQUEST, *PICTURE, "start", "number", "other_seed", "weight", "strength", "xray"),
    "generate": (*REQUEST, *TABLE, "classes", "prompts", "vary", "scales", "models", "unguided"),
    "edit": (
        *REQUEST, *TABLE, *PICTURE, *(f"{key}2" for key in PICTURE), "edit", "strengths", "methods", "paint_strength", "share",
        "across", "down", "between", "steps_traced", "strengths_traced", "shows_class", "shows", "classes", "prompts",
    ),
    "training_curves": (
        "runs", "live", "axis", "log", "group", "smoothing", "all_samples", "optimiser", "timesteps", "heat", "differences",
        "settings", "averages", "averages_of", "logs",
    ),
    "evaluate": (
        "runs", "measured_data", "measured_size", "judge", "figure", "cost", "ranked", "all_series", "all_figures", "by_level",
        "losses", "likelihood", "copies", "unsure", "verdict_first", "verdict_second", "verdict_setting",
    ),
}  # fmt: skip
# The session's keys of what pages have computed (see pages.components.generation.submit).
RESULTS = {"compare": "comparison", "reverse": "reverse", "generate": "table", "edit": "edited"}


def forget_inputs(page: str) -> None:
    """Set the inputs of a page to what the address says or else to the usual, and forget the result that it shows."""
    for key in INPUTS[page]:
        forget_choice(key)
    forget_result(page)


def forget_result(page: str) -> None:
    """Forget the result that a page shows, and stop computing it."""
    if page in RESULTS and (result := st.session_state.pop(RESULTS[page], None)) is not None:
        result[1].cancel()


def open_page(page: str, address: Mapping[str, str | Sequence[str]]) -> NoReturn:
    """Go to a page that has the inputs of an address, and the usual ones otherwise."""
    forget_inputs(page)
    st.switch_page(f"pages/{page}.py", query_params=address)
