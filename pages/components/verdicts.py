"""The verdict on two measured models: a sentence on each figure, and what each of them costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from pages.components import BOUND
from pages.components.live_figure import live_figure
from pipelines.common.command_line import describe
from pipelines.common.text import literal
from pipelines.evaluation.judging import grouped, verdict
from pipelines.evaluation.measured import shared_settings
from pipelines.evaluation.results import NEAR, NEAREST_IS_BEST, Evaluation
from pipelines.evaluation.verdict import COUNTED, TITLES, Sentence, Verdict, not_compared, sentences
from pipelines.figures.captions import about_runs
from pipelines.figures.evaluation import leanings

BETTER, NEITHER, OPEN = ":material/check_circle:", ":material/info:", ":material/radio_button_unchecked:"
NOT_DRAWN = " Density and Vendi score are best where real images have them, so they are not drawn."
NOTHING = (
    "These two have nothing in common that can be compared: they were measured on different images or in different features, "
    "or one of them has not been measured."
)


def show_verdict(evaluations: Sequence[Evaluation]) -> None:
    """Let the user choose two of the measured models, and show which of them is better and at what cost."""
    try:
        found = _chosen(evaluations)
    except (ValueError, OSError) as error:  # a run was removed or damaged meanwhile
        st.warning(literal(describe(error)))
        return
    if found is None:
        return
    if not found.differences:
        st.info(NOTHING)
        return
    st.markdown(f"**{literal(found.summary)}**")
    drawn, words = st.columns([2, 3], gap="large")
    with drawn:
        about = f"For which of {found.first} and {found.second} each metric speaks, and how clearly"
        compared = {one.name: one.run for name in (found.first, found.second) for one in grouped(evaluations)[name]}
        live_figure(leanings(found), "verdict", about, partial(about_runs, compared))
        others = [TITLES[name] for name in found.differences if name not in COUNTED]
        st.caption(
            "Bars: 95 % intervals of the differences, all equally long near the middle. Where a bar crosses the middle, the "
            "two are not told apart."
            + (NOT_DRAWN if any(name in found.differences for name in NEAREST_IS_BEST) else "")
            + (f" Not among the main figures: {', '.join(others)}." if others else "")
        )
        st.dataframe(pd.DataFrame(found.costs, index=[found.first, found.second]).fillna("not measured").T, width="stretch")
    with words:
        told = sentences(found)
        if sure := [sentence for sentence in told if sentence.told]:
            show_sentences(found, sure)
        if unsure := [sentence for sentence in told if not sentence.told]:
            with st.expander(
                f"Not told apart: {', '.join(TITLES[sentence.name] for sentence in unsure)}", key="unsure", **BOUND
            ):
                show_sentences(found, unsure)
        if left_out := not_compared(found):
            st.caption(literal(left_out))
        st.caption(literal(" ".join(_about(found))))


def _chosen(evaluations: Sequence[Evaluation]) -> Verdict | None:
    """Return the verdict on the two models that the user chooses; None if there is only one."""
    groups = grouped(evaluations)
    if len(groups) < 2:
        return None
    st.subheader("Two models, figure by figure", anchor=False)
    names = list(groups)
    with st.container(horizontal=True):
        first = st.selectbox("Compare", names, 0, key="verdict_first", width=270, **BOUND)
        others = [name for name in names if name != first]
        second = st.selectbox("with", others, 0, key="verdict_second", width=270, **BOUND)
        shared = shared_settings([*groups[first], *groups[second]])
        told = [str(setting) for setting in shared]
        settings = {
            text if told.count(text) == 1 else f"{text}, {setting.compared['features']}": setting
            for text, setting in zip(told, shared, strict=True)
        }
        setting = None
        if len(settings) > 1:
            setting = st.selectbox("Setting", settings, key="verdict_setting", width=320, **BOUND)
    return verdict(groups[first], groups[second], settings[setting] if setting else None)


def show_sentences(found: Verdict, told: Sequence[Sentence]) -> None:
    """Show sentences of a verdict, those on main figures first, each with a mark and the figures of both."""
    main: list[str] = []
    others: list[str] = []
    for sentence in told:
        mark = BETTER if sentence.better else NEITHER if sentence.told else OPEN
        figures = f":gray[({found.values(sentence.name)}{found.chance(sentence.name)})]"
        (main if sentence.name in COUNTED else others).append(f"{mark} {emphasised(sentence)} {figures}")
    st.markdown("\n\n".join([*main, *[":gray[Not among the main figures:]"] * bool(others), *others]))


def emphasised(sentence: Sentence) -> str:
    """Return a sentence as Markdown, with the model that it says is better in bold."""
    text = literal(sentence.text)
    return text if sentence.better is None else text.replace(literal(sentence.better), f"**{literal(sentence.better)}**", 1)


def _about(found: Verdict) -> Iterator[str]:
    """Yield sentences on what the verdict is made of."""
    if found.setting is not None:
        yield f"{found.setting}."
    yield "Each interval contains the true difference in 95 of 100 cases: of 20 figures of equal models, one differs by chance."
    if any(one.p is not None for one in found.differences.values()):
        yield "p: how often a difference as large arises when the two models' images are swapped at random."
    if "closer_than_held_out" in found.differences:
        yield NEAR
    yield from found.notes
