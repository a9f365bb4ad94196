"""Showing a trajectory: the player, and beside it the numbers and distances of the frame that it shows."""

from __future__ import annotations

import math

import streamlit as st

from pages.components.live_figure import live_figure
from pages.components.pictures import background
from pages.components.player import player
from pipelines.figures import step_lengths
from pipelines.images import Pixels, enlarge, gif_bytes, mp4_bytes
from pipelines.trajectory import NOISE_RANGE, Trajectory

CAPTIONS = ("State x_t", "Estimate of x0", "Predicted noise")
FRAMES_PER_SECOND = 8
EXPORT_SIDE = 128  # pixels that an image has at least in a GIF or MP4


def show_trajectory(way: Trajectory, image: int, title: str) -> None:
    """One image of a trajectory; call it in a fragment, which then follows the player."""
    st.subheader(title, anchor=False)
    player_column, numbers_column = st.columns([4, 3], gap="large")
    with player_column:
        frame = player(
            way.pictures(image, background()),
            way.labels,
            "player",
            alt=f"{', '.join(CAPTIONS)} of {title}",
            captions=CAPTIONS,
            frames_per_second=FRAMES_PER_SECOND,
        )
        st.caption(
            f"Values outside the range of images are clipped to black and white. Predicted noise: black and white are "
            f"∓{NOISE_RANGE:.0f} standard deviations; nothing is left to predict in the sample."
        )
        show_downloads(way, image)
    with numbers_column:
        show_numbers(way, frame)
        moved = {"state x_t": way.moved[:, image], "estimate of x0": way.moved_x0[:, image]}
        chart = step_lengths(moved, marked=int(way.steps[frame]))
        live_figure(chart, "moved", "How far each step moved the state and the estimate of x0")
        st.caption("How far each step moved: root mean square over all pixels, which run from −1 to 1. The dotted line: now.")


def show_numbers(way: Trajectory, frame: int) -> None:
    """The noise level of a frame, and what it has cost so far."""
    log_snr = way.log_snr[frame]
    numbers = {
        "Timestep": f"{way.timesteps[frame]:.0f}",
        "alpha": f"{way.alpha[frame]:.3f}",
        "sigma": f"{way.sigma[frame]:.3f}",
        "log-SNR": f"{log_snr:.2f}" if math.isfinite(log_snr) else "∞" if log_snr > 0 else "−∞",
        "Network calls": f"{way.nfe[frame]}",
    }
    cells = "".join(
        f'<div><dt style="font-size:0.875rem">{name}</dt><dd style="margin:0;font-size:1.35rem">{value}</dd></div>'
        for name, value in numbers.items()
    )
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(5.5rem,1fr));gap:8px;font-variant-numeric:tabular-nums"
    st.html(f'<dl style="margin:0;padding:0;{grid}">{cells}</dl>')


def show_downloads(way: Trajectory, image: int) -> None:
    """What is played, as files."""

    def frames() -> list[Pixels]:
        return [enlarge(picture, 2 * -(-EXPORT_SIDE // (2 * picture.shape[0]))) for picture in way.pictures(image)]

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
    )
