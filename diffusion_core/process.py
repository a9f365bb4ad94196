"""The forward process and the four quantities that a network can predict.

With ``x_t = alpha·x0 + sigma·ε``, each prediction determines x0 linearly and is described by two coefficients
(Karras et al. 2022, equation 7, without the input scaling)::

    x0 = c_skip·x_t + c_out·output

from which conversions and loss weights follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .choices import PREDICTIONS
from .schedules import NoiseSchedule

Level = float | Tensor  # alpha or sigma: one number, or one per image, (B,)


def per_image(level: Level, like: Tensor) -> Level:
    """Reshape one number per image, (B,), to broadcast over (B, C, H, W); return a single number unchanged."""
    if isinstance(level, Tensor) and level.ndim == 1:
        return level.to(like.device, like.dtype, non_blocking=like.is_cuda).view(-1, *(1,) * (like.ndim - 1))
    return level


def check_prediction(prediction: str) -> str:
    """Return ``prediction`` if it is one of :data:`PREDICTIONS`, else raise ValueError."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")
    return prediction


def add_noise(schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: float | Tensor) -> Tensor:
    """Return x_t = alpha[t]·x0 + sigma[t]·ε (Ho et al. 2020, equation 4).

    Args:
        x0, noise: (B, C, H, W).
        t: one timestep, or one per image, (B,); may be fractional.
    """
    alpha, sigma = schedule.at(t)
    return per_image(alpha, x0) * x0 + per_image(sigma, x0) * noise


def x0_coefficients(prediction: str, alpha: Level, sigma: Level) -> tuple[Level, Level]:
    """Return (c_skip, c_out) such that x0 = c_skip·x_t + c_out·output, for any alpha and sigma.

    epsilon: Ho et al. 2020, equation 15; v: Salimans & Ho 2022, appendix D, without assuming alpha² + sigma² = 1;
    flow (ε − x0): Liu et al. 2022.

    Raises:
        ValueError: epsilon where alpha is 0, because ε does not determine x0 there.
    """
    check_prediction(prediction)
    if prediction == "epsilon":
        if bool((torch.as_tensor(alpha) == 0).any()):
            raise ValueError(
                "epsilon-prediction cannot start where alpha is 0 (zero terminal SNR): "
                "predict v, x0 or flow, or use a schedule that does not end in pure noise, such as cosine"
            )
        return 1 / alpha, -sigma / alpha
    if prediction == "v":
        scale = alpha**2 + sigma**2
        return alpha / scale, -sigma / scale
    if prediction == "flow":
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    return 0 * alpha, 0 * alpha + 1


def prediction_target(prediction: str, x0: Tensor, noise: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Return the training target: ε, x0, v = alpha·ε − sigma·x0, or the flow ε − x0.

    Args:
        prediction: one of :data:`PREDICTIONS`.
        x0, noise: (B, C, H, W).
        alpha, sigma: single numbers, or one per image, (B,).
    """
    check_prediction(prediction)
    if prediction == "epsilon":
        return noise
    if prediction == "x0":
        return x0
    if prediction == "v":
        return per_image(alpha, x0) * noise - per_image(sigma, x0) * x0
    return noise - x0


def x0_from_prediction(prediction: str, output: Tensor, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Convert the network's output to a clean image, (B, C, H, W); inverse of :func:`prediction_target`."""
    c_skip, c_out = x0_coefficients(prediction, alpha, sigma)
    return per_image(c_skip, x_t) * x_t + per_image(c_out, x_t) * output


def noise_from_x0(x0: Tensor, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Return the noise that leads from ``x0`` to ``x_t``, ε = (x_t − alpha·x0)/sigma; sigma must not be 0."""
    return (x_t - per_image(alpha, x_t) * x0) / per_image(sigma, x_t)
