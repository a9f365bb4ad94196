"""Reverse: the trajectory of one image, from noise, from between two seeds, or from an image."""

import numpy as np
import streamlit as st

from diffusion_core.choices import SAMPLERS
from pages.components import BOUND, end_page
from pages.components.carried import left_out, picture_key
from pages.components.generation import draw_notes, draw_progress, recall, show_growing, submit
from pages.components.glossary import term
from pages.components.heading import heading
from pages.components.named_choice import choose_model
from pages.components.pictures import show_grid, show_image
from pages.components.player import begin_anew
from pages.components.requests import (
    MAX_SEED,
    choose_condition,
    choose_noise,
    choose_sampler,
    choose_seed,
    choose_when_to_guide,
)
from pages.components.runs import models_to_choose
from pages.components.sharing import Result, show_sharing, thumbnail
from pages.components.sources import carry_upload, choose_image, is_upload
from pages.components.starting import draw_start
from pages.components.trajectory import show_details, show_trajectory
from pages.components.xray import WANTED, point_to_xray, show_xray
from pipelines.common.command_line import describe
from pipelines.common.images import png_bytes
from pipelines.common.text import counted, literal
from pipelines.figures.captions import about_samples
from pipelines.sampling.fitting import colour_note, fit_picture
from pipelines.sampling.origins import FROM_NOISE, BetweenSeeds, FromPicture, Origin
from pipelines.sampling.repeat import Made
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.trajectory import TrajectoryJob

NOISE, SEEDS, IMAGE = "Noise", "Between two seeds", "An image"
SECONDS_BETWEEN_LOOKS = 0.3
WEIGHTS = tuple(float(weight) for weight in np.linspace(0, 1, 9))

actions = heading("reverse")

models = models_to_choose()

result, settings = st.columns([5, 2], gap="medium")
with result:
    start_place = st.container()
with settings, st.container(border=True):
    name = choose_model(models, next(iter(models)))
    run, config = models[name].run, models[name].config
    condition = choose_condition(config, in_turn=False)
    kind = st.segmented_control("Start from", [NOISE, SEEDS, IMAGE], default=NOISE, required=True, key="start", **BOUND)
    picture_place = st.container()
    picture, other_seed, strength = None, 1, 0.5
    if kind == IMAGE:
        about = "Strength: how much noise is added first"
        strength = st.slider(about, 0.0, 1.0, strength, 0.05, key="strength", help=term("strength"), **BOUND)
    sampler = choose_sampler(config)
    seed_column, number_column = st.columns(2)
    with seed_column:
        seed = choose_seed()
    number = int(number_column.number_input("Image number", 0, MAX_SEED, 0, key="number", **BOUND))
    if kind == SEEDS:
        other_seed = int(st.number_input("Second seed", 0, MAX_SEED, other_seed, key="other_seed", **BOUND))
    with st.expander("More settings"):
        noise = choose_noise(run, sampler["sampler"])
        if condition:
            condition |= choose_when_to_guide()
    if kind == IMAGE:
        with picture_place:
            file = choose_image(model=name)
            if file is None:
                end_page()
            try:
                picture = fit_picture(file, config)
                carry_upload(picture)
            except ValueError as error:
                st.error(literal(f"This image cannot be used: {describe(error)}"))
                end_page()
            show_image(picture, alt="The image to start from", width=150)
            if note := colour_note(file, config):
                st.caption(f":material/info: {note}")

images: tuple[int, ...] = (number,)
origin: Origin = FROM_NOISE
told_start = f"image {number} of seed {seed}"
if kind == SEEDS:
    images = tuple(range(len(WEIGHTS)))
    origin = BetweenSeeds(other_seed, WEIGHTS, number)
    told_start = f"image {number} between seeds {seed} and {other_seed}"
elif picture is not None:
    origin = FromPicture(png_bytes(picture), strength)
    told_start = f"an image at strength {strength:g}, noise {number} of seed {seed}"
request = SamplingRequest(len(images), seed, **sampler, **noise, **condition)
told = request.label or "".join(request.prompt)
asked = f"{name}: " + ", ".join(filter(None, [told, told_start]))


def make() -> TrajectoryJob:
    """Return the job that computes what is asked for."""
    return TrajectoryJob(run, request, images, origin)


shown = "reverse" in st.session_state
known = shown and st.session_state["reverse"][1].is_of(run, request, images, origin)
if not known and recall("reverse", make, asked):
    known = True
    if shown:
        begin_anew()
with start_place:
    unfinished = known and st.session_state["reverse"][1].status in ("cancelled", "failed")
    wishes = [] if known and not unfinished else [(run, request, origin)]
    pressed = draw_start("reverse", "Denoise", wishes, make, outdated=shown and not known)
    wanted = st.session_state.pop(WANTED, False) and not known  # by a link of the Compare page
    if (pressed or wanted) and submit("reverse", make, asked, [run]):
        if shown:
            begin_anew()
        st.rerun()
    if "reverse" in st.session_state:
        point_to_xray()
if "reverse" not in st.session_state:
    with result:
        st.info("Press **Denoise** to start.", icon=":material/arrow_upward:")
    with actions:
        show_sharing("reverse", {"model": [name]})
    end_page()

title, job = st.session_state["reverse"]
image = 0
if job.way is not None and job.way.x.shape[1] > 1:
    with result:
        show_grid(job.way.x[-1], f"Samples between two seeds, at {len(WEIGHTS)} weights", columns=len(WEIGHTS))
        weight = st.select_slider("Weight of the second seed", WEIGHTS, 0.5, key="weight", **BOUND)
        st.caption("Samples from the first seed (left) to the second (right). Below: the trajectory of the chosen weight.")
        image = WEIGHTS.index(weight)


def about_trajectory() -> str:
    """Return which model made the trajectory, and how, for captions of saved figures."""
    return f"{about_samples(job.run.name, job.fingerprint, job.request)}."


def draw() -> None:
    """Draw the progress, or the trajectory; called again while it is computed, and when the player rests."""
    if job.active:
        draw_progress(job)
    draw_notes(job, "Press Denoise to start again.")
    if job.way is not None:
        show_trajectory(job.way, image, title, about_trajectory)


with result:
    show_growing(job, draw, lambda _: SECONDS_BETWEEN_LOOKS)
if job.way is not None:
    show_details(job.way, image, about_trajectory)
    show_xray(job, image, about_trajectory)

with actions:
    kept = None
    if job.status == "done":
        told = f"{SAMPLERS[job.request.sampler].title}, {counted(job.request.steps, 'step')}"
        kept = Result(f"Reverse, {title}", told, thumbnail([job.way.x[-1]]))
    missing = left_out([picture_key()]) if kind == IMAGE and is_upload() else ""
    show_sharing("reverse", {"model": [name]}, [Made(job.run, job.request, job.origin, job.images)], kept, left_out=missing)
