"""The X-ray of a trajectory: what each step of its sampler did, and how other samplers and spacings would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from diffusion_core.choices import MODEL_SPACINGS, SAMPLERS
from pages.components import BOUND
from pages.components.generation import draw_notes, draw_progress, show_growing, submit
from pages.components.live_figure import live_figure
from pages.components.sharing import address_of
from pages.components.starting import refusal, tell_refusal
from pages.components.timing import about_calls
from pages.components.trajectory import PLAYER
from pages.components.usual_inputs import open_page
from pipelines.common.text import capitalised, literal
from pipelines.figures.xray import standings_chart, xray_chart
from pipelines.sampling.diagnosis import best_and_worst, diagnosis
from pipelines.sampling.equal_calls import IMAGES, Standings, StandingsJob, calls_in_words
from pipelines.sampling.generation import Generation
from pipelines.sampling.origins import FROM_NOISE
from pipelines.sampling.trajectory import TrajectoryJob
from pipelines.sampling.xray import XRay, XRayJob, expected_calls, refuse_students
from pipelines.storage.run import Run

WANTED = "xray_wanted"  # whether another page has asked for the X-ray of the trajectory in the address
SECONDS_BETWEEN_LOOKS = 0.5
ANCHOR = "steps"  # of the X-ray within the page
EXPLAINED = (
    "Local error: how far each step led away from a fine solution that starts in the same state. Global error: how far the "
    "state is by then from the fine solution that starts from the same noise. The fine solution is of the same model, with so "
    "many steps that its own error hardly counts: what is wrong with the model is not seen here."
)


def offer_xrays(names: Sequence[str], columns: Sequence[Generation]) -> None:
    """Offer, for each column of a comparison that starts from noise, to see on Reverse what its sampler's steps did.

    The steps that a student has learnt have no fine solution to be compared with.
    """
    if all(column.config.is_student for column in columns):
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("What each sampler step did, and how wrong it was:", width="content")
        for number, (name, column) in enumerate(zip(names, columns, strict=True), start=1):
            if column.config.is_student:
                continue
            reason = _refusal(column.run, XRayJob(column.run, column.request, 0, FROM_NOISE, column.fingerprint))
            told = f"{literal(capitalised(reason))}." if reason else f"X-ray of the first image of column {number}, on Reverse"
            if st.button(
                f"X-ray {number}", key=f"xray{number}", icon=":material/troubleshoot:", type="tertiary", help=told,
                disabled=bool(reason),
            ):  # fmt: skip
                st.session_state[WANTED] = True
                address = address_of(name, column.request)
                every = [column.config.condition.classes[0]] if column.request.label == "all" else None
                open_page("reverse", address | ({"class": every} if every else {}) | {"xray": "true"})


def point_to_xray() -> None:
    """Say where the X-ray is, which lies below the player, once it is switched on."""
    if st.query_params.get("xray") == "true":
        st.markdown(f":material/troubleshoot: The X-ray is [below the player](#{ANCHOR}): what each sampler step did.")


def show_xray(shown: TrajectoryJob, image: int, about: Callable[[], str]) -> None:
    """Offer the X-ray of one image of a trajectory, and show it when it is asked for.

    Args:
        image: index among the images of the trajectory.
        about: returns which model made it, and how, for captions of saved figures.
    """
    st.subheader("What each sampler step did", anchor=ANCHOR)
    wanted = XRayJob(shown.run, shown.request, shown.images[image], shown.origin, shown.fingerprint, shown.learned)
    reason = _refusal(shown.run, wanted)
    time = "" if reason else about_calls(expected_calls(shown.request.steps), shown)
    label = f"X-ray of every step{time}"
    with st.container(horizontal=True, vertical_alignment="center"):
        if reason:  # off, whatever the address says
            st.toggle(label, key="no xray", help=EXPLAINED, disabled=True)
            tell_refusal(reason)
        on = not reason and st.toggle(label, key="xray", help=EXPLAINED, **BOUND)
    if not on:
        _, job = st.session_state.pop("xray_job", (None, None))
        if job is not None:
            job.cancel()
        return
    if not _is_known("xray_job", wanted) and not submit("xray_job", lambda: wanted, None, [shown.run]):
        return
    job = st.session_state["xray_job"][1]

    def draw() -> None:
        if job.active:
            draw_progress(job)
        draw_notes(job, "Switch the X-ray off and on to start again.")
        if job.found is not None:
            _draw(job.found, shown, about)

    show_growing(job, draw, lambda _: SECONDS_BETWEEN_LOOKS, "Done: every step is compared with a fine solution.")
    if job.found is not None and shown.origin == FROM_NOISE:
        _show_standings(shown, about)


def _refusal(run: Run, wanted: XRayJob | StandingsJob) -> str:
    """Return why a job would be refused, as far as that is known before it is started; empty if it would not."""
    try:
        refuse_students(run.config, "this model")
    except ValueError as error:
        return str(error)
    return refusal([run], lambda: wanted)


def _is_known(key: str, wanted: XRayJob | StandingsJob) -> bool:
    """Return whether the session's job under a key is the wanted one."""
    return key in st.session_state and bool(wanted.is_of(st.session_state[key][1]))


