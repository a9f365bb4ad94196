"""Train: choose images, a network and a budget; start, watch, stop, go on."""

from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import BOUND
from pages.components.runs import autoencoders, given_as, models_to_start_from
from pages.components.training import FITS, FLIPS, choose_data, named, show_job, show_preview, show_training
from pipelines.command_line import describe
from pipelines.config import InitConfig, LatentConfig, LogConfig, RunConfig
from pipelines.jobs import TrainingQueue
from pipelines.recipes import RECIPES, read_recipe
from pipelines.train import default_name

AUTOENCODER = "autoencoder"
NETWORKS = ("baseline", "attention", "class", "text", AUTOENCODER)
PREDICTIONS = ("v", "epsilon", "x0", "flow")
SCHEDULES = ("cosine", "linear", "sigmoid", "flow")
FALLS = ("cosine", "constant")
PRECISIONS = ("auto", "bf16", "fp16", "no")
SHOWN_JOBS = 5  # older runs wait in an expander
USUAL = RunConfig()


def log_for(steps: int) -> LogConfig:
    """The usual intervals, or shorter ones where few steps would leave nothing to watch."""
    usual = LogConfig()
    return LogConfig(
        log_every=min(usual.log_every, max(1, steps // 500)),
        eval_every=min(usual.eval_every, max(1, steps // 10)),
        sample_every=min(usual.sample_every, max(1, steps // 10)),
        save_every=min(usual.save_every, max(1, steps // 10)),
    )


def choose_one(place: DeltaGenerator, label: str, options: tuple[str, ...], usual: str, key: str, **more: Any) -> str:
    """A widget for one of some names, which shows the usual one at first."""
    return place.selectbox(label, options, options.index(usual), key=key, **BOUND, **more)


def widths(text: str) -> tuple[int, ...]:
    """The channels of each level from "64, 128, 128"."""
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise ValueError(f"channels {text!r}: give whole numbers with commas between them, such as 64, 128, 128") from error


def named_network(config: RunConfig) -> str:
    """Which of NETWORKS a configuration trains."""
    return AUTOENCODER if config.model == "autoencoder" else config.network.unet


def base_of(recipe: str | None, start: str | None) -> RunConfig:
    """What the widgets show at first: a recipe's settings, and over them what is taken from the run to start from."""
    config = read_recipe(recipe) if recipe else USUAL
    if start is None:
        return config
    source = starts[start].config
    return replace(
        config,
        model="diffusion",
        network=replace(source.network, dropout=config.network.dropout),
        diffusion=source.diffusion,
        data=replace(config.data, image_size=source.image_shape[1] if source.image_shape else None),
        init=InitConfig(given_as(starts[start])),
        latent=LatentConfig(),
    )


def chosen() -> RunConfig:
    """Of the recipe and the run to start from that have just been chosen."""
    return base_of(st.session_state["recipe"], st.session_state["start"])


def follow_start() -> None:
    """Fill the widgets of the model with what a run to start from says, or again with what the recipe says."""
    config = chosen()
    network, diffusion = config.network, config.diffusion
    st.session_state.update(
        size=config.data.image_size,
        unet=named_network(config), channels=", ".join(map(str, network.channels)), latent=config.latent.latent,
        prediction=diffusion.prediction, schedule=diffusion.schedule, shift=diffusion.noise_shift,
    )  # fmt: skip


def follow_recipe() -> None:
    """Fill all widgets with what the chosen recipe says; what it leaves open becomes as usual."""
    follow_start()
    config = chosen()
    data, optimizer = config.data, config.optimizer
    st.session_state.update(
        data=data.data, fit=named(FITS, data.fit), flip=named(FLIPS, data.flip), augment=data.augment,
        dropout=config.network.dropout, seed=config.seed,
        steps=optimizer.steps, batch=optimizer.batch_size, lr=optimizer.lr, lr_schedule=optimizer.lr_schedule,
        warmup=optimizer.warmup_steps, precision=optimizer.precision,
    )  # fmt: skip


st.title("Train", anchor=False)
st.markdown(
    "Train a model of your own, from scratch or from another one. A run goes on when you close this page and when the "
    "dashboard stops; several runs wait for each other."
)
queue = TrainingQueue()
starts = models_to_start_from()

with st.container(border=True):
    data_column, preview_column = st.columns(2, gap="medium")
    with data_column:
        recipe_column, start_column = st.columns(2)
        recipe = recipe_column.selectbox(
            "Recipe", list(RECIPES), index=None, placeholder="your own settings", key="recipe", on_change=follow_recipe,
            help="Fills in settings that suit one of the datasets. Change what you like; -64 wants a GPU.", **BOUND,
        )  # fmt: skip
        start = start_column.selectbox(
            "Start from", list(starts), index=None, placeholder="random weights", key="start", on_change=follow_start,
            help="Fine-tuning: go on from this model's weights with other images. Its network and noise are taken over.",
            **BOUND,
        )  # fmt: skip
        base = base_of(recipe, start)
        taken = start is not None  # what a run to start from decides
        data = choose_data(base.data)
    with preview_column:
        show_preview(data)
    network_column, steps_column, batch_column, limit_column = st.columns(4)
    unet = choose_one(
        network_column, "Network", NETWORKS, named_network(base), "unet",
        help="Baseline: convolutions only. Attention: self-attention too. Class, text: told what to show as well. "
        "Autoencoder: makes images small and back, for others to diffuse what is small.", disabled=taken,
    )  # fmt: skip
    steps = steps_column.number_input("Steps", 1, None, base.optimizer.steps, step=1000, key="steps", **BOUND)
    batch_size = batch_column.number_input("Batch size", 1, None, base.optimizer.batch_size, key="batch", **BOUND)
    limit = limit_column.number_input(
        "Time limit in minutes", 0.0, None, None, placeholder="none", step=10.0, key="limit", **BOUND,
        help="Saves and stops after this long; Resume goes on for as long again.",
    )  # fmt: skip
    with st.expander("More settings"):
        channels_column, prediction_column, schedule_column, seed_column = st.columns(4)
        channels = channels_column.text_input(
            "Channels of each level", ", ".join(map(str, base.network.channels)), key="channels", disabled=taken, **BOUND
        )
        prediction = choose_one(
            prediction_column, "Prediction", PREDICTIONS, base.diffusion.prediction, "prediction", disabled=taken
        )
        schedule = choose_one(schedule_column, "Noise schedule", SCHEDULES, base.diffusion.schedule, "schedule", disabled=taken)
        seed = seed_column.number_input("Seed", 0, 2**31 - 1, base.seed, key="seed", **BOUND)
        rate_column, decay_column, warmup_column, precision_column = st.columns(4)
        lr = rate_column.number_input(
            "Learning rate", 0.0, None, base.optimizer.lr, step=1e-4, format="%.1e", key="lr", **BOUND
        )
        decay = choose_one(decay_column, "Learning rate falls", FALLS, base.optimizer.lr_schedule, "lr_schedule")
        warmup = warmup_column.number_input("Warm-up steps", 0, None, base.optimizer.warmup_steps, key="warmup", **BOUND)
        precision = choose_one(precision_column, "Precision", PRECISIONS, base.optimizer.precision, "precision")
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
                help="0 trains all weights; 4 to 32 train additions of that rank to the attention layers and nothing else.",
            )  # fmt: skip
        else:
            usual = base.latent.latent
            encoders = list(dict.fromkeys([*autoencoders(), *filter(None, [usual])]))
            latent = latent_column.selectbox(
                "Latents of", encoders, encoders.index(usual) if usual else None, placeholder="none: diffuse pixels",
                key="latent", help="Diffuse what this autoencoder makes of the images: large ones cost less so. Train one "
                "with the network autoencoder.", disabled=unet == AUTOENCODER, **BOUND,
            )  # fmt: skip
    network = base.network if unet == named_network(base) else USUAL.network  # another network has other levels of attention
    config: RunConfig | None = None
    try:
        config = replace(
            base,
            network=replace(
                network, unet="baseline" if unet == AUTOENCODER else unet, channels=widths(channels), dropout=dropout
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
            log=log_for(int(steps)),
            seed=int(seed),
            model="autoencoder" if unet == AUTOENCODER else "diffusion",
            init=replace(base.init, lora_rank=int(rank)),
            latent=LatentConfig(latent if unet != AUTOENCODER else None),
        )
    except ValueError as error:
        st.error(str(error))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        usual_name = default_name(config or USUAL, queue.root, recipe)
        name = st.text_input("Name", placeholder=usual_name, key="name", width=320, **BOUND) or usual_name
        pressed = st.button("Start training", type="primary", icon=":material/model_training:", disabled=config is None)
    if pressed and config is not None:
        try:
            queue.create(name, config, limit or None)
            st.session_state["run"] = name
            st.toast(f"{name} is in the queue.", icon=":material/schedule:")
            st.rerun()  # the name is taken now: offer the next one
        except (ValueError, OSError) as error:
            st.error(describe(error))

st.subheader("Your runs", anchor=False)


@st.fragment(run_every=2.0)
def show_runs() -> None:
    """The runs as they stand on disk, whoever started them."""
    if error := st.session_state.pop("job_error", None):
        st.error(error)
    queue.wake()
    jobs = {job.run.path.name: job for job in queue.jobs()}
    if not jobs:
        st.info("None yet: what you start above appears here, with its loss and its samples.")
        return
    shown = max(SHOWN_JOBS, sum(job.active for job in jobs.values()))
    for job in list(jobs.values())[:shown]:
        show_job(queue, job)
    if len(jobs) > shown:
        with st.expander(f"{len(jobs) - shown} more"):
            for job in list(jobs.values())[shown:]:
                show_job(queue, job)
    if st.session_state.get("run") not in jobs:
        st.session_state.pop("run", None)
    watched = st.selectbox("Watch", list(jobs), key="run", width=320, **BOUND)
    try:
        show_training(jobs[watched])
    except (ValueError, OSError) as error:
        st.warning(f"{watched} cannot be shown: {describe(error)}")


show_runs()
