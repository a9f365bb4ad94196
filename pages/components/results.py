"""What an evaluation found: the ranking of runs, quality against cost, losses and likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from diffusion_core.choices import LEARNED
from pages.components import BOUND
from pages.components.glossary import term
from pages.components.live_figure import live_figure
from pipelines.common.text import literal
from pipelines.evaluation.judging import paired_losses
from pipelines.evaluation.ranking import loss_differences, ranking, ranking_sentence, settings_to_rank
from pipelines.evaluation.results import FIGURES, MAIN_FIGURES, NEAR, NEAREST_IS_BEST, Evaluation
from pipelines.evaluation.tables import readable_table
from pipelines.figures.captions import about_measured, about_runs, sentences
from pipelines.figures.cost import (
    COSTS,
    FLOOR,
    SERIES,
    STARS,
    best_against_cost,
    comparison,
    quality_against_cost,
)
from pipelines.figures.evaluation import bound_terms, loss_bands, loss_gaps, newest, ranking_bars

# The metrics' entries in the glossary.
ENTRIES = FIGURES | {"agreement": "Agreement", "closer_than_held_out": "Copies", "frechet_at_infinity": "FD∞"}
SIZES = "Samples are compared with real images of their own size, so figures of different sizes cannot be compared."
USUAL = "one series for each run and sampler, and for learned spacings, at the usual number of samples"
FEWER = f"Otherwise {USUAL}; the others have, say, another guidance."
BEST = f"Otherwise the best of each model at every cost, of {USUAL}."
LOSSES = {"difference": "Difference", "loss": "Loss"}


def choose_samples(table: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    """Let the user choose what is shown; return the part of the table that can be compared, the figure and the cost.

    Args:
        table: see :func:`pipelines.evaluation.tables.samples_table`.
    """
    chosen_runs = list(dict.fromkeys(table["run"]))
    with st.container(horizontal=True, vertical_alignment="top"):
        datasets = list(dict.fromkeys(table["data"]))
        if len(datasets) > 1:  # distances to different images are not comparable
            chosen = st.segmented_control(
                "Dataset", datasets, default=datasets[0], required=True, format_func=literal, key="measured_data", **BOUND
            )
            table = table[table["data"] == chosen]
        sizes = sorted(set(table["size"]), key=lambda size: (len(size), size))
        if len(sizes) > 1:  # nor are distances to images of other sizes, even of the same dataset
            usual = table.drop_duplicates("run")["size"].mode()[0]
            size = st.segmented_control("Image size", sizes, default=usual, required=True, key="measured_size", **BOUND)
            table = table[table["size"] == size]
        judges = list(dict.fromkeys(table["judge"]))
        if len(judges) > 1:  # nor are distances in different features
            judge = st.segmented_control(
                "Features", judges, default=judges[0], required=True, format_func=literal, key="judge", **BOUND
            )
            table = table[table["judge"] == judge]
        known = [name for name in FIGURES if table[name].notna().any()]
        costs = [name for name in COSTS if table[name].notna().any()]
        figure = st.selectbox("Metric", known, format_func=FIGURES.__getitem__, key="figure", width=340, **BOUND)
        cost = st.segmented_control(
            "Cost per image", costs, default="network_calls", required=True, format_func=COSTS.__getitem__, key="cost", **BOUND
        )
    if len(sizes) > 1:
        st.caption(SIZES)
    if left_out := [run for run in chosen_runs if run not in set(table["run"])]:
        st.caption(literal(f"Not shown, since measured on other images or in other features: {', '.join(left_out)}."))
    return table, figure, cost


def show_ranking(evaluations: Sequence[Evaluation], judge: str, figure: str, order: Sequence[str]) -> None:
    """Say which run is best in a figure and which are surely worse, in a judge's features, and draw bars with intervals."""
    st.subheader("Which is best?", anchor=False, help=term("Interval"))
    settings = settings_to_rank(evaluations, judge)
    name = next(iter(settings))
    if len(settings) > 1:
        name = st.selectbox("Samples", settings, format_func=literal, key="ranked", **BOUND)
    setting, members = settings[name]
    ranked = ranking(members, setting, figure)
    if not ranked:
        st.info("This metric was not measured on these samples.")
        return
    if len(ranked) > 1:
        best = literal(ranked[0].name)
        st.markdown(literal(ranking_sentence(ranked, figure)).replace(best, f"**{best}**", 1))
    told = f"{FIGURES[figure]} of {', '.join(one.name for one in ranked)}"
    live_figure(ranking_bars(ranked, figure, order), "ranking", told, _about(members, name))
    left_out = [one.name for one in evaluations if one.name not in {own.name for own in ranked}]
    told = (
        f"{FIGURES[figure]}: {_inside(term(ENTRIES[figure]))} {name}; bars end at the measured value, with its 95 % interval."
    )
    if figure == "closer_than_held_out":
        told += f" {NEAR}"
    if len(ranked) > 2:
        told += f" Surely: with 95 % confidence for all {ranked[0].pairs} pairs at once."
    if any(one.behind is not None and one.behind.paired for one in ranked):
        told += " The runs' samples start from the same noise, so a difference can be sure although intervals overlap."
    if any(one.config.is_student for one in members):
        told += " Students sample in their own steps."
    if left_out:
        told += f" Not measured with these samples and the same real images: {', '.join(left_out)}."
    st.caption(literal(told))


