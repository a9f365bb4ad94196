"""What an X-ray shows, in plain sentences, each only where the numbers bear it out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diffusion_core.choices import MODEL_SPACINGS, SAMPLERS

from .equal_calls import Standings
from .xray import XRay

STANDS_OUT = 3.0  # how many times the median of the other steps
TURNS = 10.0  # degrees in a step that are worth telling
CLIPPED = 0.05  # a share of the values that is worth telling


def diagnosis(found: XRay, sampler: str) -> list[str]:
    """Return what is to be seen in an X-ray, the most important first.

    Args:
        sampler: a key of SAMPLERS.
    """
    return [sentence for part in (_faults, _sample, _errors, _orders, _path) for sentence in part(found, sampler)]


def _faults(found: XRay, sampler: str) -> Iterator[str]:
    if found.noise[-1] > 0:
        yield f"The last step adds noise of {_number(found.noise[-1])}, which stays in the sample."
    first = found.timesteps[0]
    if found.from_noise and first < found.last_timestep:
        yield (
            f"The first timestep is {first:.0f}, not {found.last_timestep}: the noisiest part is never seen, and the start is "
            f"already {_number(found.global_error[0])} off."
        )


def _sample(found: XRay, sampler: str) -> Iterator[str]:
    error, doubt = found.global_error[-1], found.reference_error[-1]
    if error <= max(3 * doubt, 1e-5):
        yield f"The sample is as close to the fine solution as can be told: within {_number(max(error, doubt, 1e-5))}."
    else:
        accuracy = f", itself accurate to about {_number(doubt)}" if doubt > error / 100 else ""
        yield f"The sample's global error is {_number(error)}: so far is it from the fine solution{accuracy}. {_half(found)}"


def _half(found: XRay) -> str:
    """Return since which step the global error has been at least half of the sample's."""
    small = np.flatnonzero(found.global_error < found.global_error[-1] / 2)
    if not len(small):
        return "At least half of the error is there from the start."
    return f"At least half of the error is there from {_where(found, int(small[-1]), inside=True)} on."


def _errors(found: XRay, sampler: str) -> Iterator[str]:
    local = found.local_error[1:]
    worst, times = _standing_out(local)
    if times:
        before = found.global_error[worst]
        late = f", but before it the global error was already {_number(before)}" if before > found.global_error[-1] / 2 else ""
        yield f"{_where(found, worst)} has the largest local error, {_number(local[worst])}: {times}{late}."
    elif found.steps > 2:
        yield f"No step stands out: the largest local error is {_number(local.max())}."
    jump, times = _standing_out(found.moved[1:])
    if times and jump == found.steps - 1:
        yield f"The last step jumps by {_number(found.moved[-1])}, {times}: it removes all the noise that is left at once."


def _standing_out(values: np.ndarray) -> tuple[int, str]:
    """Return which of the steps stands out, and by how much in words, which are empty if none does."""
    worst = int(values.argmax())
    others = np.delete(values, worst)
    usual = float(np.median(others)) if len(others) > 1 else 0.0
    if not usual or values[worst] < STANDS_OUT * usual:
        return worst, ""
    return worst, f"{values[worst] / usual:.0f} times as much as the median of the others"


def _orders(found: XRay, sampler: str) -> Iterator[str]:
    added = found.noise[1:][found.noise[1:] > 0]
    if len(added):
        which = "All steps but the last" if (found.noise[1:-1] > 0).all() else f"{len(added)} of {found.steps} steps"
        yield f"{which} add fresh noise: {_number(added[0])} at first and {_number(added[-1])} at last (standard deviation)."
    orders = (found.orders - found.corrected)[1:-1]  # the last step, to the clean image, is always of first order
    wanted = SAMPLERS[sampler].order if sampler in SAMPLERS else None
    highest = int(found.orders.max())
    if len(orders) < 2 or not orders.all():
        return
    full = int(orders.argmax())  # the first step of the highest order; before it, too little is known for it
    lower = np.flatnonzero(orders[full:] < orders[full]) + full
    if wanted and highest < wanted:
        yield (
            f"{SAMPLERS[sampler].title} is of order {wanted}, but no step here is of a higher order than {highest}: "
            "the steps are too few or too long."
        )
    if len(lower):
        places = ", ".join(f"t = {found.timesteps[step]:.0f}" for step in lower[:4]) + ", …" * (len(lower) > 4)
        yield (
            f"In {len(lower)} of {found.steps} steps the order falls back from {orders[full]} to {orders[lower].min()} "
            f"({places}): over so long a step, the sampler does not trust its earlier estimates."
        )


def _path(found: XRay, sampler: str) -> Iterator[str]:
    turn = found.turn[1:]
    if turn.max() >= TURNS:
        worst = int(turn.argmax())
        yield f"The path bends most in {_where(found, worst, inside=True)}, by {turn[worst]:.0f}°."
    elif found.steps > 1:
        yield f"The path is almost straight: it bends by at most {max(turn.max(), 0.1):.1f}° in a step."
    most = int(found.clipped.argmax())
    if found.clipped[most] >= CLIPPED:
        yield (
            f"Up to {found.clipped[most]:.0%} of the values of the estimate are clipped to the data range "
            f"(t = {found.timesteps[most]:.0f}), where the path may have corners."
        )


def _where(found: XRay, step: int, inside: bool = False) -> str:
    """Return which step it is (from 0), at the beginning of a sentence or inside."""
    name = "last step" if step == found.steps - 1 else "first step" if step == 0 else ""
    start = f"{'the' if inside else 'The'} {name}" if name else f"{'step' if inside else 'Step'} {step + 1}"
    end = "the sample" if step == found.steps - 1 else f"{found.timesteps[step + 1]:.0f}"
    return f"{start} (t = {found.timesteps[step]:.0f} to {end})"


def best_and_worst(found: Standings) -> str:
    """Return which sampler and spacing come closest to the fine solution, and which stay farthest from it."""
    rows = sorted(found.rows, key=lambda row: row.error)
    near, far = rows[0], rows[-1]
    return (
        f"Closest: {SAMPLERS[near.sampler].title} at {MODEL_SPACINGS[near.spacing].title} spacing, {_number(near.error)}. "
        f"Farthest: {SAMPLERS[far.sampler].title} at {MODEL_SPACINGS[far.spacing].title} spacing, {_number(far.error)}."
    )


def _number(value: float) -> str:
    """Return a number with two significant digits, without an exponent unless it is tiny."""
    return f"{value:.2g}" if value == 0 or value >= 1e-4 else f"{value:.0e}"
