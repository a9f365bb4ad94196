"""Forward: what noise does to an image, timestep by timestep."""

import numpy as np
import streamlit as st

from pages.components import BOUND
from pages.components.pictures import show_grid, show_image
from pages.components.sources import choose_image
from pipelines.figures import pixel_histogram, schedule_curves

STRIP_LENGTH = 11

st.title("Forward", anchor=False)
st.markdown(r"The forward process mixes an image with noise: $x_t = \alpha_t\,x_0 + \sigma_t\,\varepsilon$.")

image = choose_image()  # (H, W, C) uint8, or the page has stopped with a sentence

import torch  # noqa: E402  (not before there is an image)

from diffusion_core.noise import SeededNoise  # noqa: E402
from diffusion_core.process import add_noise  # noqa: E402
from diffusion_core.schedules import SCHEDULES, make_schedule  # noqa: E402
from pipelines.images import to_uint8  # noqa: E402

schedule_column, terminal_column, seed_column = st.columns([2, 2, 1], vertical_alignment="bottom")
name = schedule_column.selectbox("Schedule", list(SCHEDULES), index=list(SCHEDULES).index("cosine"), key="schedule", **BOUND)
terminal = terminal_column.toggle("Rescale to zero terminal SNR", key="zero_terminal_snr", **BOUND)
seed = seed_column.number_input("Seed of the noise", 0, 2**31 - 1, 0, key="noise_seed", **BOUND)
schedule = make_schedule(name, zero_terminal_snr=terminal)
last = schedule.num_timesteps - 1
t = st.slider("Timestep t", 0, last, last // 2, key="t", **BOUND)

x0 = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
noise = SeededNoise(int(seed), tuple(x0.shape[1:]), [0]).initial()
x_t = add_noise(schedule, x0, noise, t)
alpha, sigma = (level.item() for level in schedule.at(t))
log_snr = round(float(schedule.log_snr[t]), 1) + 0.0  # no −0.0

clean_column, noisy_column, histogram_column = st.columns([1, 1, 2])
with clean_column:
    show_image(image, alt="The clean image", width=260)
    st.caption("x_0: the image")
with noisy_column:
    show_image(to_uint8(x_t)[0], alt=f"The image noised to timestep {t}", width=260)
    st.caption(f"x_t at t = {t}: alpha {alpha:.3f}, sigma {sigma:.3f}, log-SNR {log_snr}")
with histogram_column:
    histogram = pixel_histogram(x_t.flatten().numpy())
    st.plotly_chart(histogram, key="histogram", alt="Histogram of the pixels of x_t beside the density of N(0, 1)")

times = np.linspace(0, last, STRIP_LENGTH).round().astype(int)
strip = to_uint8(torch.cat([add_noise(schedule, x0, noise, int(time)) for time in times]))
show_grid(strip, f"The image at {STRIP_LENGTH} timesteps from {times[0]} to {times[-1]}", columns=STRIP_LENGTH)
st.caption(f"Left to right: t = {', '.join(map(str, times))}.")

st.subheader("Schedules", anchor=False)
overlaid = st.multiselect("Overlay", list(SCHEDULES), default=list(SCHEDULES), key="overlay", **BOUND)
tables = {schedule.name: schedule} | {other: make_schedule(other) for other in overlaid if other != schedule.name}
curves = {key: (table.alpha.numpy(), table.sigma.numpy()) for key, table in tables.items()}
st.plotly_chart(schedule_curves(curves, marked=t), key="schedules", alt="alpha, sigma and log-SNR of the chosen schedules")
st.caption("The dotted line marks t. Where alpha reaches 0 the log-SNR has no value: pure noise.")
