"""Widgets that build the configuration of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffusion_core.choices import Choice
from pages.components import BOUND, about_choices
from pages.components.asking import expanded
from pages.components.glossary import term
from pages.components.named_choice import choose_named
from pages.components.runs import can_be_tuned, given_as, is_autoencoder, known_runs
from pages.components.setting import USUAL, Setting, configured
from pages.components.training_few import are_for_few, is_counted, show_few, start_for
from pages.components.training_preview import show_preview
from pages.components.training_start import (
    AUTOENCODER,
    NEW_DATA,
    PIXELS,
    RANDOM_WEIGHTS,
    follow_data,
    follow_latent,
    follow_recipe,
    follow_start,
    initial,
    named_network,
    settings_of,
    suit,
)
from pages.components.training_table import BUDGET, DATA, MORE, PATCH, RANK, SIZE
from pages.components.training_upload import offer_upload
from pipelines.common.text import capitalised, literal
from pipelines.datasets.captions import NONE
from pipelines.datasets.report import DataReport
from pipelines.datasets.sources import PRESETS, resolve
from pipelines.storage.catalogue import Listed
from pipelines.storage.config import (
    DataConfig,
    LatentConfig,
    LogConfig,
    NetworkConfig,
    RunConfig,
)
from pipelines.storage.hub_id import HubId
from pipelines.storage.recipes import RECIPES
from unets.choices import NETWORKS

SUITED = "suited settings"  # where a session keeps the run to start from, until the widgets can be set; empty for none
ABOUT_AUTOENCODER = Choice("Autoencoder", term("autoencoder"))


def _choose_data(usual: RunConfig) -> tuple[DataConfig, dict[Setting, Any]]:
    """Draw widgets for a dataset and its preparation; settings left open take the dataset's defaults.

    Args:
        usual: configuration with the initial values.

    Returns:
        The usual data section with the chosen name, and the values of the preparation widgets.
    """
    names = [*PRESETS, *offer_upload()]
    typed = st.selectbox(
        "Dataset: a short name, a Hugging Face id, or a local folder or file", names, names.index(usual.data.data), key="data",
        accept_new_options=True, on_change=follow_data, help=about_choices(PRESETS), **BOUND,
    )  # fmt: skip
    name = expanded(typed)
    own = {SIZE: {"placeholder": str(resolve(DataConfig(data=name)).image_size)}}
    places = st.columns(len(DATA))
    shown = {each: each.draw(place, usual, **own.get(each, {})) for each, place in zip(DATA, places, strict=True)}
    return replace(usual.data, data=name), shown


def _log_for(steps: int, usual: LogConfig) -> LogConfig:
    """Return the usual intervals, shortened for runs of few steps."""
    return replace(
        usual,
        log_every=min(usual.log_every, max(1, steps // 500)),
        eval_every=min(usual.eval_every, max(1, steps // 10)),
        sample_every=min(usual.sample_every, max(1, steps // 4)),  # a grid takes as long as many steps
        save_every=min(usual.save_every, max(1, steps // 10)),
    )


def _choose_run(
    place: DeltaGenerator, label: str, models: Mapping[str, Listed], usual: str | None, none: str, key: str, **more: Any
) -> str | None:
    """Draw a widget for one of these models or none; return its reference. The usual run is offered even if unavailable.

    None is a named option, because Streamlit does not let a user clear a widget that was not empty at first.
    """
    usual = usual or none
    options = list(dict.fromkeys([none, *filter(None, (given_as(model.run) for model in models.values())), usual]))
    chosen = place.selectbox(label, options, options.index(usual), key=key, format_func=_shown, **BOUND, **more)
    return None if chosen == none else chosen


def _shown(reference: str) -> str:
    """Return how a reference to a run is shown: the id of one from the hub with the first digits of its commit."""
    hub = HubId.parse(reference)
    return reference if hub is None else hub.short


@dataclass(frozen=True)
class Training:
    """A requested training run.

    Attributes:
        config: configuration, or None if the widgets' values are invalid or the data cannot be trained on, as far as is known.
        recipe: name of the recipe that filled the widgets, if any.
        time_limit: limit in minutes, if any.
    """

    config: RunConfig | None
    recipe: str | None
    time_limit: float | None


def choose_training() -> Training:
    """Draw widgets for the dataset, the network and the budget; show an error if their values are invalid."""
    if SUITED in st.session_state:
        suit(st.session_state.pop(SUITED))
    data_column, preview_column = st.columns(2, gap="medium")
    with data_column:
        data_place = st.container()
        few_place = st.container()
        recipe_column, start_column, network_column = st.columns(3)
        *columns, limit_column = st.columns(len(BUDGET) + 1)
    recipe = recipe_column.selectbox(
        "Recipe", list(RECIPES), index=None, placeholder="custom settings", key="recipe", on_change=follow_recipe,
        help="Fills in settings that suit a dataset; all can be changed. Recipes ending in -64 need a GPU.", **BOUND,
    )  # fmt: skip
    start = _choose_run(
        start_column, "Start from", known_runs().models(can_be_tuned), settings_of(recipe).init.init_from, RANDOM_WEIGHTS,
        "init_from", on_change=follow_start,
        help=f"{term('fine-tuning')} The network and the noise schedule are that model's.",
    )  # fmt: skip
    base = initial(recipe, start)
    taken = start is not None  # whether a starting run fixes the model
    with data_place:
        data, shown = _choose_data(base)
    with preview_column:
        preview = show_preview(configured(replace(base, data=data), shown).data, base.condition)
    if preview.report is not None and not preview.problem:
        with few_place:
            show_few(preview.report, suit)
    unet = choose_named(
        "Network", NETWORKS | {AUTOENCODER: ABOUT_AUTOENCODER}, named_network(base), "unet", network_column, disabled=taken
    )
    shown |= {setting: setting.draw(place, base) for setting, place in zip(BUDGET, columns, strict=True)}
    limit = limit_column.number_input(
        "Time limit in minutes", 0.0, None, None, placeholder="none", step=10.0, key="limit", **BOUND,
        help="Saves and stops after this time; Resume continues for the same time again.",
    )  # fmt: skip
    with st.expander("More settings"):
        for row in MORE:
            *places, last = st.columns([2, 1, 1, 1, 1] if len(row) > 4 else 4)
            for setting, place in zip(row, [*places, last], strict=False):
                unused = (setting.taken and taken) or (setting is PATCH and unet == AUTOENCODER)
                shown[setting] = setting.draw(place, base, disabled=unused)
        latent = None
        if taken:
            shown[RANK] = RANK.draw(last, base)
        else:
            latent = _choose_run(
                last, "Latents from", known_runs().models(is_autoencoder), base.latent.latent, PIXELS, "latent",
                disabled=unet == AUTOENCODER, on_change=follow_latent,
                help=f"{term('latents')} To train an autoencoder, choose it as the network.",
            )  # fmt: skip
    try:
        config = _config(base, shown, data, unet, latent)
        if lacking := _lacking(config, preview.report):
            raise ValueError(lacking)
    except ValueError as error:
        st.error(literal(error))
        return Training(None, recipe, limit or None)
    _suit_new_data(config, preview.report)
    if warmup := config.optimizer.about_warmup:
        st.warning(literal(capitalised(warmup)))
    return Training(None if preview.problem else config, recipe, limit or None)


def _suit_new_data(config: RunConfig, report: DataReport | None) -> None:
    """Suit the settings to the number of pictures of a dataset that has just been chosen, unless the user has changed them."""
    if report is None or st.session_state.get(NEW_DATA) != config.data.data or not is_counted(report):
        return
    del st.session_state[NEW_DATA]
    start, begun = start_for(report), config.init.init_from or ""
    data = replace(USUAL.data, data=config.data.data)
    usual = config == replace(USUAL, data=data, log=_log_for(USUAL.optimizer.steps, USUAL.log))
    if start != begun and (usual or are_for_few(begun)):
        st.session_state[SUITED] = start
        st.rerun()  # before the widgets are drawn


def _lacking(config: RunConfig, report: DataReport | None) -> str:
    """Return why the data do not suit the network, in a sentence; empty if they do, or are not known yet."""
    takes = config.network.takes if config.model == "diffusion" else None
    if report is None or takes is None:
        return ""
    kinds = {"class": (report.classes, "label", "classes: "), "text": (report.captions, "text", "captions: ")}
    found, kind, what = kinds[takes]
    if found is not None:
        return ""
    return next((note.removeprefix(what) for note in report.notes if note.startswith(what)), NONE[kind].format(""))


def _config(base: RunConfig, shown: dict[Setting, Any], data: DataConfig, unet: str, latent: str | None) -> RunConfig:
    """Return the configuration for the values of the widgets.

    Raises:
        ValueError: the values are invalid.
    """
    same = unet == named_network(base)  # another network has attention at other levels
    autoencoder = unet == AUTOENCODER
    if autoencoder:
        shown = shown | {PATCH: PATCH.usual}
        latent = None
    network = base.network if same else NetworkConfig(unet=USUAL.network.unet if autoencoder else unet)
    model = "autoencoder" if autoencoder else "diffusion"
    config = configured(base, shown, network=network, data=data, model=model, latent=LatentConfig(latent))
    return replace(config, log=_log_for(config.optimizer.steps, base.log))
