"""Showing a trajectory: what it tells in a sentence, the player, cross-attention, and the lengths of the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from pages.components import wants
from pages.components.live_figure import live_figure
from pages.components.picture_table import picture_table
from pages.components.player import player
from pages.components.saving import save_figure
from pipelines.common.images import Pixels, add_titles, enlarge, gif_bytes, heat, montage, mp4_bytes
from pipelines.common.indices import evenly_spaced
from pipelines.common.text import literal
from pipelines.figures.pictures import trajectory_strip
from pipelines.figures.sampling import step_lengths
from pipelines.figures.sheet import Row, Sheet
from pipelines.sampling.trajectory import NOISE_RANGE, Trajectory

PLAYER = "player"  # key of the player
CAPTIONS = ("State x_t", "Estimate of x0", "Predicted noise", "Effect of the condition")
MAPS = 6  # number of timesteps whose attention is shown
IMAGE_SHARE = 0.35  # weight of the x0 estimate under an attention map
FRAMES_PER_SECOND = 8
LONGEST_SHOW = 5  # seconds for which the player plays many frames
GAP = 2  # pixels between the images of a frame in a GIF or MP4
EXPORT_SIDE = 192  # minimum side of an image in a GIF or MP4, in pixels


def show_trajectory(way: Trajectory, image: int, title: str, about: Callable[[], str]) -> None:
    """Show one image of a trajectory: what it tells, and the player. Call it in a fragment.

    Args:
        about: returns which model made it, and how, for captions of saved figures.
    """
    st.subheader(literal(title), anchor=False)
    st.markdown(message(way, image))
    captions = CAPTIONS[: 3 if way.change is None else 4]
    player(
        way.pictures(image),
        way.labels,
        PLAYER,
        alt=f"{', '.join(captions)} of {title}",
        captions=captions,
        facts=facts_of(way),
        start=0,
        play=True,
        frames_per_second=max(FRAMES_PER_SECOND, len(way.steps) / LONGEST_SHOW),
        times=way.timesteps.tolist(),
    )
    st.caption(
        ("State and noise are latents, shown as channels side by side. " if way.of_latents else "")
        + "Values outside the image range are clipped to black and white. Predicted noise: black and white are "
        f"∓{NOISE_RANGE:.0f} standard deviations; the sample has none left."
        + ("" if way.change is None else f" Effect of the condition: {about_change(way, image)}.")
    )
    show_downloads(way, image, captions, about)


def show_details(way: Trajectory, image: int, about: Callable[[], str]) -> None:
    """Show how far each step moved, marked where the player is, and cross-attention."""
    show_attention(way, image, about)
    moved = {"state x_t": way.moved[:, image], "estimate of x0": way.moved_x0[:, image]}
    charts = [step_lengths(moved, marked=int(step)) for step in way.steps]
    told = "Length of each step of the state and of the estimate of x0"
    live_figure(charts[0], "moved", told, about, follows=PLAYER, frames=charts)
    st.caption(
        "Length of each step: root mean square over all {}. Dotted line: the frame shown.".format(
            "latents, which have standard deviation 1" if way.of_latents else "pixels, which range from −1 to 1"
        )
    )


def message(way: Trajectory, image: int) -> str:
    """Return what the trajectory shows, in a sentence: how soon the estimate of x0 is near the sample."""
    left = way.distance_left(image)
    if not left.any():
        return "The first estimate of x0 is already the sample."
    half, tenth = (int(np.argmax(left <= share)) for share in (0.5, 0.1))
    told = f"Of {way.steps[-1]} steps, **{way.steps[half]} bring the estimate of x0 halfway to the sample**"
    told += f" ({way.labels[half]})."
    if tenth > half:
        told += f" After {way.steps[tenth]}, less than a tenth of the distance is left ({way.labels[tenth]})."
    return told


def about_change(way: Trajectory, image: int) -> str:
    """Return what the picture of the condition's effect shows."""
    largest = way.largest_change(image)
    return f"x0 with it minus x0 without it; black: none, brightest: {largest / 255:.0%} of the range" if largest else "none"


