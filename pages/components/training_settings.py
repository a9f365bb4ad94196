"""Choosing what to train: widgets that make a configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffusion_core.choices import PREDICTIONS, SCHEDULES
from pages.components import BOUND
from pages.components.pictures import show_grid
from pages.components.runs import autoencoders, given_as, models_to_start_from
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels
from pipelines.datasets.image_sets import preview_images
from pipelines.datasets.sources import PRESETS, locate, resolve
from pipelines.storage.config import DataConfig, InitConfig, LatentConfig, LogConfig, RunConfig
from pipelines.storage.recipes import RECIPES, read_recipe
from pipelines.storage.runs import Run, find_run
from unets.choices import NETWORKS

AUTOENCODER = "autoencoder"
FALLS = ("cosine", "constant")
PRECISIONS = ("auto", "bf16", "fp16", "no")
FITS: dict[str, Literal["crop", "pad"] | None] = {"auto": None, "crop": "crop", "pad": "pad"}
FLIPS = {"auto": None, "on": True, "off": False}
RANDOM_WEIGHTS = "random weights"  # instead of a run to start from
PIXELS = "none: diffuse pixels"  # instead of an autoencoder whose latents are diffused
PREVIEWED = 16
USUAL = RunConfig()


def _named(choices: Mapping[str, object], value: object) -> str:
    """The name of a value among the choices of a widget."""
    return next(name for name, choice in choices.items() if choice == value)


def _choose_data(usual: DataConfig) -> DataConfig:
    """Widgets that choose a dataset and its preparation; what is left open keeps the dataset's own default.

    Args:
        usual: what they show at first.
    """
    names = list(PRESETS)
    typed = st.selectbox(
        "Images: a short name, a hub id or a local folder",
        names,
        names.index(usual.data),
        accept_new_options=True,
        key="data",
        on_change=_forget_classes,
        **BOUND,
    )
    name = os.path.expanduser(typed.strip())  # noqa: PTH111  (which leaves the home of nobody as it is)
    own = resolve(DataConfig(data=name))
    size_column, fit_column, flip_column, classes_column = st.columns(4)
    size = size_column.number_input(
        "Side in pixels", 4, 1024, usual.image_size, placeholder=str(own.image_size), key="size", **BOUND
    )
    fit = fit_column.selectbox(
        "Fit", FITS, list(FITS.values()).index(usual.fit), key="fit", **BOUND,
        help="Crop: cut the middle square. Pad: show all of the image inside a black frame. Auto: what suits the dataset.",
    )  # fmt: skip
    flip = flip_column.selectbox(
        "Mirror", FLIPS, list(FLIPS.values()).index(usual.flip), key="flip", **BOUND,
        help="Mirror half of the training images left-right. Auto: what suits the dataset.",
    )  # fmt: skip
    classes = classes_column.text_input(
        "Classes", ", ".join(usual.only_classes), placeholder="all", key="only_classes", **BOUND,
        help="Only the images of these classes, with commas between their names.",
    )  # fmt: skip
    return replace(
        usual,
        data=name,
        image_size=int(size) if size else None,
        fit=FITS[fit],
        flip=FLIPS[flip],
        only_classes=tuple(filter(None, map(str.strip, classes.split(",")))),
    )


def _forget_classes() -> None:
    """Other images have other classes."""
    st.session_state["only_classes"] = ""


@st.cache_data(ttl=60, max_entries=32, show_spinner="Opening the dataset…")
def _preview(config: DataConfig) -> Pixels:
    return preview_images(config, PREVIEWED)


def _show_preview(config: DataConfig) -> None:
    """Sixteen training images as the network will see them; those on the hub are fetched only when asked for."""
    prepared = resolve(config)
    try:
        source = locate(config.data)
        if not Path(source).is_dir():
            fetch = st.toggle("Preview 16 images", key="fetch", **BOUND)
            if not fetch:
                st.caption(f"`{source}` lies on the Hugging Face hub. The preview, or the training, downloads it once.")
                return
        images = _preview(prepared)
    except (ValueError, OSError) as error:
        st.error(f"No images from here: {describe(error)}")
        return
    show_grid(images, f"{len(images)} training images of {config.data}", columns=8)
    fitted = "cropped" if prepared.fit == "crop" else "padded"
    mirrored = "every second one mirrored" if prepared.flip else "none mirrored"
    st.caption(f"{len(images)} training images, {prepared.image_size}×{prepared.image_size} pixels, {fitted}, {mirrored}.")


def _log_for(steps: int, usual: LogConfig) -> LogConfig:
    """The usual intervals, or shorter ones where few steps would leave nothing to watch."""
    return replace(
        usual,
        log_every=min(usual.log_every, max(1, steps // 500)),
        eval_every=min(usual.eval_every, max(1, steps // 10)),
        sample_every=min(usual.sample_every, max(1, steps // 10)),
        save_every=min(usual.save_every, max(1, steps // 10)),
    )


def _choose_one(place: DeltaGenerator, label: str, options: tuple[str, ...], usual: str, key: str, **more: Any) -> str:
    """A widget for one of some names, which shows the usual one at first."""
    return place.selectbox(label, options, options.index(usual), key=key, **BOUND, **more)


def _widths(text: str) -> tuple[int, ...]:
    """The channels of each level from "64, 128, 128"."""
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise ValueError(f"channels {text!r}: give whole numbers with commas between them, such as 64, 128, 128") from error


def _named_network(config: RunConfig) -> str:
    """Which of NETWORKS a configuration trains."""
    return AUTOENCODER if config.model == "autoencoder" else config.network.unet


def _base(recipe: str | None, start: str | None) -> RunConfig:
    """What the widgets show at first: a recipe's settings, and over them what is taken from the run to start from."""
    config = replace(_settings_of(recipe), init=InitConfig(start))
    if start is None:
        return config
    try:
        source = find_run(start).config
    except (ValueError, OSError):
        return config  # it is a recipe's, and not at hand: the training says so
    return replace(
        config,
        model="diffusion",
        network=replace(source.network, dropout=config.network.dropout),
        diffusion=source.diffusion,
        data=replace(config.data, image_size=source.image_shape[1] if source.image_shape else None),
        latent=LatentConfig(),
    )


