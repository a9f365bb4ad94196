"""Edit: vary, inpaint, outpaint or interpolate pictures, or change the condition they were made for."""

from typing import Any

import streamlit as st

from pages.components.condition_choice import too_many
from pages.components.condition_table import ConditionTable, settings_of, show_table, start_table
from pages.components.editing import TRACED_STEPS, WAYS, choose_way, left_out_of_link
from pages.components.heading import heading
from pages.components.named_choice import choose_model
from pages.components.requests import (
    choose_noise,
    choose_sampler,
    choose_seed,
    choose_steps,
    choose_when_to_guide,
)
from pages.components.runs import models_to_choose
from pages.components.sharing import share_table
from pipelines.sampling.request import SamplingRequest

actions = heading("edit")

models = models_to_choose()
model_column, way_column = st.columns([2, 3], gap="medium")
name = choose_model(models, next(iter(models)), place=model_column)
run, config = models[name].run, models[name].config
with way_column:
    kind = choose_way(config)
way = WAYS[kind]

with settings_of("edited"):
    way_place = st.container()
    common: dict[str, Any] = {}
    with st.expander("Sampler, seed" if way.free else "Steps"):
        if way.free:
            sampler_column, noise_column = st.columns(2, gap="medium")
            with sampler_column:
                common |= choose_sampler(config)
                common["seed"] = choose_seed()
            with noise_column:
                common |= choose_noise(run, common["sampler"])
        else:
            common["steps"] = choose_steps(config, "_traced", TRACED_STEPS)
            st.caption("The sampler is DDIM, which can be inverted.")
        if config.network.conditional and (way.free or way.conditional):
            common |= choose_when_to_guide()
    with way_place:
        edit = way.ask(config, name)
    common |= edit.common

problem = edit.problem or too_many(len(edit.rows), len(edit.columns), common["num_images"])
cells = [(run, SamplingRequest(**(common | row)), origin) for _, row in edit.rows for _, origin in edit.columns]
table = ConditionTable([row for row, _ in edit.rows], [column for column, _ in edit.columns], edit.about, edit.original)
outdated = start_table("edited", table, cells, problem)
if problem:
    st.info(problem)
show_table("edited", outdated)
with actions:
    share_table("edit", "edited", {"model": [name], "edit": [kind]}, left_out_of_link(kind))
