"""Estimates of x0 along a trajectory, as a polynomial in λ = log(alpha/sigma), for samplers of higher order.

With constant x0, :func:`straight_step` solves the probability-flow ODE exactly. With x0 = p(λ) it still does if it moves
towards the mean of p over the step under the weight e^λ (Lu et al. 2022b, proposition 4.1). With u = (λ − λ_here)/h from 0
to 1 and h the length of the step, that mean is a combination of the moments of u (:func:`moments`).
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .steps import Level

Estimates = list[tuple[float, Tensor]]  # λ and the estimate of x0 there, newest first

_LONGEST_STEP = 1.0  # in λ: over longer ones x0 is not close to a parabola
_LONGEST_RATIO = 3.0  # of a step to the one before: beyond it, even a straight line leads too far


def remember(estimates: Estimates, here: Level, x0: Tensor, most: int) -> None:
    """Put the estimate at the level ``here`` in front, and keep ``most``; pure noise, at λ = −∞, is forgotten."""
    if math.isinf(here.log_ratio):
        return
    if estimates and estimates[0][0] == here.log_ratio:  # a schedule may repeat a noise level
        del estimates[0]
    estimates.insert(0, (here.log_ratio, x0))
    del estimates[most:]


def reliable(estimates: Estimates, there: Level) -> Estimates:
    """Return the estimates through which a polynomial may be extrapolated to the level ``there``.

    In few steps an extrapolation can lead far beyond the data: three estimates at Karras' spacing made the contrast up to 2.6
    times too high, two at equally spaced timesteps 1.7 times. So three are used only in steps of at most 1 in λ, and two only
    in steps at most 3 times as long as the one before.
    """
    length = there.log_ratio - estimates[0][0]
    if len(estimates) == 1 or length > _LONGEST_RATIO * (estimates[0][0] - estimates[1][0]):
        return estimates[:1]
    return estimates if length <= _LONGEST_STEP else estimates[:2]


def moments(length: float, count: int) -> list[float]:
    """Return the means of u, u², …, u^count over [0, 1] under the weight e^(length·u).

    With I_k = ∫ u^k·e^(length·(u − 1)) du, integration by parts gives length·I_k = 1 − k·I_(k−1). Upwards, this recursion
    loses digits in short steps; there it runs downwards from a high k, where any start will do.
    """
    integrals = [0.0] * (count + 1)
    if length > count:
        integrals[0] = -math.expm1(-length) / length
        for k in range(1, count + 1):
            integrals[k] = (1 - k * integrals[k - 1]) / length
    else:
        integral = 0.0
        for k in range(40, 0, -1):
            integral = (1 - length * integral) / k
            if k <= count + 1:
                integrals[k - 1] = integral
    return [integral / integrals[0] for integral in integrals[1:]]


def mean_over(nodes: Estimates, length: float) -> Tensor:
    """Return the mean of the polynomial through ``nodes`` over a step that begins at the first of them.

    For two nodes it is the value in the middle of the step, which has the same order (Lu et al. 2022b, algorithm 2; Zhao et al.
    2023, section 3.3).
    """
    (begin, first), *others = nodes
    if not others or length <= 0:
        return first
    places = [(place - begin) / length for place, _ in others]
    weights = [0.5 / places[0]]
    if len(others) > 1:  # solved by NumPy, because torch takes ten times as long for so few numbers
        powers = [[place**k for place in places] for k in range(1, len(others) + 1)]
        weights = np.linalg.solve(powers, moments(length, len(others))).tolist()
    shift, *more = (w * (x0 - first) for w, (_, x0) in zip(weights, others, strict=True))
    mean: Tensor = first + sum(more, shift)
    return mean
