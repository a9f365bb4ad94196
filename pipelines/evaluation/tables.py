"""Tables of evaluation results: those that pages, reports and notebooks show or save."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..sampling.request import SamplingRequest
from .intervals import Estimate, decimals
from .results import FIGURES, LARGER_IS_BETTER, Evaluation

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins a formula in spreadsheets


def samples_table(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Return the measurements of samples, one row per request, each with its interval and its real-against-real floor.

    Columns: run, data, student (whether the run is one), size (of images), sampler, spacing, steps, guidance, network_calls,
    seconds (per image), machine (on which they were measured), memory (MiB for one image, NaN if not measured), images, seed,
    features, judge (the network they come from, without the size of its input). For each key F of FIGURES: F, F_low, F_high,
    F_floor (of real images) and F_decoded (of real images reconstructed by the autoencoder of a latent diffusion model); NaN
    where not applicable.
    """
    rows = []
    for evaluation in evaluations:
        for result in evaluation.of_kind("samples"):
            request, found = result.asked["request"], result.found
            row: dict[str, Any] = {"run": evaluation.name, "data": Path(evaluation.config.data.data).name}
            row["student"] = evaluation.config.is_student
            row["size"] = "×".join(map(str, (evaluation.config.image_shape or ())[1:]))
            row |= {name: request[name] for name in ("sampler", "steps", "guidance", "seed")}
            row["spacing"] = request.get("spacing", SamplingRequest.spacing)
            row |= {"images": request["num_images"], "features": result.asked["features"], "judge": result.judge}
            row |= {name: found[name] for name in ("network_calls", "seconds")}
            row["machine"] = found.get("machine", "not recorded")
            row["memory"] = found.get("memory", math.nan) / 2**20
            real, decoded = evaluation.real_figures(result), evaluation.beside(result, "reconstruction")
            for name in FIGURES:
                estimate = found["figures"].get(name, {})
                row |= {name: estimate.get("value"), f"{name}_low": estimate.get("low"), f"{name}_high": estimate.get("high")}
                row[f"{name}_floor"] = real.get(name, {}).get("value")
                row[f"{name}_decoded"] = decoded.found["figures"].get(name, {}).get("value") if decoded else None
            rows.append(row)
    return pd.DataFrame(rows)


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, with an apostrophe before texts that a spreadsheet would compute as formulas."""
    return table.map(lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell).to_csv(
        index=False
    )


def pareto_front(table: pd.DataFrame, cost: str, figure: str) -> pd.DataFrame:
    """Return the rows that no other row beats in both columns, by increasing cost: smaller is better unless said otherwise."""
    sign = -1 if figure in LARGER_IS_BETTER else 1
    known = table.dropna(subset=[cost, figure])
    ordered = known.assign(worse=sign * known[figure].astype(float)).sort_values([cost, "worse"])
    best = ordered["worse"].cummin()
    return ordered[(ordered["worse"] == best) & (best != best.shift())].drop(columns="worse")


def readable_table(table: pd.DataFrame, figures: Iterable[str] = FIGURES) -> pd.DataFrame:
    """Format the table of samples for display: one column per figure, with its interval and any floors."""
    columns: dict[str, Any] = {
        "Run": table["run"],
        "Sampler": table["sampler"],
        "Steps": table["steps"],
        "Guidance": table["guidance"],
        "Network calls": table["network_calls"],
        "Seconds": table["seconds"].map("{:.3g}".format),
    }
    for name, title in (
        ("spacing", "Spacing"),
        ("seed", "Seed"),
        ("images", "Samples"),
        ("features", "Features"),
        ("machine", "Measured on"),
    ):
        if table[name].nunique() > 1:
            columns[title] = table[name]
    if table["memory"].notna().any():
        columns["Memory (MiB)"] = ["" if pd.isna(memory) else f"{memory:.0f}" for memory in table["memory"]]
    for name in figures:
        if table[name].notna().any():
            columns[FIGURES[name]] = [_told(row, name) for row in table.to_dict("records")]
    return pd.DataFrame(columns)


def _told(row: Mapping[Any, Any], name: str) -> str:
    """Format one figure of a row of the table of samples, with its interval and the values of real images."""
    if pd.isna(row[name]):
        return ""
    measured = Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])
    digits = decimals(measured.high - measured.low)
    beside = {"real": row[f"{name}_floor"], "decoded": row[f"{name}_decoded"]}
    return ", ".join([str(measured), *(f"{who} {value:.{digits}f}" for who, value in beside.items() if not pd.isna(value))])