def _inside(sentence: str) -> str:
    """Return a sentence as it is written after a colon."""
    return sentence[0].lower() + sentence[1:]


def _about(evaluations: Sequence[Evaluation], *more: str) -> Callable[[], str]:
    """Return what says where figures come from, for captions of saved ones."""
    return lambda: sentences([about_runs({one.name: one.run for one in evaluations}), *more])


MANY = 8  # series in a figure, of which only the usual ones are drawn at first


def usual_series(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one series for each run and sampler: at the usual number of samples, and with most points.

    The learned spacing has a series of its own.

    Args:
        table: see :func:`pipelines.evaluation.tables.samples_table`.
    """
    usual = table["images"].mode()[0]
    kept = []
    for _, own in table.groupby(["run", "sampler", table["spacing"] == LEARNED], sort=False):
        series = [rows for _, rows in own.groupby(SERIES, sort=False)]
        kept.append(max(series, key=lambda rows: (rows["images"].iloc[0] == usual, len(rows))))
    return pd.concat(kept)


def _has_best(table: pd.DataFrame, figure: str, cost: str, series: int) -> bool:
    """Return whether the best of each run can stand for its series: of several runs, at costs that can be compared."""
    ordered = figure not in NEAREST_IS_BEST and (cost != "seconds" or table["machine"].nunique() == 1)
    return ordered and series > table["run"].nunique() > 1


def show_scatter(evaluations: Sequence[Evaluation], table: pd.DataFrame, figure: str, cost: str, order: Sequence[str]) -> None:
    """Draw the quality of samples against their cost: of several runs the best of each at every cost, the rest on demand."""
    st.subheader("What does quality cost?", anchor=False, help=term("Pareto front"))
    total = table.groupby(["run", "sampler", *SERIES]).ngroups
    best = _has_best(table, figure, cost, total)
    usual = usual_series(table) if best or total > MANY else table
    fewer = best or len(usual) < len(table)
    if fewer and st.toggle(f"All {total} series", key="all_series", help=BEST if best else FEWER, **BOUND):
        best = False
    else:
        table = usual
    about = _about([one for one in evaluations if one.name in set(table["run"])], about_measured(table), comparison(table))
    alt = f"{FIGURES[figure]} over {COSTS[cost]} per image"
    draw = best_against_cost if best else quality_against_cost
    live_figure(draw(table, figure, cost, order), "quality", alt, about)
    told = "Lines: the best of each model at every cost; point at one to see how it was sampled. " * best
    told += f"{literal(comparison(table))} Bars: 95 % intervals. {FLOOR}"
    if table["student"].any():
        told += f" {STARS}"
    if table[f"{figure}_decoded"].notna().any():
        told += " Dashed: real images after the autoencoder; the detail that it loses is out of reach for a latent model."
    if cost == "network_calls" and table[cost].duplicated().any():
        told += " Points with equally many calls stand side by side."
    if cost == "seconds" and table["machine"].nunique() > 1:
        told += " The times were measured on different machines (see the table) and are not comparable."
    st.caption(told)


def show_table(table: pd.DataFrame) -> None:
    """Show on demand all figures of all samples."""
    more = st.expander("All figures as a table", key="all_figures", **BOUND)
    if not more.open:
        return
    more.dataframe(readable_table(table, MAIN_FIGURES), hide_index=True, width="stretch")
    others = [name for name in FIGURES if name not in MAIN_FIGURES]
    if table[others].notna().any(axis=None):
        more.markdown("Diversity, and the Fréchet distance without its bias:")
        more.dataframe(readable_table(table, others), hide_index=True, width="stretch")
        told = " ".join(f"{FIGURES[name]}: {_inside(term(ENTRIES[name]))}" for name in others)
        more.caption(
            f"{told} Coverage and Vendi score depend on the number of samples; with fewer than 30, the Vendi score has no "
            "interval that holds, and the distance cannot be extrapolated with fewer than three samples per feature."
        )


def show_losses(measured: Sequence[Evaluation], order: Sequence[str]) -> None:
    """Show on demand the loss by noise level, as the difference from the first run where both were measured alike."""
    losses = newest(measured, "loss")
    if not losses:
        return
    with st.expander("Loss by noise level", key="by_level", **BOUND) as more:
        if more.open:
            _show_loss([one for one in measured if one.name in losses], order)


def show_likelihood(measured: Sequence[Evaluation]) -> None:
    """Show on demand the bound on the likelihood."""
    bounds = newest(measured, "bound")
    if not bounds:
        return
    with st.expander("Likelihood", key="likelihood", **BOUND) as more:
        if not more.open:
            return
        live_figure(bound_terms(bounds), "bound", "Bits per dimension, split into the terms of the bound", _about(measured))
        without = ", ".join(one.name for one in measured if one.name not in bounds)
        st.caption(
            f"{term('Bits per dimension')} With 95 % intervals. Every model is measured at the same log-SNRs, so models with "
            "different noise schedules can be compared, but not images of different sizes."
            + (f" Not measured, or of latents: {literal(without)}." if without else "")
        )


def _show_loss(measured: Sequence[Evaluation], order: Sequence[str]) -> None:
    first, differences = measured[0].name, loss_differences(measured)
    wanted = "loss"
    if differences:
        wanted = st.segmented_control(
            "Shown", list(LOSSES), default="difference", required=True, format_func=LOSSES.__getitem__, key="losses",
            label_visibility="collapsed", **BOUND,
        )  # fmt: skip
    if wanted == "loss":
        losses = newest(measured, "loss")
        live_figure(loss_bands(losses, order), "loss", "Loss in v over noise level, with 95 % bands", _about(measured))
        st.caption(
            "Loss on held-out images: |x0 − x̂0|²·(1 + SNR) at the noise levels of a cosine schedule, with 95 % bands. "
            "Comparable across prediction types and noise schedules, but not between pixels and latents or between the "
            "latents of different autoencoders."
        )
        return
    about = f"Difference of the loss from {first}, by noise level"
    live_figure(loss_gaps(differences, first, order), "loss_gaps", about, _about(measured))
    st.dataframe(paired_losses(measured), hide_index=True, width="stretch")
    others = [one.name for one in measured[1:] if one.name not in differences]
    told = (
        f"Below 0: removes noise more accurately than {first}. Where a 95 % band contains 0, the two are not told apart; of 20 "
    )
    told += "noise levels, one band excludes 0 by chance. Both are measured on the same images with the same noise."
    st.caption(literal(told + (f" Measured on others: {', '.join(others)}." if others else "")))
