"""How long a generation will take, as far as that has been measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from diffusion_core.choices import SAMPLERS
from pages.components.generation import generation_queue
from pipelines.common.text import duration
from pipelines.evaluation.results import Evaluation
from pipelines.sampling.generation import Generation, Wish
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.runs import Run

LEAST = 2.0  # seconds worth telling


def about_time(wishes: Sequence[Wish], besides: float = 0.0) -> tuple[str, str | None]:
    """Return how long the generations will take, to be added to a button's label, and where that is known from.

    Both are empty if it is not known, or not worth telling.

    Args:
        besides: seconds that come on top of generating.
    """
    found = [_expected(run, request) for run, request, *_ in wishes]
    seconds = sum(seconds for seconds, _ in found) + besides
    if not all(source for _, source in found) or seconds < LEAST:
        return "", None
    sources = ", ".join(dict.fromkeys(source for _, source in found))
    return f" (about {duration(seconds)})", f"Estimated from {sources}."


def _expected(run: Run, request: SamplingRequest) -> tuple[float, str]:
    """Return the seconds that a request takes and what they are estimated from, which is empty if nothing is known."""
    per_call, source = _pace(run)
    guided = 2 if request.guidance != 1 else 1
    return per_call * request.num_images * request.steps * SAMPLERS[request.sampler].calls * guided, source


def _pace(run: Run) -> tuple[float, str]:
    """Return the seconds of a network call for one image, as last generated or else as evaluated, and which of the two."""
    try:
        fingerprint = run.fingerprint
        made = [column for column in generation_queue().results.all() if isinstance(column, Generation)]
        own = [seconds for column in made if column.fingerprint == fingerprint for seconds in _steady(column)]
        if own:
            return median(own), "what was generated here before"
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
