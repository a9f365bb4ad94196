"""The sample grids that runs saved during training."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from pages.components import BOUND
from pages.components.runs import RECONSTRUCTED, is_autoencoder, show_samples_in, warn_of_samples
from pipelines.common.text import literal
from pipelines.storage.catalogue import Listed
from pipelines.storage.files import is_file

NEWEST = "newest"  # the position of the slider that follows a live run


def show_samples(chosen: Mapping[str, Listed]) -> None:
    """Show a slider over training steps and, for every run, its newest grids up to the chosen step."""
    grids = {}
    for name, listed in chosen.items():
        try:
            grids[name] = listed.run.samples()
        except OSError as error:
            warn_of_samples(name, error)
    steps = sorted({step for samples in grids.values() for step in samples})
    if not steps:
        st.info("No sample grids yet.")
        return
    stops = [*map(str, steps[:-1]), NEWEST]
    wanted = NEWEST
    if len(stops) > 1:
        wanted = st.select_slider("Training step", stops, value=NEWEST, key="grid_step", **BOUND)
    rows = []  # of (label, run's name, file): a run's EMA and raw grids side by side, or two runs if none has raw grids
    for name, samples in grids.items():
        reached = [step for step in samples if wanted == NEWEST or step <= int(wanted)]
        if reached:
            file = samples[reached[-1]]
            raw = file.with_name(f"{file.stem}-raw.png")
            label = f"{name}, step {reached[-1]}"
            row = [(label, name, file), (f"{label}, raw weights", name, raw)]
            rows.append(row if is_file(raw) else row[:1])
    if all(len(row) == 1 for row in rows):
        rows = [[picture for row in rows[start : start + 2] for picture in row] for start in range(0, len(rows), 2)]
    for row in rows:
        for (label, name, file), place in zip(row, st.columns(2), strict=False):
            with place:
                config = chosen[name].config
                show_samples_in(config, file, label)
                st.caption(literal(f"{label}: {RECONSTRUCTED}" if is_autoencoder(config) else label))
    st.caption("Samples start from the same noise in every run and at every step; EMA weights unless marked as raw.")
