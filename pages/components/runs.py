"""Choosing runs."""

from __future__ import annotations

import streamlit as st

from pipelines.runs import Run, find_runs


def runs_by_name(with_weights: bool) -> dict[str, Run]:
    """The runs at hand by name; a user's run that shares its name with a published one is called runs/<name>.

    Args:
        with_weights: leave out those that have not saved weights yet.
    """
    runs: dict[str, Run] = {}
    for run in find_runs():
        if run.has_weights or not with_weights:
            runs[run.name if run.name not in runs else f"{run.path.parent.name}/{run.name}"] = run
    return runs


def stop_without_runs(runs: dict[str, Run]) -> None:
    """End the page with what to do when there is no run to show."""
    if not runs:
        st.info("No runs yet. Train one: `python -m pipelines.train --data fashion_mnist --unet attention`")
        st.stop()
