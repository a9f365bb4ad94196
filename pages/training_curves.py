"""Training curves: the logs of any runs in the same charts, live."""

from dataclasses import asdict

import streamlit as st

from pages.components import BOUND
from pages.components.heading import heading
from pages.components.live_figure import live_figure
from pages.components.runs import is_autoencoder, known_runs, show_unusable
from pages.components.samples import show_samples
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.figures.training import (
    AXES,
    QUANTITIES,
    RECONSTRUCTION,
    loss_by_timestep,
    loss_heat_maps,
    settings_table,
    training_curves,
    validations_by_timestep,
)

ALONG = {"step": "Steps", "images_seen": "Images", "seconds": "Time"}
SCALES = {"x": "x-axis", "y": "y-axis"}
HEAT = {"loss": "Loss", "relative": "Loss / latest loss"}
EVERY_RUN = "run"

heading("training_curves")

catalogue = known_runs()
runs = catalogue.runs
show_unusable(catalogue.problems)
if not runs:
    st.info("No runs yet. Train one: `python -m pipelines.train --data fashion_mnist --unet attention`")
    st.stop()
names_column, live_column = st.columns([6, 1], vertical_alignment="bottom")
names = names_column.multiselect("Runs", list(runs), default=list(runs)[:2], key="runs", **BOUND)
live = live_column.toggle("Follow live", key="live", help="Reload the logs every two seconds.", **BOUND)
if not names:
    st.info("Choose at least one run.")
    st.stop()
configs = {name: runs[name].config for name in names}
settings = {name: asdict(config) for name, config in configs.items()}
differences = settings_table(settings)
objectives = {(config.model, config.diffusion, config.latent.latent_fingerprint) for config in configs.values()}

autoencoders = {name for name, config in configs.items() if is_autoencoder(config)}
offered = [quantity for quantity in QUANTITIES if autoencoders or quantity not in RECONSTRUCTION]
with st.container(horizontal=True, gap="medium"):
    quantities = st.pills(
        "Curves", offered, selection_mode="multi", default=offered, format_func=QUANTITIES.__getitem__,
        key="quantities", width="content", wrap=True, **BOUND,
    )  # fmt: skip
    axis = st.segmented_control(
        "x-axis", list(AXES), default="step", required=True, format_func=ALONG.__getitem__, key="axis", width="content", **BOUND
    )
    log = st.pills(
        "Log scale",
        list(SCALES),
        selection_mode="multi",
        default=["y"],
        format_func=SCALES.__getitem__,
        key="log",
        width="content",
        **BOUND,
    )
    group = st.selectbox("Colour by", [EVERY_RUN, *differences.index], key="group", width=180, **BOUND)
    smoothing = st.slider(
        "Smoothing", 0.0, 10.0, 0.5, 0.5, format="%.1f %%", key="smoothing", width=180,
        help="Half-life of the moving average, as a share of the longest curve.", **BOUND,
    )  # fmt: skip
groups = None if group == EVERY_RUN else differences.loc[group].to_dict()


@st.fragment(run_every=2.0 if live else None)
def show() -> None:
    """Show the curves, samples and loss by timestep of the chosen runs, as they are on disk now."""
    problems = st.container()  # its own container: a later warning must not recreate the figures
    tables, left_out = {}, []
    for name in configs:
        try:
            _ = runs[name].run.config  # raises if the run has been deleted
            tables[name] = runs[name].run.metrics()
            if problem := runs[name].run.log_problem():
                left_out.append(literal(f"The log of {name}: {problem}."))
        except (ValueError, OSError) as error:
            problems.warning(literal(f"{name} cannot be read: {describe(error)}"))
    if left_out:
        problems.warning("  \n".join(left_out))
    if not any(len(table) for table in tables.values()):
        problems.info("Nothing logged yet.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        if quantities:
            figure = training_curves(tables, quantities, axis, smoothing / 100, log, groups)
            live_figure(figure, "curves", f"{', '.join(QUANTITIES[key] for key in quantities)} of {', '.join(tables)}")
            st.caption("Faint: logged values. Strong: smoothed. Drag to zoom all charts; double-click to reset.")
            if len(objectives) > 1:
                st.info("These runs minimise different losses, which are not comparable. Evaluate measures all runs alike.")
        else:
            st.info("Choose at least one curve to show.")
    with right:
        st.subheader("Samples over training", anchor=False)
        show_samples({name: runs[name] for name in tables})

    validated = {name: table for name, table in tables.items() if len(validations_by_timestep(table))}
    st.subheader("Loss by timestep", anchor=False)
    if not validated:
        st.info("No loss by timestep yet (autoencoders have none)." if autoencoders else "No validation yet.")
        return
    lengths = {name: configs[name].diffusion.timesteps for name in validated}
    left, right = st.columns([3, 2], gap="medium")
    with left:
        color = st.segmented_control(
            "Colour scale", list(HEAT), default="loss", required=True, format_func=HEAT.__getitem__, key="heat", **BOUND
        )
        figure = loss_heat_maps(validated, lengths, axis, log, relative=color == "relative")
        live_figure(figure, "heat_map", f"{HEAT[color]} over training and timestep of {', '.join(validated)}")
    with right:
        latest = {name: validations_by_timestep(table)["loss_by_timestep"].iloc[-1] for name, table in validated.items()}
        live_figure(loss_by_timestep(latest, lengths, groups), "by_timestep", f"Latest loss by timestep of {', '.join(latest)}")
        st.caption("The latest validation: held-out images, EMA weights, the same noise every time.")


show()

st.subheader("Settings that differ", anchor=False)
if len(configs) < 2:
    st.caption("Choose at least two runs to compare their settings.")
elif differences.empty:
    st.caption("None: the chosen runs have the same settings and library versions.")
else:
    st.table(differences.map(literal).rename(index=literal, columns=literal))
with st.expander("All settings"):
    st.dataframe(settings_table(settings, only_differences=False))
