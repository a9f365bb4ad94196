"""Forward: the forward process on an image, timestep by timestep, under any two noise schedules."""

import numpy as np
import streamlit as st

from diffusion_core.choices import SCHEDULES
from pages.components import BOUND, end_page
from pages.components.carried import left_out, picture_key
from pages.components.glossary import term
from pages.components.heading import heading
from pages.components.live_figure import live_figure
from pages.components.named_choice import choose_named
from pages.components.pictures import show_grid
from pages.components.player import TIMESTEP, frame_in_address, player
from pages.components.saving import save_figure
from pages.components.sharing import show_sharing
from pages.components.sources import carry_upload, choose_image, is_upload
from pipelines.common.indices import evenly_spaced
from pipelines.common.picture_files import open_picture
from pipelines.datasets.decoding import fit_image
from pipelines.figures.process import pixel_histograms, schedule_curves
from pipelines.figures.sheet import Row, Sheet
from pipelines.sampling.repeat import PICTURE, forward_script

LEAST_PIXELS, MOST_PIXELS = 8, 128  # side length: the noise of single pixels should be visible
ON_PAPER = 8  # timesteps of the strip for papers
STRIDE = 20  # timesteps between frames of the player; the strip shows every fifth frame
FIRST = 300  # timestep shown at first: the schedules differ, and both still show the image

actions = heading("forward")

pictures, curves, settings = st.columns([4, 4, 3], gap="medium")
with settings, st.container(border=True):
    picture_place = st.container()
    chosen = {}
    for letter, default in zip("AB", ("cosine", "linear"), strict=True):
        name = choose_named(f"Schedule {letter}", SCHEDULES, default, f"schedule_{letter}")
        chosen[letter] = (
            name,
            st.toggle(
                "Rescale to zero terminal SNR", key=f"zero_terminal_snr_{letter}", help=term("zero terminal SNR"), **BOUND
            ),
        )
    about = "Independent of the noise from which images are sampled, also with the same seed."
    seed = st.number_input("Noise seed", 0, 2**31 - 1, 0, key="noise_seed", help=about, **BOUND)
    with picture_place:
        picture = choose_image()
    if picture is None:
        end_page()

import torch  # noqa: E402  (not needed before an image is chosen)

from diffusion_core.noise import ForwardNoise  # noqa: E402
from diffusion_core.process import add_noise  # noqa: E402
from diffusion_core.schedules import make_schedule  # noqa: E402
from pipelines.common.images import as_input, to_uint8  # noqa: E402

schedules = {}
for letter, (name, terminal) in chosen.items():
    schedule = make_schedule(name, zero_terminal_snr=terminal)
    schedules[f"{letter}: {schedule.name}"] = schedule
last = schedule.num_timesteps - 1

image = open_picture(picture)
pixels = np.array(fit_image(image, min(MOST_PIXELS, max(min(image.size), LEAST_PIXELS)), "crop"))
carry_upload(pixels if pixels.ndim == 3 else pixels[..., None])
x0 = as_input(torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None])
noise = ForwardNoise(int(seed), tuple(x0.shape[1:]), [0]).initial()
times = np.minimum(np.arange(0, last + STRIDE, STRIDE), last)
states = {  # (frames, C, H, W) by schedule
    name: add_noise(schedule, x0.expand(len(times), -1, -1, -1), noise, torch.from_numpy(times))
    for name, schedule in schedules.items()
}
frames = np.stack([to_uint8(x_t) for x_t in states.values()], axis=1)
tables = {
    name: {
        "alpha": schedule.alpha.numpy(),
        "sigma": schedule.sigma.numpy(),
        "log-SNR": schedule.log_snr.numpy(),
        "beta": schedule.betas.numpy(),
    }
    for name, schedule in schedules.items()
}
labels = [f"t = {time}" for time in times]
usual = np.abs(times - int(st.session_state.get(TIMESTEP, FIRST))).argmin()  # a lesson sets it
start = int(usual if (asked := frame_in_address(times.tolist())) is None else asked)


def about_noise() -> str:
    """Return where the noise comes from, for captions of saved figures."""
    return f"Noise from seed {seed}."


def strip() -> Sheet:
    """Return the film strip below for paper, with as many timesteps as can be seen there."""
    shown = evenly_spaced(len(times), ON_PAPER)
    rows = tuple(Row(name, list(to_uint8(x_t[shown]))) for name, x_t in states.items())
    return Sheet(rows, len(shown), tuple(labels[i] for i in shown), f"A picture under both schedules. {about_noise()}")


@st.fragment
def show() -> None:
    """Show the player."""
    alt = "The image under both schedules"
    player(frames, labels, "forward", alt=alt, captions=list(states), start=start, times=times.tolist())


with pictures:
    show()
    st.caption("The same image and noise under two schedules: press play to see which one destroys the image first.")
    histograms = [pixel_histograms({name: x_t[i].numpy().ravel() for name, x_t in states.items()}) for i in range(len(times))]
    about = "Pixel histograms of both images, with the density of N(0, 1)"
    live_figure(histograms[start], "histograms", about, about_noise, follows="forward", frames=histograms)
    st.caption("The pixel distribution of x_t approaches the standard normal density (grey). Bars are cut off at density 1.")
with curves, st.container(key="details"):
    marked = [schedule_curves(tables, t) for t in times.tolist()]
    about = f"alpha, sigma, log-SNR and beta of {', '.join(tables)}, with the timestep marked"
    live_figure(marked[start], "schedules", about, follows="forward", frames=marked)
    st.caption(
        "Dots mark t. log-SNR = log(alpha²/sigma²): equal values mean equally noisy images; it is −∞ where alpha is 0. "
        "beta = 1 − alpha²[t]/alpha²[t−1] is the share of the signal's variance that one step removes. "
        "Variance-preserving schedules add as much noise variance (flow does not)."
    )

st.subheader("From image to noise", anchor=False)
show_grid(
    np.concatenate([to_uint8(x_t[::5]) for x_t in states.values()]),
    f"The image at {len(times[::5])} timesteps from 0 to {last}, one row per schedule",
    columns=len(times[::5]),
)
with st.container(horizontal=True, horizontal_alignment="right"):
    save_figure(strip, "forward")
st.caption(f"Rows: {', '.join(states)}. Left to right: t = {', '.join(map(str, times[::5]))}.")
with actions:
    python = forward_script(list(chosen.values()), int(seed), STRIDE, last, len(pixels))
    missing = left_out([picture_key()]) if is_upload() else ""
    show_sharing("forward", {}, python=python, files={PICTURE: picture}, left_out=missing)
