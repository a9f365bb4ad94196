"""The forward process and the quantities that a network can predict.

With ``x_t = alpha·x0 + sigma·ε``, each prediction determines x0 linearly and is described by two coefficients
(Karras et al. 2022, equation 7):

    x0 = c_skip·x_t + c_out·output

from which conversions and loss weights follow. Networks take x_t and t as they are, except with EDM's preconditioning.

EDM's preconditioning (Karras et al. 2022, table 1) is written for alpha = 1. The state x_t/alpha has that form, with the noise
level sigma/alpha. Putting both into the table gives, with d the standard deviation of the data and S² = sigma² + alpha²·d²,
which is the variance of x_t:

    c_skip = alpha·d²/S²    c_out = sigma·d/S    c_in = 1/S    c_noise = log(sigma/alpha)/4

where c_in multiplies x_t. Solving for the output gives the target (sigma·x0 − alpha·d²·ε)/(S·d), whose variance is 1. All are
finite where alpha is 0, and depend on the signal-to-noise ratio alone, up to the scale of x_t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .choices import PREDICTIONS
from .schedules import NoiseSchedule

SIGMA_DATA = 0.5  # standard deviation of the data that EDM's preconditioning assumes (Karras et al. 2022, table 1)
NOISE_SCALE = 20.0  # factor of c_noise: the fastest sinusoid of its embedding then has 11 periods over all noise levels
LOUDEST = 7.0  # of |log(sigma/alpha)| in c_noise: beyond, x0 is known, or lost, to a thousandth
Level = float | Tensor  # alpha or sigma: one number, or one per image, (B,)


def per_image(level: Level, like: Tensor) -> Level:
    """Reshape one number per image, (B,), to broadcast over (B, C, H, W); tensors get the type and the device of the images."""
    if not isinstance(level, Tensor):
        return level
    level = level.to(like.device, like.dtype, non_blocking=like.is_cuda)
    return level.view(-1, *(1,) * (like.ndim - 1)) if level.ndim else level


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

    Example:
        >>> from diffusion_core.schedules import flow
        >>> x0, noise = torch.full((1, 1, 1, 1), -1.0), torch.full((1, 1, 1, 1), 3.0)
        >>> add_noise(flow(4), x0, noise, 1).item()  # alpha and sigma are 0.5 there
        1.0
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
                "predict v, x0, flow or edm, or use a schedule that does not end in pure noise, such as cosine"
            )
        return 1 / alpha, -sigma / alpha
    if prediction == "v":
        scale = alpha**2 + sigma**2
        return alpha / scale, -sigma / scale
    if prediction == "flow":
        return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    if prediction == "edm":
        variance = _variance(alpha, sigma)
        return alpha * SIGMA_DATA**2 / variance, sigma * SIGMA_DATA / variance**0.5
    return 0 * alpha, 0 * alpha + 1


def _variance(alpha: Level, sigma: Level) -> Level:
    """Return the variance of x_t for data of the standard deviation :data:`SIGMA_DATA`."""
    return sigma**2 + (alpha * SIGMA_DATA) ** 2


def network_input(prediction: str, x_t: Tensor, t: Tensor, alpha: Level, sigma: Level) -> tuple[Tensor, Tensor]:
    """Return the state and the time that a network takes: x_t and t or, for "edm", c_in·x_t and c_noise.

    c_noise is multiplied by :data:`NOISE_SCALE`, and does not grow beyond the log-SNRs that matter.

    Args:
        prediction: one of :data:`PREDICTIONS`.
        x_t: (B, C, H, W).
        t: (B,), or (1,) when all images share it.
        alpha, sigma: at ``t``: single numbers, or one per image, (B,).
    """
    if not PREDICTIONS[check_prediction(prediction)].scales_input:
        return x_t, t
    level = (torch.as_tensor(sigma) / torch.as_tensor(alpha)).log().clamp(-LOUDEST, LOUDEST)
    c_noise = (NOISE_SCALE / 4 * level).reshape(-1).to(t.device, torch.float32, non_blocking=t.is_cuda)
    return per_image(_variance(alpha, sigma) ** -0.5, x_t) * x_t, c_noise


def prediction_target(prediction: str, x0: Tensor, noise: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Return the training target: ε, x0, v = alpha·ε − sigma·x0, the flow ε − x0, or EDM's mixture of variance 1.

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
    if prediction == "edm":
        scale = _variance(alpha, sigma) ** 0.5
        return per_image(sigma / scale / SIGMA_DATA, x0) * x0 - per_image(alpha / scale * SIGMA_DATA, x0) * noise
    return noise - x0


def x0_from_prediction(prediction: str, output: Tensor, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Convert the network's output to a clean image, (B, C, H, W); inverse of :func:`prediction_target`.

    Example:
        >>> x0, noise, alpha, sigma = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), -2.0), 0.8, 0.6
        >>> x_t = alpha * x0 + sigma * noise
        >>> for prediction in PREDICTIONS:
        ...     output = prediction_target(prediction, x0, noise, alpha, sigma)
        ...     print(prediction, round(x0_from_prediction(prediction, output, x_t, alpha, sigma).item(), 4))
        flow 0.5
        v 0.5
        epsilon 0.5
        x0 0.5
        edm 0.5
    """
    c_skip, c_out = x0_coefficients(prediction, alpha, sigma)
    return per_image(c_skip, x_t) * x_t + per_image(c_out, x_t) * output


def noise_from_x0(x0: Tensor, x_t: Tensor, alpha: Level, sigma: Level) -> Tensor:
    """Return the noise that leads from ``x0`` to ``x_t``, ε = (x_t − alpha·x0)/sigma; sigma must not be 0."""
    return (x_t - per_image(alpha, x_t) * x0) / per_image(sigma, x_t)
