"""What was measured of the columns of a comparison: above their pictures in words, with the figures one click away."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pandas as pd
import streamlit as st

from pages.components import to_evaluate, wants
from pages.components.changes import change_in_words, costs_in_words, show_classes, variety_in_words
from pages.components.measuring import watch
from pages.components.timing import about_time
from pages.components.verdicts import emphasised, show_sentences
from pipelines.common.command_line import describe
from pipelines.common.public import is_public
from pipelines.common.text import every, literal
from pipelines.evaluate import MOST
from pipelines.evaluation.brief import EVALUATION, file_beside
from pipelines.evaluation.columns import Column, Finding, compare, measured_together
from pipelines.evaluation.job import EvaluationJob
from pipelines.evaluation.measured import way_in_words
from pipelines.evaluation.results import Evaluation
from pipelines.evaluation.teaching import Teaching, teaching
from pipelines.evaluation.verdict import Sentence, Verdict, cost_sentence, not_compared, sentences
from pipelines.sampling.generation import Comparison
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.run import Run
from pipelines.storage.runs import reference_to

MOST_TOLD = 3  # sentences beside a summary
JUDGING = 20.0  # seconds, measured on two cores: to load a model, and to compare 400 samples with 4,600 real images


def show_findings(columns: Sequence[tuple[str, Run, SamplingRequest]], made: Comparison | None = None) -> None:
    """Show what was measured of each column against the first, what cannot be compared, and what changed.

    Args:
        columns: the name of the model, its run and the request of each.
        made: what these columns have generated, once it is complete.
    """
    if not is_public() and (job := EvaluationJob()).running:
        watch(job)
    try:
        first, *others = (_known(*column) for column in columns)
        found = [_finding(first, other) for other in others]
    except (ValueError, OSError) as error:  # a run was removed or its results are damaged
        st.caption(literal(f"What was measured cannot be shown: {describe(error)}"))
        return
    findings = [finding for finding, _ in found]
    with st.container(border=True, key="findings"):
        told, beside = st.columns([7, 3], gap="medium")
        with told.container(gap="xsmall"):
            for number, (finding, taught) in enumerate(found, start=2):
                pair = f"Columns 1 and {number}: " if len(findings) > 1 else ""
                _show(finding, pair, MOST_TOLD if len(findings) == 1 else 1)
                if taught is not None:
                    _show_teaching(taught, pair)
                if made is not None and finding.same_noise and (changed := change_in_words(made, number, taught is not None)):
                    st.caption(f":material/difference: {changed}")
            _tell_missing([one for finding in findings if finding.verdict is None for one in finding.missing], columns)
        with beside.container(gap="xsmall"):
            if len(findings) == 1 and findings[0].verdict is not None:
                with st.container(key="findings-told-cost"):
                    st.caption(literal(cost_sentence(findings[0].verdict)))
            if made is not None and made.computed_together:
                with st.container(key="findings-told-here"):  # columns say so, too
                    st.caption(f":material/timer: {costs_in_words(made)}")
            if all(finding.same_noise for finding in findings):
                with st.container(key="findings-told-noise"):
                    st.caption(f":material/link: The same noise in every column, image by image (seed {columns[0][2].seed}).")
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if any(finding.verdict for finding in findings):
                    with st.popover("All figures", icon=":material/table:"):
                        for finding, taught in found:
                            _show_figures(finding)
                            if taught is not None:
                                show_classes(taught)
                incomplete = [one for pair in found for one in pair if one is not None and one.missing]
                missing = list(dict.fromkeys(column for one in incomplete for column in one.missing))
                if not is_public():
                    _offer_measuring(missing, next((one.num_images for one in incomplete), None), columns)


Known = tuple[str, str, int, SamplingRequest]  # what determines a finding about a column


def _known(name: str, run: Run, request: SamplingRequest) -> Known:
    """Return what determines a finding about a column: among it, when its results last changed."""
    results = file_beside(run, EVALUATION)
    return name, str(run.path), results.stat().st_mtime_ns if results.exists() else 0, request


@lru_cache(maxsize=64)
def _finding(one: Known, other: Known) -> tuple[Finding, Teaching | None]:
    first, second = (Column(Evaluation(Run(path), name=name), request) for name, path, _, request in (one, other))
    found = compare(first, second)
    return found, teaching(first, second, found)


def _numbers(some: Sequence[Column], columns: Sequence[tuple[str, Run, SamplingRequest]]) -> list[int]:
    """Return the numbers of some of the columns, from 1."""
    which = [(one.evaluation.run.path, one.request) for one in some]
    return [number for number, (_, run, request) in enumerate(columns, start=1) if (run.path, request) in which]


def _tell_missing(missing: Sequence[Column], columns: Sequence[tuple[str, Run, SamplingRequest]]) -> None:
    """Say once, of all pairs that have no verdict, which columns have not been measured."""
    if missing:
        numbers = _numbers(missing, columns)
        which = f"Column {numbers[0]} is" if len(numbers) == 1 else f"Columns {every(numbers)} are"
        alike = " in the same way" * any(column.samples for column in missing)
        st.markdown(f":material/balance: **{which} not measured{alike} yet:** no verdict without measurements.")


def _show(finding: Finding, pair: str, most: int) -> None:
    """Show the verdict on a pair of columns in a few sentences.

    Args:
        pair: which columns they are, if there are several pairs.
        most: sentences at most.
    """
    found = finding.verdict
    if found is not None:
        where = " :orange[Their samples have not been measured at these settings.]" if finding.missing else ""
        if finding.elsewhere:
            where = f" :orange[Measured at {literal(_way(found))}, not at the settings here.]"
        st.markdown(f":material/balance: {pair}**{literal(found.summary)}**{where}")
        told = _telling(sentences(found), most)
        with st.container(key=f"findings-sentences-{pair}"):  # only the first on narrow screens: see page.css
            st.markdown("\n".join(f"- {emphasised(one)} :gray[({found.values(one.name)})]" for one in told))
    for remark in finding.remarks:
        st.caption(f":material/info: {pair}{literal(remark)}")


def _show_teaching(taught: Teaching, pair: str) -> None:
    """Show what was measured of a student beside its teacher."""
    if taught.remark:
        st.caption(f":material/info: {pair}{literal(taught.remark)}")
    if told := variety_in_words(taught):
        st.markdown(f":material/school: {pair}**Does the student make all that its teacher makes?** {literal(told)}")


def _way(found: Verdict) -> str:
    """Return how the samples of a verdict were made."""
    assert found.setting is not None
    return way_in_words(found.setting.request)


def _telling(told: Sequence[Sentence], most: int) -> list[Sentence]:
    """Return the sentences that tell most: one for each of the two that is better in something, then others in their order.

    The kernel distance comes last, since it says much the same as the Fréchet distance.
    """
    better = [sentence for sentence in told if sentence.better] or list(told[:1])
    first = {sentence.better: sentence for sentence in reversed(better)}.values()
    chosen = sorted(better, key=lambda sentence: (sentence not in first, sentence.name == "kernel_distance"))[:most]
    return [sentence for sentence in better if sentence in chosen]


def _show_figures(finding: Finding) -> None:
    """Show everything that a verdict says."""
    found = finding.verdict
    if found is None:
        return
    st.markdown(f"**{literal(found.summary)}**")
    show_sentences(found, sentences(found))
    if left_out := not_compared(found):
        st.caption(literal(left_out))
    st.dataframe(_costs(found), width="stretch")
    st.caption(literal(" ".join([f"{found.setting}." if found.setting else "", *found.notes])))


def _costs(found: Verdict) -> pd.DataFrame:
    return pd.DataFrame(found.costs, index=[found.first, found.second]).fillna("not measured").T


def _offer_measuring(missing: Sequence[Column], count: int | None, columns: Sequence[tuple[str, Run, SamplingRequest]]) -> None:
    """Offer to measure what has not been, as far as that can be measured, all with the same number of samples.

    Args:
        missing: the columns to measure.
        count: samples of each; as many as usual for None.
    """
    job = EvaluationJob()
    if job.running or not missing:
        return
    possible = [column for column in missing if not column.unmeasurable]
    if not possible:
        st.caption(literal(f"These settings cannot be measured: {missing[0].unmeasurable}."))
        return
    together, options = measured_together(possible)
    options += ["--num-images", str(count)] if count else []
    runs = list({one.evaluation.run.path: one.evaluation.run for one in together}.values())
    command = shlex.join(["python", "-m", "pipelines.evaluate", *map(reference_to, runs), *options])
    wishes = list(dict.fromkeys((one.evaluation.run, replace(one.request, num_images=count or MOST)) for one in together))
    measured, left = _numbers(together, columns), set(_numbers(missing, columns))
    which = "" if left == set(measured) and len(left) > 1 else f" {' and '.join(f'column {number}' for number in measured)}"
    time, source = about_time(wishes, besides=JUDGING * len(wishes))
    help_text = f"In the background. {source or ''} In a terminal: `{command}`"
    able = wants(*to_evaluate(*(run.config for run in runs)), help=help_text)
    if st.button(f"Measure{which}{time}", icon=":material/straighten:", key="measure_columns", **able):
        try:
            job.start(runs, options)
        except (ValueError, OSError) as error:
            st.error(literal(describe(error)))
            return
        st.rerun()
    if problem := job.error:
        st.error(literal(f"The last evaluation failed: {problem}"))
