"""Evaluation results as one self-contained HTML page, which also prints."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from ..common.command_line import describe
from ..common.picture_files import picture_content
from ..common.text import in_short
from ..evaluation.brief import file_beside
from ..evaluation.ranking import loss_differences, ranking, ranking_sentence, settings_to_rank
from ..evaluation.results import FIGURES, MAIN_FIGURES, NEIGHBOURS_PICTURE, Evaluation
from ..evaluation.tables import readable_table, samples_table
from .chart import Chart
from .cost import FLOOR, comparison, quality_against_cost
from .evaluation import bound_terms, loss_bands, loss_gaps, newest, ranking_bars
from .paper import file_content

STYLE = Path(__file__).with_name("report.css")
OTHER_FIGURES = tuple(name for name in FIGURES if name not in MAIN_FIGURES)


def report(evaluations: Sequence[Evaluation]) -> str:
    """Return all results as one self-contained HTML page."""
    style = STYLE.read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Noisescope evaluation</title>'
    body = "\n".join(_parts(evaluations))
    return f"<!doctype html><html lang='en'><head>{head}<style>{style}</style></head><body>{body}</body></html>"


def _parts(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield the sections of the report."""
    yield f"<h1>Evaluation</h1><p>Bars and brackets: 95 % intervals. {escape(FLOOR)}</p>"
    yield _table(_models(evaluations), "Models")
    order = [evaluation.name for evaluation in evaluations]
    table, tables = samples_table(evaluations), []
    # Distances to different images, even of the same dataset, or in different features cannot be compared.
    for (data, size, judge), part in table.groupby(["data", "size", "judge"], sort=False) if len(table) else ():
        own = table[table["data"] == data]
        several = [str(value) for value, column in ((size, "size"), (judge, "judge")) if own[column].nunique() > 1]
        told = ", ".join([str(data), *several])
        members = [evaluation for evaluation in evaluations if evaluation.name in set(part["run"])]
        yield f"<h2>{escape(told)}</h2><p>{escape(comparison(part))}</p>"
        for name in MAIN_FIGURES:
            if part[name].notna().any():
                yield from _metric(members, part, name, order)
        for figures, title in ((MAIN_FIGURES, "All figures"), (OTHER_FIGURES, "Further figures")):
            if part[list(figures)].notna().any(axis=None):
                tables.append(_table(readable_table(part, figures), f"{title}: {told}", "table"))
    yield from _losses(evaluations, order)
    if bounds := newest(evaluations, "bound"):
        yield _section("Likelihood", bound_terms(bounds), "An upper bound on the negative log-likelihood of held-out images.")
    yield from tables
    yield from _copies(evaluations)


def _models(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Return a table of the models, with what identifies their weights."""
    rows = []
    for evaluation in evaluations:
        row = {"Name": evaluation.name, "Model": evaluation.config.kind, "Data": Path(evaluation.config.data.data).name}
        row["Parameters"] = in_short(evaluation.run.num_parameters)
        rows.append(row | {"Training seed": evaluation.config.seed, "Fingerprint": evaluation.fingerprint})
    return pd.DataFrame(rows)


def _metric(members: Sequence[Evaluation], table: pd.DataFrame, name: str, order: Sequence[str]) -> Iterator[str]:
    """Yield rankings in a figure, until each model that can be compared with another is ranked, and the figure by cost."""
    title = FIGURES[name]
    ranked_before: set[str] = set()
    for setting, alike in settings_to_rank(members, table["judge"].iloc[0]).values():
        ranked = ranking(alike, setting, name)
        names = {one.name for one in ranked}
        if len(names) > 1 and not names <= ranked_before:
            yield _section(title, ranking_bars(ranked, name, order), f"{ranking_sentence(ranked, name)} {setting}.")
            ranked_before |= names
    if table["network_calls"].nunique() > 1:
        yield _section(f"{title} and cost", quality_against_cost(table, name, "network_calls", order))


def _losses(evaluations: Sequence[Evaluation], order: Sequence[str]) -> Iterator[str]:
    """Yield the loss by noise level, and how that of each model differs from that of the first."""
    losses = newest(evaluations, "loss")
    if not losses:
        return
    yield _section("Loss by noise level", loss_bands(losses, order), "Loss in v on held-out images, with 95 % bands.")
    measured = [evaluation for evaluation in evaluations if evaluation.name in losses]
    if differences := loss_differences(measured):
        first = measured[0].name
        told = f"On the same images with the same noise. Below 0: removes noise more accurately than {first}."
        yield _section(f"Difference of the loss from {first}", loss_gaps(differences, first, order), told)


def _copies(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield the samples nearest to training images."""
    for evaluation in evaluations:
        try:
            data = base64.b64encode(picture_content(file_beside(evaluation.run, NEIGHBOURS_PICTURE))).decode()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            yield f"<p>{escape(f'The nearest neighbours of {evaluation.name} cannot be shown: {describe(error)}')}</p>"
            continue
        title = escape(f"Copies? {evaluation.name}")
        about = escape(
            "Upper row: the samples nearest to a training image. Lower row: that image. Look for the very same picture."
        )
        picture = f'<img src="data:image/png;base64,{data}" alt="{about}">'
        yield f'<section><h2>{title}</h2>{picture}<p class="caption">{about}</p></section>'


def _section(title: str, chart: Chart, caption: str = "") -> str:
    """Return a figure with its title, which are not parted by a page's end."""
    told = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return f"<section><h3>{escape(title)}</h3>{_drawn(chart)}{told}</section>"


def _table(table: pd.DataFrame, title: str, kind: str = "") -> str:
    """Return a table with its title."""
    cells = table.to_html(index=False, border=0)
    return f'<section class="{kind}"><h3>{escape(title)}</h3><div class="scroll">{cells}</div></section>'


def _drawn(chart: Chart) -> str:
    """Return a chart as SVG, which is the same on screens and on paper."""
    svg = file_content(chart, "svg", caption=False).decode()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"
