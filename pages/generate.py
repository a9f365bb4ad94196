"""Generate: a table of samples for classes or prompts, with and without guidance, or by several models."""

from dataclasses import replace

import streamlit as st

from pages.components import BOUND
from pages.components.condition_choice import choose_columns, choose_rows, same_conditions, too_many
from pages.components.condition_table import ConditionTable, settings_of, show_table, start_table
from pages.components.heading import heading
from pages.components.named_choice import choose_model
from pages.components.prompt_words import show_learnt
from pages.components.requests import choose_negative, choose_noise, choose_sampler, choose_seed, choose_when_to_guide
from pages.components.runs import is_conditional, models_to_choose
from pages.components.sharing import share_table
from pipelines.sampling.own_steps import as_learnt
from pipelines.sampling.request import SamplingRequest

actions = heading("generate")

models = models_to_choose(
    is_conditional, "No conditional model yet: train one on the Train page with the network **class** or **text**."
)

with settings_of("table"):
    what_column, how_column = st.columns(2, gap="medium")
    with what_column:
        name = choose_model(models, next(iter(models)))
        config = models[name].config
        rows = choose_rows(config.condition)
        negative = {}
        if config.network.takes == "text":
            show_learnt(config, [prompt for _, row in rows for prompt in row["prompt"]])
            negative = choose_negative()
    with how_column:
        columns = choose_columns(name, same_conditions(name, models))
        num_images = int(st.number_input("Images per cell", 1, 64, 4, key="images_a_cell", **BOUND))
    with st.expander("Sampler, seed, guidance interval"):
        sampler_column, noise_column, guidance_column = st.columns(3, gap="medium")
        with sampler_column:
            sampler = choose_sampler(config)
        with noise_column:
            seed = choose_seed()
            noise = choose_noise(models[name].run, sampler["sampler"])
        with guidance_column:
            when = choose_when_to_guide()

problem = too_many(len(rows), len(columns), num_images)
common = SamplingRequest(num_images, seed, **sampler, **noise, **when, **negative)
cells = [
    (models[model].run, as_learnt(replace(common, **row, **column), models[model].config))
    for _, row in rows
    for _, model, column in columns
]
table = ConditionTable([row for row, _ in rows], [column for column, *_ in columns], "Every cell starts from the same noise")
outdated = start_table("table", table, cells, problem)
if problem:
    st.warning(problem)
show_table("table", outdated)
with actions:
    share_table("generate", "table", {"model": [name]})
