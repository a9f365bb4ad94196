"""Training curves: which run is ahead, the validation losses and what they lead to, live."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

import streamlit as st

from pages.components import BOUND, end_page
from pages.components.averages import show_averages
from pages.components.foreign_logs import as_logs, offer_logs, read_foreign, show_taken_for
from pages.components.glossary import term
from pages.components.heading import heading
from pages.components.live_figure import live_figure
from pages.components.logs import read_logs, show_lead, show_loss_by_timestep, show_other_curves, show_settings, usual_pair
from pages.components.runs import known_runs, show_unusable
from pages.components.samples import PLAYER, show_samples
from pipelines.common.text import literal
from pipelines.evaluation.logged import ALONG as COMPARED
from pipelines.evaluation.logged import Log, judged_alike
from pipelines.evaluation.results import NEAR
from pipelines.figures.captions import about_runs
from pipelines.figures.training import AXES, settings_table
from pipelines.figures.validation import COPIES, DIFFERENCE, at_steps, leaves_out, validation_curves
from pipelines.storage.foreign_logs.terms import ForeignLog

ALONG = {"step": "Steps", "images_seen": "Images", "seconds": "Time"}
SCALES = {"x": "x-axis", "y": "y-axis"}
EVERY_RUN = "run"

actions = heading("training_curves")

catalogue = known_runs()
runs = catalogue.runs
show_unusable(catalogue.problems)
if not runs:
    st.info("No runs yet. Train one: `python -m pipelines.train --data fashion_mnist --unet attention`")
    end_page()
usual = usual_pair(runs)
names = st.multiselect("Runs", list(runs), usual, key="runs", label_visibility="collapsed", placeholder="Choose runs", **BOUND)
paths, files = offer_logs(actions)
live = actions.toggle("Follow live", key="live", help="Reload the logs every two seconds.", **BOUND)
if not (names or paths or files):
    st.info("Choose at least one run.")
    end_page()
settings = {name: asdict(runs[name].config) for name in names}
differences = settings_table(settings)


def choose_axes() -> tuple[str, list[str], Mapping[str, str] | None, float]:
    """Return the x axis, the logarithmic axes, each run's group and the smoothing, as chosen above the curves."""
    with st.container(horizontal=True, vertical_alignment="center"):
        axis = st.segmented_control(
            "x-axis", list(AXES), default="step", required=True, format_func=ALONG.__getitem__, key="axis",
            label_visibility="collapsed", width="content", **BOUND,
        )  # fmt: skip
        with st.popover("Axes and colours", icon=":material/tune:"):
            log = st.pills(
                "Log scale", list(SCALES), selection_mode="multi", format_func=SCALES.__getitem__, key="log", **BOUND
            )
            group = st.selectbox("Colour by", [EVERY_RUN, *differences.index], key="group", **BOUND)
            smoothing = st.slider(
                "Smoothing of training loss and gradient norm", 0.0, 10.0, 0.5, 0.5, format="%.1f %%", key="smoothing",
                help="Half-life of the moving average, as a share of the longest curve.", **BOUND,
            )  # fmt: skip
    return axis, log, None if group == EVERY_RUN else differences.loc[group].to_dict(), smoothing / 100


def about(logs: Sequence[Log], foreign: Mapping[str, ForeignLog]) -> Callable[[], str]:
    """Return what says where the curves come from, for captions of saved figures."""
    return partial(
        about_runs, {one.name: runs[one.name].run for one in logs}, {name: log.kind for name, log in foreign.items()}
    )


@st.fragment(run_every=2.0 if live else None)
def show() -> None:
    """Show the chosen runs as they are on disk now."""
    problems = st.container()  # its own container: a later warning must not recreate the figures
    with problems:
        logs = read_logs({name: runs[name] for name in names})
        foreign = read_foreign(paths, files, list(runs))
    logs, left_out = judged_alike(logs)
    drawn, told = [*logs, *as_logs(foreign)], about(logs, foreign)
    if not drawn:
        return
    message = st.container()
    left, right = st.columns([3, 2], gap="medium")
    with right:
        shown = show_samples({log.name: runs[log.name] for log in logs}, logs)
    with left:
        axis, log, groups, smoothing = choose_axes()
        groups = groups and {**groups, **dict.fromkeys(foreign, "other software")}
        with message:
            show_lead(logs, axis if axis in COMPARED else "step")
        show_validation(drawn, axis, log, groups, shown, told)
        show_taken_for(foreign)
    show_other_curves(drawn, axis, smoothing, log, groups, told)
    if left_out:
        st.caption(literal(left_out))
    show_loss_by_timestep(logs, axis, log, groups, about(logs, {}))
    show_averages({one.name: runs[one.name] for one in logs}, logs)


def show_validation(
    logs: list[Log],
    axis: str,
    log: list[str],
    groups: Mapping[str, str] | None,
    shown: Mapping[int, Mapping[str, int]],
    about: Callable[[], str],
) -> None:
    """Show the validation losses, and how they differ from the first run's, with marks at the steps of the samples shown."""
    chart = validation_curves(logs, axis, log, groups)
    configs = [one.config for one in logs if one.config is not None]
    if not chart.panels:
        steps = min((config.log.eval_every for config in configs), default=None)
        st.info("No validation was logged." if steps is None else f"No validation yet: the first comes at step {steps:,}.")
        return
    frames = at_steps(chart, logs, shown, axis, groups)
    title = f"Validation loss of {', '.join(one.name for one in logs)}"
    live_figure([chart, *frames][-1], "curves", title, about, follows=PLAYER, frames=frames, printed=chart)
    told = "The scale leaves out part of the first tenth of training: double-click to see all, drag to zoom."
    told = told if leaves_out(chart) else "Drag to zoom, double-click to see all."
    titles = [panel.title for panel in chart.panels]
    if any(title.startswith(DIFFERENCE) for title in titles):
        told += f" Below 0: lower than {literal(logs[0].name)}. Bands: 95 % intervals of the difference "
        told += "on held-out images; what another training seed would change is not in them."
    if any(config.is_student for config in configs):
        told += " Of a student: the mean absolute difference of its samples from its teacher's, from the same noise."
    if not all(config.is_student for config in configs):
        told += " Home and Evaluate give the held-out loss instead, which is measured in v for all models alike."
    st.caption(told, help=term("Validation loss"))
    if COPIES in titles:
        told = f"{NEAR} Dotted: these 5 %."
        if compared := sorted({config.log.compared_samples for config in configs if config.log.compared_samples}):
            told += f" Shares here are of {' or '.join(map(str, compared))} samples; Evaluate measures others."
        st.caption(told, help=term("Copies"))


show()
if names:
    show_settings(settings, differences)