def show_attention(way: Trajectory, image: int, about: Callable[[], str]) -> None:
    """Show cross-attention maps of every word over the x0 estimate, at some timesteps from noise to sample."""
    if way.attention is None or not way.words:
        return
    st.subheader("Cross-attention maps", anchor=False)
    frames = evenly_spaced(len(way.steps) - 1, MAPS)  # the last frame, the sample, has no attention
    attention = way.attention[frames, image].astype(float)
    brightest = float(attention.max())
    maps = heat((attention[..., None] * (255 / brightest)).round().astype(np.uint8))  # (frames, words, H, W, 3)
    pictures = (IMAGE_SHARE * way.x0[frames, image][:, None] + (1 - IMAGE_SHARE) * maps).round().astype(np.uint8)
    shares = attention.mean(axis=(0, 2, 3))
    columns = [f"{word} {share:.0%}" for word, share in zip(way.words, shares, strict=True)]
    rows = [(way.labels[frame], list(row)) for frame, row in zip(frames, pictures, strict=True)]
    picture_table(columns, rows, "Cross-attention of every word at some timesteps", widest=7)

    def sheet() -> Sheet:
        caption = f"Cross-attention of every word over the estimate of x0. {about()}"
        return Sheet(tuple(Row(*row) for row in rows), len(columns), tuple(columns), caption)

    with st.container(horizontal=True, horizontal_alignment="right"):
        save_figure(sheet, "attention")
    st.caption(
        "Rows: timesteps. Columns: words with their share of all attention, between the text encoder's start and end tokens. "
        f"Brightest: a pixel gives the word {brightest:.0%} of its attention (mean over heads and layers). Underneath: the "
        "estimate of x0."
    )


def facts_of(way: Trajectory) -> list[dict[str, str]]:
    """Return the noise level of each frame, and the network calls up to it."""
    levels = zip(way.timesteps, way.alpha, way.sigma, way.log_snr, way.nfe, strict=True)
    return [
        {
            "Timestep": f"{t:.0f}",
            "alpha": f"{alpha:.3f}",
            "sigma": f"{sigma:.3f}",
            "log-SNR": f"{log_snr:.2f}" if math.isfinite(log_snr) else "∞" if log_snr > 0 else "−∞",
            "Network calls": f"{nfe}",
        }
        for t, alpha, sigma, log_snr, nfe in levels
    ]


def show_downloads(way: Trajectory, image: int, captions: Sequence[str], about: Callable[[], str]) -> None:
    """Show download buttons for the played frames, with ``captions`` above their pictures."""

    def frames() -> list[Pixels]:
        pictures = way.pictures(image)
        factor = 2 * -(-EXPORT_SIDE // (2 * pictures.shape[2]))
        sheets = [montage(parts, len(parts), GAP)[GAP:-GAP, GAP:-GAP] for parts in pictures]
        return [
            add_titles(enlarge(sheet, factor), [f"{captions[0]}, {label}", *captions[1:]])
            for sheet, label in zip(sheets, way.labels, strict=True)
        ]

    def gif() -> bytes:
        return gif_bytes(frames(), [1000 // FRAMES_PER_SECOND] * (len(way.steps) - 1) + [1500])

    downloads = st.container(horizontal=True)
    downloads.download_button(
        "GIF", gif, "noisescope-trajectory.gif", "image/gif", on_click="ignore", icon=":material/gif_box:"
    )
    downloads.download_button(
        "MP4",
        lambda: mp4_bytes(frames(), FRAMES_PER_SECOND),
        "noisescope-trajectory.mp4",
        "video/mp4",
        on_click="ignore",
        icon=":material/movie:",
        **wants("video"),
    )
    with downloads:
        save_figure(lambda: trajectory_strip(way, image, captions, about()), "trajectory", "Save film strip", quiet=False)
