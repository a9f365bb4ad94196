"""Submitting comparisons and drawing them while they grow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.asking import may_encode
from pages.components.title_mark import title_mark
from pages.components.visitors import keep_in_mind, refuse_beyond_bounds
from pipelines.common.command_line import describe
from pipelines.common.images import Pixels
from pipelines.common.picture_metrics import mean_squared_error, structural_similarity
from pipelines.common.text import counted, duration, in_short, literal
from pipelines.figures.training import settings_table
from pipelines.sampling.alignment import frame_at, shared_log_snrs
from pipelines.sampling.generation import Comparison, Frame, Generation, Wish
from pipelines.sampling.queue import GenerationQueue, Job
from pipelines.storage.run import Run

VIEWS = {"x": "Noisy state x_t", "x0": "Estimate of x0"}
LOOKS = 0.15, 1.0  # minimum and maximum seconds between polls of a growing comparison
SOON = 1.0  # seconds that a job is waited for before the page shows how it grows


@cache  # not Streamlit's, which any browser can ask the server to empty
def generation_queue() -> GenerationQueue:
    """Return the server's single queue, in which sessions take turns on the device."""
    return GenerationQueue()


def somebody_there() -> Callable[[], bool]:
    """Return a thread-safe function that says whether this session's browser is still connected."""
    context = get_script_run_ctx()
    if context is None:
        return lambda: True
    return lambda: not runtime.exists() or runtime.get_instance().is_active_session(context.session_id)


def pixels(frame: Frame, view: str) -> Pixels:
    """Return the frame's images in the chosen view, (N, H, W, C)."""
    return frame.x if view == "x" else frame.x0


def start(key: str, wishes: Sequence[Wish], about: Any) -> bool:
    """Submit a comparison as :func:`submit` does, and return whether it was."""
    return submit(key, lambda: Comparison.of(wishes), about, [run for run, *_ in wishes])


def recall(key: str, make: Callable[[], Job], about: Any) -> bool:
    """Show a job as :func:`submit` does if all of its results are cached, and return whether they are.

    A job that is being computed is left alone.
    """
    if key in st.session_state and st.session_state[key][1].active:
        return False
    try:
        job = make()
    except (ValueError, OSError):  # whoever presses the button learns what is wrong
        return False
    if not job.recall(generation_queue().results):
        return False
    job.status = "done"
    keep_in_mind(job)
    st.session_state[key] = (about, job)
    return True


def submit(key: str, make: Callable[[], Job], about: Any, runs: Sequence[Run]) -> bool:
    """Submit a job on these runs that replaces this session's earlier job under the same key; return whether it was submitted.

    ``st.session_state[key]`` becomes (about, job). If the job cannot be created, it is deleted and the error is shown. If it
    would need a text encoder that is not on this machine, the user is asked first.
    """
    if key in st.session_state:
        st.session_state.pop(key)[1].cancel()  # a new request replaces the old one
    try:
        if not may_encode(runs):
            return False
        job = make()
        refuse_beyond_bounds(job, len(generation_queue()))
        job.wanted = somebody_there()
        st.session_state[key] = (about, generation_queue().submit(job))
    except (ValueError, OSError) as error:
        st.error(literal(f"This cannot be generated: {describe(error)}."))
        return False
    _await_soon(key, job)
    return True


def _await_soon(key: str, job: Job) -> None:
    """Wait for a job and say what it does, as long as its end may be about a second away and no other job comes first.

    A page that watches it grow is drawn many times by the server and the browser, on the cores that the networks need: a job of
    a few network calls would take twice as long.
    """
    queue, place, begun, said = generation_queue(), st.empty(), time.monotonic(), -math.inf
    while key in st.session_state and job.active and queue.position(job) == 0:  # or until the user does something else
        now, left = time.monotonic(), job.seconds_left  # unknown before the second step
        if (now - begun if left is None else left) > SOON:
            break
        if now - said > SOON / 2:  # each time the browser goes through the whole page
            place.caption(activity(job))
            said = now
        queue.wait(job, LOOKS[0])
    place.empty()


def pace(comparison: Comparison) -> float:
    """Return the seconds between polls of a growing comparison: about as long as every column takes to grow by one frame.

    Every poll makes the browser update the whole page, which takes much of a small processor away from the networks.
    """
    growing = [column for column in comparison.columns if not column.finished]
    seconds = sum(column.seconds / max(1, len(column.frames) - 1) for column in growing)  # the first frame, noise, is free
    least, most = LOOKS
    return min(max(seconds, least), most)


def show_growing(
    job: Job, draw: Callable[[], None], pace: Callable[[Any], float] = pace, done: str = "Done: all images are generated."
) -> None:
    """Draw a job repeatedly while it grows, and say so when it is done; nothing is computed here."""
    growing, seconds = job.active, pace(job)

    @st.fragment(run_every=seconds if growing else None)
    def show() -> None:
        if growing and (job.seconds_left or math.inf) < seconds:
            generation_queue().wait(job, seconds)  # rather than look once more, after its end
        if growing and (not job.active or pace(job) > 2 * seconds):
            if job.status == "done":
                st.toast(done, icon=":material/check:")
            st.rerun()  # rerun the whole page, which then polls less often or not at all
        draw()

    show()