def _draw(found: XRay, shown: TrajectoryJob, about: Callable[[], str]) -> None:
    """Draw what an X-ray shows, in words and in a figure that follows the player."""
    assert shown.way is not None
    st.markdown("\n".join(f"- {literal(sentence)}" for sentence in diagnosis(found, shown.request.sampler)))
    charts = [xray_chart(found, int(step)) for step in shown.way.steps]
    told = "Errors of every sampler step, the bend of its path, the noise it added and clipping"
    live_figure(charts[0], "xray_figure", told, about, follows=PLAYER, frames=charts)
    st.caption(f"{EXPLAINED} The path bends where the predicted noise turns. Dotted line: the frame shown.")


def _show_standings(shown: TrajectoryJob, about: Callable[[], str]) -> None:
    """Offer to compare samplers and spacings at as many network calls as the trajectory took, and show the comparison."""
    calls = shown.request.steps * SAMPLERS[shown.request.sampler].calls
    first = shown.images[0]
    wanted = StandingsJob(shown.run, shown.request, calls, tuple(range(first, first + IMAGES)), shown.fingerprint)
    told_calls = calls_in_words(calls, shown.request)
    st.subheader(f"Samplers and spacings at {told_calls}", anchor=False)
    known = _is_known("standings_job", wanted)
    if not known or st.session_state["standings_job"][1].status in ("cancelled", "failed"):
        time = about_calls(IMAGES * wanted.expected_calls, shown)
        st.caption("How far the samples of each are from the fine solution, from the same noise.")
        reason = _refusal(shown.run, wanted)
        with st.container(horizontal=True, vertical_alignment="center"):
            pressed = st.button(f"Compare them{time}", icon=":material/leaderboard:", disabled=bool(reason))
            tell_refusal(reason)
        known |= pressed and submit("standings_job", lambda: wanted, None, [shown.run])
    if not known:
        return
    job: StandingsJob = st.session_state["standings_job"][1]

    def draw() -> None:
        if job.active:
            draw_progress(job)
        draw_notes(job, "Press the button again to start again.")
        if job.found is not None:
            st.markdown(literal(best_and_worst(job.found)))
            told = f"Distance of samples from the fine solution, by sampler and spacing, at {told_calls}"
            live_figure(standings_chart(job.found), "standings_figure", told, about)
            st.dataframe(_table(job.found), width="stretch")
            st.caption(
                f"RMS distance from the fine solution of the same model, mean over {IMAGES} images from the same noise. "
                "Samplers that add fresh noise are left out: they lead elsewhere from the same noise, and that is no error."
            )

    show_growing(job, draw, lambda _: SECONDS_BETWEEN_LOOKS, "Done: samplers and spacings are compared.")


def _table(found: Standings) -> pd.DataFrame:
    """Return the errors, a row for each sampler and a column for each spacing."""
    table = pd.DataFrame([(row.sampler, row.spacing, f"{row.error:.2g}") for row in found.rows], columns=["Sampler", "s", "e"])
    table = table.pivot_table(index="Sampler", columns="s", values="e", aggfunc="first", sort=False)
    table.columns = [MODEL_SPACINGS[spacing].title for spacing in table.columns]
    return table.rename(index={name: choice.title for name, choice in SAMPLERS.items()})