def _settings_of(recipe: str | None) -> RunConfig:
    return read_recipe(recipe) if recipe else USUAL


def _choose_run(
    place: DeltaGenerator, label: str, runs: Mapping[str, Run], usual: str | None, none: str, key: str, **more: Any
) -> str | None:
    """A widget for one of these runs or none, as a configuration calls it; the usual one is offered even if not at hand.

    None is an option of its own, with a name: Streamlit lets nobody empty a widget that was not empty at first.
    """
    usual = usual or none
    options = list(dict.fromkeys([none, *map(given_as, runs.values()), usual]))
    chosen = place.selectbox(label, options, options.index(usual), key=key, **BOUND, **more)
    return None if chosen == none else chosen


def _chosen() -> RunConfig:
    """Of the recipe and the run to start from that have just been chosen."""
    start = st.session_state["init_from"]
    return _base(st.session_state["recipe"], None if start == RANDOM_WEIGHTS else start)


def _follow_start() -> None:
    """Fill the widgets of the model with what a run to start from says, or again with what the recipe says."""
    config = _chosen()
    network, diffusion = config.network, config.diffusion
    st.session_state.update(
        size=config.data.image_size,
        unet=_named_network(config), channels=", ".join(map(str, network.channels)), patch=network.patch_size,
        latent=config.latent.latent or PIXELS,
        prediction=diffusion.prediction, schedule=diffusion.schedule, shift=diffusion.noise_shift,
    )  # fmt: skip


