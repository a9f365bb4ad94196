"""Evaluation results as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from ..common.command_line import describe
from ..common.picture_files import picture_content
from ..evaluation.results import (
    FIGURES,
    MAIN_FIGURES,
    NEIGHBOURS_PICTURE,
    Evaluation,
    file_beside,
    readable_table,
    samples_table,
)
from .chart import Chart
from .evaluation import INTERVALS, bound_terms, loss_bands, newest, quality_against_cost
from .screen import on_screen


def report(evaluations: Sequence[Evaluation]) -> str:
    """Return all results as one self-contained HTML page."""
    table = samples_table(evaluations)
    parts = [f"<h1>{escape(', '.join(evaluation.name for evaluation in evaluations))}</h1>", f"<p>{INTERVALS}</p>"]
    figures: list[tuple[str, Chart]] = []
    tables: list[str] = []
    if len(table):
        # Distances to different images, or in different features, cannot be compared.
        for (data, judge), part in table.groupby(["data", "judge"], sort=False):
            told = f"{data}, {judge}" if table[table["data"] == data]["judge"].nunique() > 1 else str(data)
            measured = [name for name in MAIN_FIGURES if part[name].notna().any()]
            figures += [(f"{FIGURES[name]}: {told}", quality_against_cost(part, name, "network_calls")) for name in measured]
            tables += [f"<h2>All figures: {escape(told)}</h2>", readable_table(part).to_html(index=False)]
    for kind, title, draw in (("loss", "Loss by noise level", loss_bands), ("bound", "Likelihood", bound_terms)):
        found = newest(evaluations, kind)
        figures += [(title, draw(found))] if found else []
    for number, (title, chart) in enumerate(figures):
        parts += [f"<h2>{escape(title)}</h2>", on_screen(chart).to_html(full_html=False, include_plotlyjs=number == 0)]
    parts += tables
    for evaluation in evaluations:
        try:
            data = base64.b64encode(picture_content(file_beside(evaluation.run, NEIGHBOURS_PICTURE))).decode()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            parts.append(f"<p>{escape(f'The nearest neighbours of {evaluation.name} cannot be shown: {describe(error)}')}</p>")
            continue
        about = escape(f"{evaluation.name}: the samples nearest to training images, above their nearest neighbours")
        parts.append(f"<h2>{about}</h2>")
        parts.append(f'<img style="width:100%;image-rendering:pixelated" src="data:image/png;base64,{data}" alt="{about}">')
    style = "body{font-family:sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}table{font-size:.8rem}"
    head = f'<meta charset="utf-8"><title>Noisescope evaluation</title><style>{style}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"
