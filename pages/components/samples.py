"""The sample grids that runs saved during training."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from pages.components import BOUND
from pages.components.runs import RECONSTRUCTED, show_samples_in
from pipelines.common.text import literal
from pipelines.storage.runs import Run

NEWEST = "newest"  # the position of the slider that follows a live run


def show_samples(chosen: dict[str, Run], autoencoders: Collection[str]) -> None:
    """Show a slider over training steps and, for every run, its newest grids up to the chosen step.

    Args:
        chosen: the runs by name; a run may be deleted meanwhile.
        autoencoders: names of those whose grids are reconstructions.
    """
    grids = {name: run.samples() for name, run in chosen.items()}
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
            rows.append(row if raw.exists() else row[:1])
    if all(len(row) == 1 for row in rows):
        rows = [[picture for row in rows[start : start + 2] for picture in row] for start in range(0, len(rows), 2)]
    for row in rows:
        for (label, name, file), place in zip(row, st.columns(2), strict=False):
            with place:
                show_samples_in(chosen[name], file, label)
                st.caption(literal(f"{label}: {RECONSTRUCTED}" if name in autoencoders else label))
    st.caption("Samples start from the same noise in every run and at every step; EMA weights unless marked as raw.")