def _follow_latent() -> None:
    """Ask for images as large as those that the chosen autoencoder knows."""
    base = _chosen()
    chosen = st.session_state["latent"]
    shape = None if chosen in (PIXELS, base.latent.latent) else find_run(chosen).config.image_shape
    st.session_state["size"] = shape[1] if shape else base.data.image_size


def _follow_recipe() -> None:
    """Fill all widgets with what the chosen recipe says; what it leaves open becomes as usual."""
    st.session_state["init_from"] = _settings_of(st.session_state["recipe"]).init.init_from or RANDOM_WEIGHTS
    _follow_start()
    config = _chosen()
    data, optimizer = config.data, config.optimizer
    st.session_state.update(
        data=data.data, only_classes=", ".join(data.only_classes),
        fit=_named(FITS, data.fit), flip=_named(FLIPS, data.flip), augment=data.augment,
        dropout=config.network.dropout, train_seed=config.seed,
        train_steps=optimizer.steps, batch=optimizer.batch_size, lr=optimizer.lr, lr_schedule=optimizer.lr_schedule,
        warmup=optimizer.warmup_steps, precision=optimizer.precision,
    )  # fmt: skip


@dataclass(frozen=True)
class Training:
    """What is to be trained.

    Attributes:
        config: None where the widgets say what cannot be trained.
        recipe: the name of the recipe that it began with.
        time_limit: minutes.
    """

    config: RunConfig | None
    recipe: str | None
    time_limit: float | None


