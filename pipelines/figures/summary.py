"""Charts of whole runs, with captions: what the command line prints and what training leaves beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..common.extras import require_extra
from ..common.text import some
from ..evaluation.results import FIGURES, Evaluation
from ..evaluation.tables import samples_table
from ..storage.layout import CURVES
from ..storage.run import Run
from .captions import about_measured, about_runs, sentences
from .chart import Chart
from .cost import COSTS, FLOOR, STARS, comparison, quality_against_cost
from .training import RECONSTRUCTION, training_curves

SMOOTHING = 0.005  # share of the longest curve
FAINT = "Faint: logged values; strong: smoothed"


def curves_of(runs: Mapping[str, Run]) -> Chart:
    """Describe the loss and validation loss of runs over training; of autoencoders, also how well they reconstruct.

    Raises:
        ValueError: nothing has been logged.
    """
    tables = {name: run.metrics() for name, run in runs.items()}
    logged = {column for table in tables.values() for column in table.columns[table.notna().any()]}
    quantities = [quantity for quantity in ("loss", "val_loss", *RECONSTRUCTION) if quantity in logged]
    if not quantities:
        raise ValueError(f"{some(list(runs))}: nothing has been logged yet, so there are no curves to draw")
    chart = training_curves(tables, quantities, smoothing=SMOOTHING, log=("y",))
    return replace(chart, end_labels=True, caption=sentences([about_runs(runs), FAINT]))


def write_curves(run: Run) -> None:
    """Draw the training curves of a run into its folder.

    Raises:
        ValueError: nothing has been logged.
        OSError: the picture cannot be written.
    """
    require_extra("paper")
    from .paper import write_figure  # Matplotlib, which only those who draw need

    write_figure(curves_of({run.name: run}), run.path / CURVES)


def pareto_of(runs: Mapping[str, Run], metric: str, cost: str) -> Chart:
    """Describe a figure of samples of evaluated runs against its cost.

    Args:
        metric: a key of FIGURES.
        cost: a key of COSTS.

    Raises:
        ValueError: nothing has been measured, or what was measured cannot be compared.
    """
    table = samples_table([Evaluation(run, name=name) for name, run in runs.items()])
    missing = [name for name in runs if table.empty or name not in set(table["run"])]
    if missing:
        given = " ".join(str(runs[name].path) for name in missing)
        raise ValueError(f"no samples of {some(missing)} have been measured: run python -m pipelines.evaluate {given} first")
    data = list(dict.fromkeys(table["data"] + " at " + table["size"]))
    if len(data) > 1:
        raise ValueError(f"the runs were measured on different images ({', '.join(data)}): give runs of one dataset and size")
    shared = set.intersection(*(set(part["judge"]) for _, part in table.groupby("run")))
    judges = [judge for judge in dict.fromkeys(table["judge"]) if judge in shared]
    if not judges:
        raise ValueError(f"the runs were compared in different features ({', '.join(set(table['judge']))}): measure them alike")
    shown = table[table["judge"] == judges[0]]
    if shown.dropna(subset=[metric, cost]).empty:
        raise ValueError(f"{FIGURES[metric]} by {COSTS[cost].lower()} has not been measured: choose another --metric or --cost")
    shown = shown.dropna(subset=[metric, cost])
    told = [about_runs(runs), about_measured(shown), comparison(shown), "Bars: 95 % intervals", FLOOR]
    caption = sentences(told + [STARS] * bool(shown["student"].any()))
    return replace(quality_against_cost(shown, metric, cost), caption=caption)
