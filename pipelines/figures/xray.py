"""Charts of a sampler's X-ray, and of samplers and spacings at equal calls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffusion_core.choices import MODEL_SPACINGS, SAMPLERS

from ..sampling.equal_calls import Standings
from ..sampling.xray import XRay
from .chart import Axis, Band, Chart, Curve, Mark, Numbers, Panel, Rule
from .sampling import LogSnrAxis
from .style import MARKING, Look, color

LOCAL, GLOBAL, TURN, NOISE, CLIPPED = (Look(color(number), size=7) for number in (0, 1, 2, 3, 4))
PURE_NOISE = -12.0  # the log-SNR below which a state is drawn as pure noise
LOWER = Look(color(1), symbol="x", size=11)


def xray_chart(found: XRay, marked: int | None = None) -> Chart:
    """Describe the errors of a sampler's steps, how far the path bends, and the noise and clipping, over the log-SNR.

    Args:
        marked: a number of steps taken, 0 … S, to mark.
    """
    first = found.lowest_log_snr if found.from_noise else found.log_snr[0]
    levels = np.append(found.log_snr, first)
    levels[levels < PURE_NOISE] = -np.inf
    axis = LogSnrAxis(levels)
    *x, start = axis.position(levels)
    about = [_told(found, step) for step in range(found.steps + 1)]
    lower = _lower_orders(found)
    unit = "latents" if found.of_latents else "pixels from −1 to 1"
    local: list[Mark] = [_stems(x[1:], found.local_error[1:], "local error", LOCAL, about[1:])]
    if len(lower):
        points = [about[step] for step in lower]
        y = found.local_error[lower]
        local.append(Curve(np.array(x)[lower], y, "order lower than before", LOWER, line=False, points=True, about=points))
    title, height = "Global error of the sample so far", _from_zero(found.global_error)
    whole: list[Mark] = [Curve(x, found.global_error, "global error", GLOBAL, points=True, about=about)]
    if found.from_noise and found.timesteps[0] < found.last_timestep:
        title += "; grey: never seen"
        whole.insert(0, Band([start, x[0]], [0, 0], [height[1]] * 2, "never seen", Look(color(6))))
    per_step = Axis("RMS", limits=_from_zero(found.local_error))
    bend = _stems(x[1:], found.turn[1:], "bend", TURN, about[1:])
    panels = [
        Panel(tuple(local), axis.axis, per_step, f"Local error of each step, {unit}", height=150),
        Panel(tuple(whole), axis.axis, Axis("RMS", limits=height), title, height=110),
        Panel((bend,), axis.axis, Axis("degrees", limits=_from_zero(found.turn)), "Bend of the path over each step", height=90),
    ]
    shares: list[Mark] = []
    if (found.noise > 0).any():
        shares.append(_stems(x[1:], found.noise[1:], "fresh noise (standard deviation)", NOISE, about[1:]))
    if (found.clipped > 0).any():
        shares.append(Curve(x, found.clipped, "clipped share of the estimate", CLIPPED, points=True, about=about))
    if shares:
        panels.append(Panel(tuple(shares), axis.axis, Axis("", limits=(-0.04, 1.04)), "Noise added, values clipped", height=90))
    if marked is not None:
        rule = Rule(x=x[marked], look=MARKING)
        panels = [Panel((rule, *p.marks), p.x, p.y, p.title, p.subtitle, p.height) for p in panels]
    return Chart(tuple(panels), shared_x=True, hover="closest", zoom=("xray", found.steps))


def _from_zero(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits of an axis from zero on which whole points fit."""
    highest = max(float(values.max()), 1e-6)
    return -0.05 * highest, 1.1 * highest


def _stems(x: Numbers, y: Numbers, name: str, look: Look, about: list[str]) -> Curve:
    """Return a point for every step on a stem from zero."""
    return Curve(x, y, name, look, line=False, points=True, y_interval=(np.zeros(len(x)), np.asarray(y)), about=about)


def _lower_orders(found: XRay) -> NDArray[np.int64]:
    """Return the steps whose order is lower than that of a step before; the last one always is of first order."""
    orders = (found.orders - found.corrected)[1:-1]
    return np.flatnonzero((orders > 0) & (orders < np.maximum.accumulate(orders))) + 1 if len(orders) else orders


def _told(found: XRay, step: int) -> str:
    """Return what is known of a step, for the text under the pointer."""
    end = "sample" if step == found.steps else f"t = {found.timesteps[step]:.0f}"
    if step == 0:
        return f"Start, {end}: RMS {found.rms[0]:.3g}, error {found.global_error[0]:.2g}"
    parts = [f"Step {step}, t = {found.timesteps[step - 1]:.0f} to {end}"]
    parts += [f"order {found.orders[step]}"] * bool(found.orders[step])
    parts += [f"local error {found.local_error[step]:.2g}", f"global error {found.global_error[step]:.2g}"]
    parts += [f"moved {found.moved[step]:.2g}", f"bends {found.turn[step]:.1f}°"]
    parts += [f"noise {found.noise[step]:.2g}"] * bool(found.noise[step])
    parts += [f"clipped {found.clipped[step]:.0%}"] * bool(found.clipped[step])
    return " · ".join(parts)


def standings_chart(found: Standings) -> Chart:
    """Describe how far each sampler is from the fine solution, with a mark for each spacing."""
    samplers = list(dict.fromkeys(row.sampler for row in found.rows))[::-1]
    symbols = ("circle", "diamond", "square", "triangle-up", "star", "x", "circle-open")
    marks = []
    for number, spacing in enumerate(dict.fromkeys(row.spacing for row in found.rows)):
        rows = [row for row in found.rows if row.spacing == spacing]
        look = Look(color(number), symbol=symbols[number % len(symbols)], size=10)
        told = [
            f"{SAMPLERS[row.sampler].title}, {MODEL_SPACINGS[spacing].title} spacing: {row.error:.3g} "
            f"({row.steps} steps, {row.nfe} network calls)"
            for row in rows
        ]
        x, y = [row.error for row in rows], [samplers.index(row.sampler) for row in rows]
        marks.append(Curve(x, y, MODEL_SPACINGS[spacing].title, look, line=False, points=True, about=told))
    names = {float(number): SAMPLERS[name].title for number, name in enumerate(samplers)}
    unit = "latents" if found.of_latents else "pixels from −1 to 1"
    x_axis = Axis(f"RMS distance from the fine solution, {unit}", log=True, fine=True)
    y_axis = Axis(ticks=names, limits=(-0.6, len(samplers) - 0.4))
    return Chart((Panel(tuple(marks), x_axis, y_axis, height=40 * len(samplers)),), hover="closest", zoom=("standings",))