def frame_of(column: Generation, level: float | None) -> Frame | None:
    """Return the frame at a noise level, or the newest for None; None before the first frame."""
    if not column.frames:
        return None
    return column.frames[-1] if level is None else frame_at(column.frames, level)


def blank(count: int, shape: tuple[int, int, int]) -> Pixels:
    """Return ``count`` grey placeholder images, (N, H, W, C), for images of a shape (C, H, W)."""
    channels, height, width = shape
    return np.full((count, height, width, channels), 128, np.uint8)


def draw_progress(job: Job) -> None:
    """Show a progress bar with the current activity or queue position, and a Cancel button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.progress(job.share_done, activity(job))
        st.button("Cancel", on_click=job.cancel, icon=":material/stop:")
    title_mark(job.share_done)


def activity(job: Job) -> str:
    """Return what an active job is doing and the time left, or its position in the queue."""
    if job.status == "queued":
        position = generation_queue().position(job)
        return f"Waiting: {position} ahead of you" if position else "Starting: loading the models"
    if job.preparing:
        return job.preparing
    seconds = job.seconds_left
    left = "" if seconds is None else f" · about {duration(max(1, seconds))} left"
    return f"{job.doing}: {job.steps_done} of {job.num_steps} steps{left}"


def draw_notes(job: Job, cancelled: str) -> None:
    """Show a job's error or cancellation, and the notes on its result.

    Args:
        cancelled: what to do after a cancellation.
    """
    if job.status == "failed":
        st.error(literal(f"Generation failed: {job.error}"))
    elif job.status == "cancelled":
        st.warning(f"Cancelled. {cancelled}")
    for note in job.notes:
        st.warning(literal(note[0].upper() + note[1:]))


def frame_label(frame: Frame, column: Generation) -> str:
    """Return the label of a frame in a film strip or below a grid."""
    return "sample" if frame.index == column.num_steps else f"t = {frame.timestep:.0f}"


def level_label(log_snr: float) -> str:
    """Return the label of a noise level."""
    return ("sample" if log_snr > 0 else "pure noise") if math.isinf(log_snr) else f"{round(log_snr, 1) + 0.0:.1f}"


def level_name(log_snr: float) -> str:
    """Return the name of a noise level in the address."""
    return ("sample" if log_snr > 0 else "noise") if math.isinf(log_snr) else f"{log_snr:.2f}"


def what_differs(names: list[str], comparison: Comparison) -> pd.DataFrame:
    """Return the settings that differ between columns, one row per setting, training settings of the models included."""
    settings = {}
    for number, (name, column) in enumerate(zip(names, comparison.columns, strict=True), start=1):
        own = {"model": name, "seed": column.request.seed, "training seed": column.config.seed}
        settings[f"Column {number}"] = {"model": name} | asdict(column.request) | asdict(column.config) | own
    return settings_table(settings).rename_axis("Setting")


def cost(column: Generation) -> str:
    """Return the cost of a generation so far, in one line; its rate and memory are known at the end."""
    parts = [
        f"{in_short(column.num_parameters)} parameters" if column.num_parameters else "loading",
        counted(column.nfe, "network call"),
        f"{column.seconds:.1f} s",
    ]
    if column.finished:
        parts += [f"{column.images_per_second:.1f} images/s", f"{column.peak_memory / 2**20:.0f} MiB of memory"]
    return " · ".join(parts)


def comparable(one: Generation, other: Generation, view: str) -> bool:
    """Return whether two generations have equally many images of the same shape in the same space for this view.

    States may be pixels or the latents of different autoencoders.
    """
    alike = (one.image_shape, one.request.num_images) == (other.image_shape, other.request.num_images)
    return alike and (view == "x0" or one.config.latent.latent_fingerprint == other.config.latent.latent_fingerprint)


def _distance(shown: Frame, reference: Frame, view: str) -> tuple[float, float]:
    """Return the MSE and SSIM between two frames in a view; SSIM is NaN for images too small for its window."""
    images, others = pixels(shown, view), pixels(reference, view)
    small = min(images.shape[1:3]) < 11
    return mean_squared_error(images, others), math.nan if small else structural_similarity(images, others)


@lru_cache(maxsize=4)  # few, because cached comparisons keep all their pictures in memory
def distances(comparison: Comparison, view: str) -> dict[int, pd.DataFrame]:
    """Return each column's distances from the first at every noise level (log_snr, MSE, SSIM), by column number from 1.

    Args:
        comparison: one that has ended.
    """
    first, *others = comparison.columns
    levels = shared_log_snrs(comparison.columns)
    tables = {}
    for number, column in enumerate(others, start=2):
        if comparable(first, column, view) and first.frames and column.frames:
            rows = [
                (level, *_distance(frame_at(column.frames, level), frame_at(first.frames, level), view)) for level in levels
            ]
            tables[number] = pd.DataFrame(rows, columns=["log_snr", "MSE", "SSIM"])
    return tables