def choose_training() -> Training:
    """Widgets for the images, the network and the budget; what cannot be trained gets a sentence."""
    data_column, preview_column = st.columns(2, gap="medium")
    with data_column:
        recipe_column, start_column = st.columns(2)
        recipe = recipe_column.selectbox(
            "Recipe", list(RECIPES), index=None, placeholder="your own settings", key="recipe", on_change=_follow_recipe,
            help="Fills in settings that suit one of the datasets. Change what you like; -64 wants a GPU.", **BOUND,
        )  # fmt: skip
        start = _choose_run(
            start_column, "Start from", models_to_start_from(), _settings_of(recipe).init.init_from, RANDOM_WEIGHTS,
            "init_from", on_change=_follow_start,
            help="Fine-tuning: go on from this model's weights with other images. Its network and noise are taken over.",
        )  # fmt: skip
        base = _base(recipe, start)
        taken = start is not None  # what a run to start from decides
        data = _choose_data(base.data)
    with preview_column:
        _show_preview(data)
    network_column, steps_column, batch_column, limit_column = st.columns(4)
    unet = _choose_one(
        network_column, "Network", (*NETWORKS, AUTOENCODER), _named_network(base), "unet",
        help="Baseline: convolutions only. Attention: self-attention too. Class, text: told what to show as well. "
        "Autoencoder: makes images small and back, for others to diffuse what is small.", disabled=taken,
    )  # fmt: skip
    steps = steps_column.number_input("Steps", 1, None, base.optimizer.steps, step=1000, key="train_steps", **BOUND)
    batch_size = batch_column.number_input("Batch size", 1, None, base.optimizer.batch_size, key="batch", **BOUND)
    limit = limit_column.number_input(
        "Time limit in minutes", 0.0, None, None, placeholder="none", step=10.0, key="limit", **BOUND,
        help="Saves and stops after this long; Resume goes on for as long again.",
    )  # fmt: skip
    with st.expander("More settings"):
        channels_column, patch_column, prediction_column, schedule_column, seed_column = st.columns([2, 1, 1, 1, 1])
        channels = channels_column.text_input(
            "Channels of each level", ", ".join(map(str, base.network.channels)), key="channels", disabled=taken, **BOUND
        )
        patch_size = patch_column.number_input(
            "Patch size", 1, 16, base.network.patch_size, key="patch", **BOUND,
            help="The network takes a square of this many pixels a side for one: with 2, images of 64×64 cost what 32×32 do.",
            disabled=taken or unet == AUTOENCODER,
        )  # fmt: skip
        prediction = _choose_one(
            prediction_column, "Prediction", tuple(PREDICTIONS), base.diffusion.prediction, "prediction", disabled=taken
        )
        schedule = _choose_one(
            schedule_column, "Noise schedule", tuple(SCHEDULES), base.diffusion.schedule, "schedule", disabled=taken
        )
        seed = seed_column.number_input("Seed", 0, 2**31 - 1, base.seed, key="train_seed", **BOUND)
        rate_column, decay_column, warmup_column, precision_column = st.columns(4)
        lr = rate_column.number_input(
            "Learning rate", 0.0, None, base.optimizer.lr, step=1e-4, format="%.1e", key="lr", **BOUND
        )
        decay = _choose_one(decay_column, "Learning rate falls", FALLS, base.optimizer.lr_schedule, "lr_schedule")
        warmup = warmup_column.number_input("Warm-up steps", 0, None, base.optimizer.warmup_steps, key="warmup", **BOUND)
        precision = _choose_one(precision_column, "Precision", PRECISIONS, base.optimizer.precision, "precision")
        augment_column, dropout_column, shift_column, latent_column = st.columns(4)
        augment = augment_column.number_input(
            "Augmentation", 0.0, 1.0, base.data.augment, step=0.02, key="augment", **BOUND,
            help="Probability of each of several flips, turns, scalings and shifts, of which the network is told, so that "
            "samples show none. 0.12 helps where there are few images.",
        )  # fmt: skip
        dropout = dropout_column.number_input(
            "Dropout", 0.0, 0.9, base.network.dropout, step=0.05, key="dropout", **BOUND,
            help="Share of the numbers inside the network dropped while training; against learning few images by heart.",
        )  # fmt: skip
        shift = shift_column.number_input(
            "Noise shift", 0.1, 16.0, base.diffusion.noise_shift, step=0.5, key="shift", **BOUND,
            help="Factor of the noise at every timestep; large images bear more: side/64, say.", disabled=taken,
        )  # fmt: skip
        latent, rank = None, 0
        if taken:
            rank = latent_column.number_input(
                "LoRA rank", 0, None, 0, key="rank", **BOUND,
                help="0 trains all weights; 4 to 32 train additions of that rank to the attention layers, and the classes.",
            )  # fmt: skip
        else:
            latent = _choose_run(
                latent_column, "Latents of", autoencoders(), base.latent.latent, PIXELS, "latent",
                disabled=unet == AUTOENCODER, on_change=_follow_latent,
                help="Diffuse what this autoencoder makes of the images: large ones cost less so. Train one with the network "
                "autoencoder.",
            )  # fmt: skip
    network = base.network if unet == _named_network(base) else USUAL.network  # another network has other levels of attention
    config: RunConfig | None = None
    try:
        config = replace(
            base,
            network=replace(
                network,
                unet="baseline" if unet == AUTOENCODER else unet,
                channels=_widths(channels),
                patch_size=1 if unet == AUTOENCODER else int(patch_size),
                dropout=dropout,
            ),
            diffusion=replace(base.diffusion, schedule=schedule, prediction=prediction, noise_shift=shift),
            data=replace(data, augment=augment),
            optimizer=replace(
                base.optimizer,
                steps=int(steps),
                batch_size=int(batch_size),
                lr=lr,
                lr_schedule=decay,  # type: ignore[arg-type]
                warmup_steps=int(warmup),
                precision=precision,  # type: ignore[arg-type]
            ),
            log=_log_for(int(steps), base.log),
            seed=int(seed),
            model="autoencoder" if unet == AUTOENCODER else "diffusion",
            init=replace(base.init, lora_rank=int(rank)),
            latent=LatentConfig(latent if unet != AUTOENCODER else None),
        )
    except ValueError as error:
        st.error(str(error))
    return Training(config, recipe, limit or None)
