"""What was found in a dataset: on the Train page before training, and of a run in training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

import streamlit as st

from pages.components import frontend
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.datasets.report import DataReport, read_report
from pipelines.datasets.report_text import Fact, facts, sum_of_files, with_labels_once
from pipelines.datasets.surveyor import Survey, Surveyor
from pipelines.storage.config import ConditionConfig, DataConfig
from pipelines.storage.layout import DATA
from pipelines.storage.run import Run

SOON = 0.3  # seconds in which a small dataset is surveyed, so that the page need not change again
LISTED = 1000  # files named on a page, at most
DETAILS = ("longest", "examples", "sizes", "colours", "depth", "formats", "copies")  # shown on demand


@st.cache_resource
def surveyor() -> Surveyor:
    """Return the server's surveyor, which opens each dataset once."""
    return Surveyor()


def show_report(config: DataConfig, condition: ConditionConfig, told: str = "") -> Survey:
    """Show what is in a dataset as soon as it is known: first from its listing, then from its pictures.

    The page reruns when everything is known.

    Args:
        config: a resolved configuration.
        condition: the columns of classes and captions.
        told: what the page says already.

    Returns:
        What is known so far.
    """
    found = surveyor().find(config, condition)
    found.wait(SOON)
    growing = found.growing

    @st.fragment(run_every=0.5 if growing else None)
    def show() -> None:
        if growing and not found.growing:
            st.rerun()  # the whole page, which then polls no longer
        if found.problem and found.problem not in told:
            st.warning(literal(f"These data cannot be trained on: {found.problem}"))
        if found.report is not None:
            _show_facts([fact for fact in facts(found.report) if fact.label not in (*DETAILS, "problem")])
        if found.growing:
            st.caption("Looking through the files…" if found.report is None else "Reading the pictures…")
            return
        if found.report is not None and found.report.pictures is None and not found.report.problem:
            label = f"Examine all {found.report.trained + found.report.held_out:,} pictures"
            st.button(label, icon=":material/search:", key="examine", on_click=look, args=(False, True))
        with st.expander("More about these data"):
            if found.report is not None:
                _show_facts([fact for fact in facts(found.report) if fact.label in DETAILS])
                _list_unused(found.report)
            st.button(
                "Look again", icon=":material/refresh:", key="look-again", on_click=look, args=(True, found.whole),
                help="After files have been added, removed or mended.",
            )  # fmt: skip

    def look(anew: bool, whole: bool) -> None:
        surveyor().find(config, condition, anew, whole)

    show()
    return found


def show_used(run: Run) -> None:
    """Show which part of its dataset a run is trained on, and what is not used, if it has recorded that."""
    file = run.path / DATA
    try:
        status = file.stat()
        report = _read(file, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        return  # of an older version, or of images from memory
    except (OSError, ValueError) as error:
        st.caption(literal(f"The report on its data cannot be read: {describe(error)}"))
        return
    with st.expander(literal(f"Data: {sum_of_files(report)}"), icon=":material/fact_check:"):
        _show_facts(facts(report))
        _list_unused(report)


@lru_cache(maxsize=8)
def _read(file: Path, modified: int, size: int) -> DataReport:
    return read_report(file)


def _show_facts(shown: Sequence[Fact]) -> None:
    """Show facts as a list of labels and sentences."""
    if shown:
        cells = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in with_labels_once(shown))
        st.html(f'<style>{frontend.text("facts.css")}</style><dl class="facts" style="margin:0;padding:0">{cells}</dl>')


def _list_unused(report: DataReport) -> None:
    """List the files that are not used, under their reasons."""
    lines = [f"{path}: {group.reason}" for group in report.unused for path in group.paths]
    if lines:
        more = report.left_out - min(len(lines), LISTED)
        st.code("\n".join(lines[:LISTED]) + f"\nand {more:,} more" * bool(more), language=None, wrap_lines=True, height=200)
