"""What the logs of runs show: which run is ahead, and on demand all that is logged besides the validation loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.components import BOUND
from pages.components.live_figure import live_figure
from pages.components.runs import given_as, in_training, is_for_lessons, is_fresh, is_own, settled_first
from pipelines.common.command_line import describe
from pipelines.common.text import either, literal
from pipelines.evaluation.logged import Log, lead, unlike
from pipelines.evaluation.results import UNBIASED
from pipelines.figures.training import (
    QUANTITIES,
    loss_by_timestep,
    loss_heat_maps,
    settings_table,
    training_curves,
    validations_by_timestep,
)
from pipelines.storage.catalogue import Listed
from pipelines.storage.config import RunConfig
from pipelines.storage.layout import METRICS
from pipelines.storage.log_columns import calls_of_loss, loss_in_calls
from pipelines.storage.run import Run

HEAT = {"loss": "Loss", "relative": "Loss / latest loss"}
SURE, UNSURE = ":material/check_circle:", ":material/radio_button_unchecked:"


def usual_pair(runs: Mapping[str, Listed]) -> list[str]:
    """Return the runs to show first: one that is interesting now, and the one of the same images that it is best compared with.

    The first of them is being trained, or is the newest of the user's own, or the first of all.
    """
    settled, training = settled_first(runs), in_training(runs)
    own = [name for name, listed in runs.items() if is_own(listed.run) and not is_fresh(listed)]
    chosen = [*training, *sorted(own, key=lambda name: _last_logged(runs[name].run), reverse=True), *settled][0]
    run, config = runs[chosen].run, runs[chosen].config

    def unfit(name: str) -> tuple[bool, ...]:
        other = runs[name]
        related = config.init.init_from == given_as(other.run) or other.config.init.init_from == given_as(run)
        another_kind = other.config.network.takes != config.network.takes
        return bool(unlike(config, other.config)), not related, another_kind, is_for_lessons(other.run)

    alike = [name for name in settled if name != chosen and _images(runs[name].config) == _images(config)]
    pair = [chosen, *sorted(alike, key=unfit)[:1]]
    return pair if training else sorted(pair, key=list(runs).index)


def _last_logged(run: Run) -> float:
    """Return when a run logged something last; 0 if never."""
    try:
        return (run.path / METRICS).stat().st_mtime
    except OSError:
        return 0.0


def _images(config: RunConfig) -> object:
    """Return what says whether two runs see the same images, as do a student and its teacher."""
    return Path(config.data.data).name, config.image_shape, config.is_student


def read_logs(runs: Mapping[str, Listed]) -> list[Log]:
    """Return the logs that can be read and have begun, after saying what is wrong with the others or left out."""
    logs: list[Log] = []
    empty: list[Log] = []
    told = []
    for name, listed in runs.items():
        try:
            _ = listed.run.config  # raises if the run has been deleted
            log = Log(name, listed.config, listed.run.metrics())
            if problem := listed.run.log_problem():
                told.append(f"The log of {name}: {problem}.")
        except (ValueError, OSError) as error:
            told.append(f"{name} cannot be read: {describe(error)}")
            continue
        (logs if len(log.table) else empty).append(log)
    if told:
        st.warning("  \n".join(map(literal, told)))
    if empty:
        st.info(literal(f"Nothing logged yet: {', '.join(log.name for log in empty)}."))
    return logs


def show_lead(logs: Sequence[Log], axis: str) -> None:
    """Say which of the runs has the lower validation loss, by how much and how surely, and which cannot be compared."""
    reasons = {log.name: reason for log in logs[1:] if (reason := unlike(log.config, logs[0].config))}
    found = lead([log for log in logs if log.name not in reasons], axis)
    if found is not None:
        best = literal(found.best)
        text = literal(found).replace(f"loss of {best}", f"loss of **{best}**", 1)
        more = "" if found.sure else " Evaluate measures it more precisely."
        st.markdown(f"{SURE if found.sure else UNSURE} {text}{more}")
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(name for name, why in reasons.items() if why == reason)
        st.caption(literal(f"Not compared with {logs[0].name}: {names}, because {reason}. Evaluate measures all models alike."))


def show_other_curves(
    logs: Sequence[Log],
    axis: str,
    smoothing: float,
    log: Sequence[str],
    groups: Mapping[str, str] | None,
    about: Callable[[], str],
) -> None:
    """Show on demand what else is logged at every few steps."""
    offered = [name for name in QUANTITIES if name != "val_loss" and any(name in one.table for one in logs)]
    titles = ", ".join(QUANTITIES[name] if not number else _inside(QUANTITIES[name]) for number, name in enumerate(offered))
    calls = sorted({calls for one in logs for column in one.table if (calls := calls_of_loss(str(column))) is not None})
    if calls:
        offered += map(loss_in_calls, calls)
        titles += f", {_inside(QUANTITIES['val_loss'])} in {either(calls)} calls"
    more = st.expander(titles, key="optimiser", **BOUND)
    if more.open:
        chart = training_curves({one.name: one.table for one in logs}, offered, axis, smoothing, log, groups)
        with more:
            live_figure(chart, "other_curves", f"{titles} of {', '.join(one.name for one in logs)}", about)
            told = "Faint: logged values. Strong: smoothed. Drag to zoom all charts; double-click to see all."
            st.caption(f"{told} {UNBIASED}" if "kernel_distance" in offered else told)


def _inside(title: str) -> str:
    """Return a title as it is written within a sentence."""
    return title if title.isupper() or title.startswith("PSNR") else title[0].lower() + title[1:]


def show_loss_by_timestep(
    logs: Sequence[Log], axis: str, log: Sequence[str], groups: Mapping[str, str] | None, about: Callable[[], str]
) -> None:
    """Show on demand the validation loss by timestep: over training, and the latest."""
    validated = {one.name: one.table for one in logs if len(validations_by_timestep(one.table))}
    if not validated:
        return
    more = st.expander("Loss by timestep", key="timesteps", **BOUND)
    if not more.open:
        return
    lengths = {one.name: one.config.diffusion.timesteps for one in logs if one.config is not None and one.name in validated}
    left, right = more.columns([3, 2], gap="medium")
    with left:
        color = st.segmented_control(
            "Colour scale", list(HEAT), default="loss", required=True, format_func=HEAT.__getitem__, key="heat", **BOUND
        )
        chart = loss_heat_maps(validated, lengths, axis, log, relative=color == "relative")
        live_figure(chart, "heat_map", f"{HEAT[color]} over training and timestep of {', '.join(validated)}", about)
    with right:
        latest = {name: validations_by_timestep(table)["loss_by_timestep"].iloc[-1] for name, table in validated.items()}
        told = f"Latest loss by timestep of {', '.join(latest)}"
        live_figure(loss_by_timestep(latest, lengths, groups), "by_timestep", told, about)
        st.caption("The latest validation: held-out images, EMA weights, the same noise every time.")


def show_settings(settings: Mapping[str, Mapping[str, Any]], differences: pd.DataFrame) -> None:
    """Show on demand the settings in which the runs differ, and all others."""
    if len(settings) > 1:
        with st.expander(f"Settings that differ ({len(differences)})", key="differences", **BOUND):
            if differences.empty:
                st.caption("None: the chosen runs have the same settings and library versions.")
            else:
                st.table(differences.map(literal).rename(index=literal, columns=literal))
    more = st.expander("All settings", key="settings", **BOUND)
    if more.open:
        more.dataframe(settings_table(settings, only_differences=False))
