"""Training curves: any runs over each other, live."""

import streamlit as st
from PIL import Image

from pages.components import BOUND
from pages.components.runs import runs_by_name, stop_without_runs
from pipelines.figures import AXES, QUANTITIES, loss_by_timestep, training_curves

st.title("Training curves", anchor=False)
st.markdown("How the runs learnt: loss over training, loss by timestep, and samples on the way.")

runs = runs_by_name(with_weights=False)
stop_without_runs(runs)
names = st.multiselect("Runs", list(runs), default=list(runs)[:2], key="runs", **BOUND)
quantity_column, axis_column, smoothing_column, options_column = st.columns([2, 2, 2, 1], vertical_alignment="bottom")
quantity = quantity_column.selectbox("Quantity", list(QUANTITIES), format_func=QUANTITIES.__getitem__, key="quantity", **BOUND)
axis = axis_column.selectbox("Axis", list(AXES), format_func=AXES.__getitem__, key="axis", **BOUND)
smoothing = smoothing_column.slider("Smoothing: half-life, % of the curve", 0.0, 10.0, 0.5, 0.5, key="smoothing", **BOUND)
with options_column:
    log_y = st.toggle("Log scale", value=True, key="log_y", **BOUND)
    live = st.toggle("Follow live", key="live", help="Read the logs again every two seconds.", **BOUND)
if not names:
    st.info("Choose at least one run.")
    st.stop()


@st.fragment(run_every=2.0 if live else None)
def show() -> None:
    """Curves, loss by timestep and samples of the chosen runs as they are on disk now."""
    chosen, tables = {}, {}
    for name in names:
        try:
            tables[name] = runs[name].metrics()
            chosen[name] = runs[name].config
        except (ValueError, OSError) as error:
            tables.pop(name, None)
            st.warning(f"{name} cannot be read: {error}")
    curves = training_curves(tables, quantity, axis, smoothing / 100, log_y)
    st.plotly_chart(curves, key="curves", alt=f"{QUANTITIES[quantity]} of {', '.join(tables)}")
    if smoothing:
        st.caption("Faint: as logged. Strong: smoothed.")

    left, right = st.columns(2)
    with left:
        st.subheader("Loss by timestep", anchor=False)
        latest = {
            name: table["loss_by_timestep"].dropna().iloc[-1]
            for name, table in tables.items()
            if "loss_by_timestep" in table and table["loss_by_timestep"].notna().any()
        }
        lengths = {name: chosen[name].diffusion.timesteps for name in latest}
        st.plotly_chart(loss_by_timestep(latest, lengths), key="by_timestep", alt="Validation loss by timestep")
        st.caption("The newest validation: held-out images, EMA weights, the same noise every time.")
    with right:
        st.subheader("Samples over training", anchor=False)
        grids = {name: runs[name].samples() for name in chosen}
        steps = sorted({step for samples in grids.values() for step in samples})
        if not steps:
            st.info("No sample grids yet.")
            return
        step = steps[0] if len(steps) == 1 else st.select_slider("Training step", steps, value=steps[-1], key="grid_step")
        for (name, samples), place in zip(grids.items(), st.columns(max(2, len(grids))), strict=False):
            if step in samples:
                with place, Image.open(samples[step]) as grid:
                    enlarged = grid.resize((grid.width * 3, grid.height * 3), Image.Resampling.NEAREST)
                    st.image(enlarged, width="stretch", alt=f"Samples of {name} at training step {step}")
                    st.caption(f"{name}, step {step}: the same noise at every step")


show()
