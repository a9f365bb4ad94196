"""How long a generation will take, as far as that has been measured."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from statistics import median

import streamlit as st

from pages.components.generation import generation_queue
from pipelines.common.text import rough_duration
from pipelines.evaluation.results import Evaluation
from pipelines.sampling.effort import calls_of, guided_calls
from pipelines.sampling.generation import Generation, Wish
from pipelines.sampling.origins import FROM_NOISE, Origin
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.trajectory import TrajectoryJob
from pipelines.storage.run import Run
from pipelines.storage.student_defaults import LEARNING

LEAST = 2.0  # seconds worth telling
STEADY = 2.0  # factor by which an estimate must change before another one is told
TOLD = "estimates told"  # where a session keeps them


def about_time(wishes: Sequence[Wish], besides: float = 0.0) -> tuple[str, str | None]:
    """Return how long the generations will take, to be added to a button's label, and where that is known from.

    Both are empty if it is not known, or not worth telling. The pace of a machine changes with its load, so a session goes on
    to tell what it first told of the same generations, unless that turns out wrong by a factor of STEADY.

    Args:
        besides: seconds that come on top of generating.
    """
    found = [_expected(*wish) for wish in wishes]
    if not all(source for _, source in found):
        return "", None
    time = _told(sum(seconds for seconds, _ in found) + besides, tuple((str(run.path), *rest) for run, *rest in wishes))
    sources = ", ".join(dict.fromkeys(source for _, source in found))
    return time, f"Estimated from {sources}." if time else None


def about_calls(calls: int, shown: TrajectoryJob) -> str:
    """Return how long further network calls will take on the model of a trajectory, at its pace, to be added to a label.

    Args:
        calls: without those of guidance.
        shown: a complete trajectory, not of a student.
    """
    assert shown.way is not None
    return _told(
        shown.way.pace * calls * guided_calls(shown.run.config, shown.request), (shown.fingerprint, shown.request, calls)
    )


def rough_time(run: Run, calls: int, at_once: int) -> str:
    """Return how long network calls for one image take, ``at_once`` of them at a time, and where that is known from.

    It is empty if nothing is known.
    """
    per_call, source = _pace(run, at_once)
    if not source:
        logged = run.newest_metrics()
        per_call, source = logged.get("seconds", 0.0) / (LEARNING * logged.get("images_seen", 1)), "its training"
    return f"roughly {rough_duration(per_call * calls)}, judging from {source}" if per_call else ""


def _told(seconds: float, which: Hashable) -> str:
    """Return a time to be added to a label, empty if it is not worth telling; see :func:`about_time`.

    Args:
        which: identifies what will take this time.
    """
    told, key, seconds = st.session_state.setdefault(TOLD, {}), hash(which), max(seconds, LEAST)
    if key not in told or abs(math.log(seconds / told[key])) > math.log(STEADY):
        told[key] = seconds
    return f" (about {rough_duration(told[key])})" if told[key] > LEAST else ""


def _expected(run: Run, request: SamplingRequest, origin: Origin = FROM_NOISE) -> tuple[float, str]:
    """Return the seconds that a request takes and what they are estimated from, which is empty if nothing is known."""
    per_call, source = _pace(run, request.num_images)
    if not source:
        return 0.0, ""
    return per_call * calls_of(run.config, request, origin), source


def _pace(run: Run, num_images: int) -> tuple[float, str]:
    """Return the seconds of a network call for one image, as last generated or else as evaluated, and which of the two.

    Many images at once take less time for each than few, so those count that were generated in the number nearest to this one.
    """
    try:
        fingerprint = run.fingerprint
        made = [column for column in generation_queue().results.all() if isinstance(column, Generation)]
        own = {column: paces for column in made if column.fingerprint == fingerprint and (paces := list(_steady(column)))}
        if own:
            nearest = min(own, key=lambda column: abs(math.log(column.request.num_images / num_images)))
            return median(own[nearest]), "what was generated here before"
        samples = Evaluation(run, fingerprint).of_kind("samples")
    except (ValueError, OSError):  # whoever generates learns what is wrong
        return 0.0, ""
    if not samples:
        return 0.0, ""
    found = samples[-1].found
    return found["seconds"] / found["network_calls"], f"the evaluation on {found.get('machine', 'an unrecorded machine')}"


def _steady(column: Generation) -> Iterator[float]:
    """Yield the seconds of a network call for one image in each step after the first, which includes the start."""
    for before, after in pairwise(column.frames):
        if after.nfe > before.nfe:
            yield (after.seconds - before.seconds) / ((after.nfe - before.nfe) * column.request.num_images)
