"""Evaluate: which run is best and how surely, what quality costs, how two of them differ; the rest on demand."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from pages.components import BOUND, end_page, wants
from pages.components.copies import show_copies
from pages.components.heading import heading
from pages.components.measuring import show_measuring
from pages.components.results import (
    choose_samples,
    show_likelihood,
    show_losses,
    show_ranking,
    show_scatter,
    show_table,
)
from pages.components.runs import is_for_lessons, models_to_choose
from pages.components.verdicts import show_verdict
from pipelines.common.command_line import describe
from pipelines.common.public import is_public
from pipelines.common.text import literal
from pipelines.evaluation.job import EvaluationJob
from pipelines.evaluation.results import Evaluation
from pipelines.evaluation.tables import csv_text, samples_table

actions = heading("evaluate")


def read_evaluations() -> tuple[dict[str, Evaluation], list[Evaluation]]:
    """Return the results of the chosen runs, by name, and those of their other weight averages."""
    models = models_to_choose(averages=False)  # they are shown with their run
    data = {name: model.config.data.data for name, model in models.items()}
    same_data = [name for name in data if data[name] == next(iter(data.values()))]
    same_data = [name for name in same_data if not is_for_lessons(models[name].run)] or same_data
    names = st.multiselect(
        "Runs", list(models), same_data, wrap=True, key="runs", label_visibility="collapsed", placeholder="Choose runs", **BOUND
    )
    evaluations, averages = {}, []
    for name in names:
        try:
            run, config = models[name].run, models[name].config
            evaluations[name] = Evaluation(run, name=name, config=config)
            kept = run.half_lives[1:]
            averages += [Evaluation(run.average(other), name=f"{name}, EMA {other:,}", config=config) for other in kept]
        except (ValueError, OSError) as error:
            st.warning(literal(f"{name}: {describe(error)}"))
    return evaluations, averages


def report_of(measured: Sequence[Evaluation]) -> str:
    """Return the report, whose figures Matplotlib draws."""
    from pipelines.figures.report import report

    return report(measured)


def show_downloads(measured: Sequence[Evaluation]) -> None:
    """Show buttons that save all results beside the title."""
    with actions:
        st.download_button(
            "Report (HTML)", partial(report_of, measured), "noisescope-evaluation.html", "text/html",
            on_click="ignore", icon=":material/description:",
            **wants("paper", help="One page with all results, for a browser or a printer."),
        )  # fmt: skip
        st.download_button(
            "Table (CSV)", lambda: csv_text(samples_table(measured)), "noisescope-evaluation.csv", "text/csv",
            on_click="ignore", icon=":material/table:",
        )  # fmt: skip


evaluations, averages = read_evaluations()
missing = [name for name, evaluation in evaluations.items() if not evaluation.results]
measured = [evaluation for evaluation in (*evaluations.values(), *averages) if evaluation.results]
order = [evaluation.name for evaluation in measured]
if not is_public():
    job = EvaluationJob()
    with actions if measured and not missing and not job.running and not job.error else st.container():
        show_measuring({name: evaluation.run for name, evaluation in evaluations.items()}, missing)
elif missing:
    st.info(literal(f"Not evaluated: {', '.join(missing)}."))
if not measured:
    end_page()
show_downloads(measured)
table = samples_table(measured)
if len(table):
    shown, figure, cost = choose_samples(table)
    left, right = st.columns(2, gap="large")
    with left:
        ranked = [one for one in measured if one.name in set(shown["run"])]
        show_ranking(ranked, shown["judge"].iloc[0], figure, order)
    with right:
        show_scatter(measured, shown, figure, cost, order)
    show_table(shown)
show_verdict(measured)
show_losses(measured, order)
show_likelihood(measured)
show_copies(measured)
