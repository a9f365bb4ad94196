"""The weight averages that runs have kept: how loss and distance depend on the half-life, and a way to compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import BOUND
from pages.components.glossary import term
from pages.components.live_figure import live_figure
from pages.components.requests import usual_request
from pages.components.sharing import address_of
from pages.components.usual_inputs import open_page
from pipelines.evaluation.averages import distances_by_half_life, losses_by_half_life
from pipelines.evaluation.logged import Log
from pipelines.evaluation.results import Evaluation
from pipelines.figures.averages import distances_by_length, losses_by_length
from pipelines.figures.captions import about_runs
from pipelines.storage.catalogue import Listed

MOST_COLUMNS = 4  # of Compare


def show_averages(runs: Mapping[str, Listed], logs: Sequence[Log]) -> None:
    """Show on demand what the length of the average changes, for one of the runs that have kept several."""
    kept = {log.name: losses for log in logs if len(losses := losses_by_half_life(log))}
    if not kept:
        return
    more = st.expander("Length of the weight average (EMA)", key="averages", **BOUND)
    if not more.open:
        return
    with more:
        name = next(iter(kept))
        if len(kept) > 1:
            name = st.segmented_control("Model", list(kept), default=name, required=True, key="averages_of", **BOUND)
        _show_averages(name, runs[name], kept[name])


def _show_averages(name: str, listed: Listed, losses: pd.DataFrame) -> None:
    usual = listed.config.optimizer.ema_half_life
    there = {usual: listed} | {each.config.optimizer.ema_half_life: each for each in listed.averages}
    evaluations = {each: Evaluation(one.run, name=f"{each}", config=one.config) for each, one in there.items()}
    measured, distances = distances_by_half_life(evaluations)
    st.markdown(_finding(losses, usual))
    title, about = f"Weight averages of {name}", partial(about_runs, {name: listed.run})
    left, right = st.columns(2, gap="medium") if distances else (st.container(), None)
    with left:
        live_figure(losses_by_length(losses, usual), "losses_by_length", f"{title}: validation loss", about)
    if right is not None:
        with right:
            live_figure(distances_by_length(distances, usual), "distances_by_length", f"{title}: Fréchet distance", about)
    ramp_up = listed.config.optimizer.ema_ramp_up
    told = [f"Half-lives are at most {ramp_up:.0%} of the images seen by then.".replace("%", " %")] if ramp_up < 1 else []
    told += ["The scale leaves out the largest losses: double-click to see all."]
    told += [f"Distance: {measured}."] if measured else []
    st.caption(" ".join(told), help=term("EMA"))
    if listed.averages:
        with st.container(horizontal=True):
            if st.button("Compare them from the same noise", icon=":material/compare:"):
                open_page("compare", beside_each_other(name, listed, losses))
            if st.button("See their figures", icon=":material/analytics:"):
                open_page("evaluate", {"runs": [name]})


def _finding(losses: pd.DataFrame, usual: int) -> str:
    """Return a sentence on which average has the lowest loss, beside the usual one and the raw weights."""
    step = losses.index[-1]
    last = dict(zip(map(int, losses.columns), losses.iloc[-1].tolist(), strict=True))
    best = min(last, key=last.__getitem__)
    names = {1: "the raw weights", usual: f"the usual average, {usual:,} images"}
    first = {1: "the **raw weights** have", usual: f"the usual average, **{usual:,} images**, has"}
    best_named = first.get(best, f"the average of **{best:,} images** has")
    told = f"At step {step:,.0f} {best_named} the lowest validation loss, {last[best]:.4f}"
    others = [f"{words} {last[each]:.4f}" for each, words in names.items() if each != best and each in last]
    return f"{'; '.join([told, *others])}."


def beside_each_other(name: str, listed: Listed, losses: pd.DataFrame) -> dict[str, list[str]]:
    """Return the address of Compare that shows averages of a run side by side: the shortest, best, usual and longest one.

    Args:
        name: the run's name in the list of models.
        losses: of its averages (see :func:`pipelines.evaluation.averages.losses_by_half_life`).
    """
    usual = listed.config.optimizer.ema_half_life
    there = sorted({usual, *(each.config.optimizer.ema_half_life for each in listed.averages)})
    best = min(there, key=losses.iloc[-1].reindex(there, fill_value=np.inf).__getitem__)
    shown = sorted({there[0], best, usual, there[-1]})[:MOST_COLUMNS]
    address = {"columns": [str(len(shown))]}
    for number, each in enumerate(shown, start=1):
        address |= address_of(name if each == usual else f"{name}-ema-{each}", usual_request(listed.config), str(number))
    return address
