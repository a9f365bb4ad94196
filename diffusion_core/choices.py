"""Registries of the schedules, predictions, losses, timestep densities, samplers, timestep spacings and distillations.

The command line, the forms of the dashboard, the validation of settings and the tests are all built from these registries.
Importing this module does not load torch. To add a sampler, a schedule or a spacing, write the function and add one entry.

    >>> [name for name, sampler in SAMPLERS.items() if sampler.order is None]  # these add fresh noise
    ['dpmpp_2m_sde', 'ddpm', 'euler_ancestral']
    >>> SCHEDULES["flow"](4).sigma.tolist()
    [0.25, 0.5, 0.75, 1.0]
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class Option:
    """A numerical option of one choice.

    Attributes:
        default: the value used when the option is omitted.
        low, high: the range, both ends included.
        about: its effect, in a few words.
    """

    default: float
    low: float
    high: float
    about: str


@dataclass(frozen=True, eq=False)
class Choice:
    """One entry of a registry, as shown to users.

    Attributes:
        title: the name for people, which the dashboard shows; requests, addresses and the command line use the registry's key.
        about: one sentence that helps users choose. A sampler's says how many steps it needs, as measured in
            benchmarks/README.md ("Steps saved").
    """

    title: str
    about: str


@dataclass(frozen=True, eq=False)
class FunctionChoice(Choice):
    """A choice that stands for a function; calling the choice calls the function.

    Attributes:
        target: the function, or its import path "module:name", resolved on first use.
    """

    target: str | Callable[..., Any]

    def load(self) -> Any:
        """Return the function."""
        return resolve_name(self.target) if isinstance(self.target, str) else self.target

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.load()(*arguments, **options)


@dataclass(frozen=True, eq=False)
class ScheduleChoice(FunctionChoice):
    """A noise schedule, called as ``schedule(num_timesteps)``.

    Attributes:
        ends_in_noise: whether alpha is 0 at the last timestep.
    """

    ends_in_noise: bool = False


@dataclass(frozen=True, eq=False)
class PredictionChoice(Choice):
    """A quantity that a network predicts; :mod:`diffusion_core.process` has the formulas.

    Attributes:
        needs_signal: whether the prediction does not determine x0 where alpha is 0.
        scales_input: whether the network takes a scaled state and the noise level instead of x_t and t.
    """

    needs_signal: bool = False
    scales_input: bool = False


@dataclass(frozen=True, eq=False)
class WeightingChoice(FunctionChoice):
    """A weighting of the loss, called as ``weighting(snr, c_out, gamma)``.

    Attributes:
        learned: whether training also learns weights (:class:`diffusion_core.losses.Uncertainty`), on top of these.
    """

    learned: bool = False


@dataclass(frozen=True, eq=False)
class DensityChoice(FunctionChoice):
    """A density of the timesteps in training, called as ``density(schedule, mean, std)``.

    Attributes:
        mean, std: the parameters of its paper.
    """

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True, eq=False)
class SamplerChoice(FunctionChoice):
    """A sampler with the call described in :mod:`diffusion_core.samplers`.

    Attributes:
        order: order of convergence to the solution of the probability-flow ODE; None for samplers that add fresh noise.
        options: additional keyword arguments, by name.
        calls: network calls per step.
    """

    order: int | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    calls: int = 1


SCHEDULES: dict[str, ScheduleChoice] = {
    "flow": ScheduleChoice(
        "Rectified flow", "Straight lines from image to noise.", "diffusion_core.schedules:flow", ends_in_noise=True
    ),
    "cosine": ScheduleChoice("Cosine", "The signal fades slowly at both ends.", "diffusion_core.schedules:cosine"),
    "linear": ScheduleChoice(
        "Linear (DDPM)", "Betas grow linearly; the image disappears early.", "diffusion_core.schedules:linear"
    ),
    "sigmoid": ScheduleChoice(
        "Sigmoid", "The signal follows a logistic curve; suits large images.", "diffusion_core.schedules:sigmoid"
    ),
}

PREDICTIONS: dict[str, PredictionChoice] = {
    "flow": PredictionChoice("Flow (ε − x0)", "The direction from image to noise."),
    "v": PredictionChoice("v", "alpha·ε − sigma·x0: stable at every noise level."),
    "epsilon": PredictionChoice(
        "Noise ε (DDPM)", "The noise that was added; not for schedules that end in pure noise.", needs_signal=True
    ),
    "x0": PredictionChoice("Clean image x0", "The image itself; weak where there is little noise."),
    "edm": PredictionChoice(
        "EDM", "Image and noise mixed so that inputs and targets have variance 1 at every noise level.", scales_input=True
    ),
}

NORMS: dict[str, FunctionChoice] = {
    "mse": FunctionChoice("Squared error", "The usual loss of diffusion models.", "torch.nn.functional:mse_loss"),
    "l1": FunctionChoice("Absolute error", "Weighs large errors less.", "torch.nn.functional:l1_loss"),
    "huber": FunctionChoice("Huber", "Squared up to an error of 1, absolute beyond.", "torch.nn.functional:huber_loss"),
}

WEIGHTINGS: dict[str, WeightingChoice] = {
    "uniform": WeightingChoice("Uniform", "All timesteps have equal weight.", "diffusion_core.losses:uniform_weights"),
    "min_snr": WeightingChoice(
        "Min-SNR",
        "Less weight for nearly clean timesteps: min(SNR, γ) on the x0 error.",
        "diffusion_core.losses:min_snr_weights",
    ),
    "learned": WeightingChoice(
        "Learned uncertainty",
        "Divides the loss by what it usually is at each noise level, which a small network learns.",
        "diffusion_core.losses:uniform_weights",
        learned=True,
    ),
}

DENSITIES: dict[str, DensityChoice] = {
    "uniform": DensityChoice("Uniform", "All timesteps are equally likely.", "diffusion_core.densities:uniform"),
    "logit_normal": DensityChoice(
        "Logit-normal",
        "Prefers the middle of the schedule (Stable Diffusion 3: mean 0, deviation 1).",
        "diffusion_core.densities:logit_normal",
    ),
    "log_normal": DensityChoice(
        "Log-normal of sigma",
        "Prefers one noise level sigma/alpha, whatever the schedule (EDM: mean −1.2, deviation 1.2).",
        "diffusion_core.densities:log_normal",
        mean=-1.2,
        std=1.2,
    ),
}

SAMPLERS: dict[str, SamplerChoice] = {
    "unipc": SamplerChoice(
        "UniPC-3",
        "Good in 10 steps, hardly better beyond 15; corrects each step by the next estimate, one network call each.",
        "diffusion_core.samplers:unipc",
        order=4,
    ),
    "dpmpp_2m": SamplerChoice(
        "DPM-Solver++(2M)",
        "Good in 15 steps, hardly better beyond 30; one network call each.",
        "diffusion_core.samplers:dpmpp_2m",
        order=2,
    ),
    "dpmpp_3m": SamplerChoice(
        "DPM-Solver++(3M)",
        "Good in 15 steps, hardly better beyond 20; third order, one network call each.",
        "diffusion_core.samplers:dpmpp_3m",
        order=3,
    ),
    "dpmpp_2s": SamplerChoice(
        "DPM-Solver++(2S)",
        "Good in 15 steps, hardly better beyond 20, with two network calls each; uses no earlier estimates.",
        "diffusion_core.samplers:dpmpp_2s",
        order=2,
        calls=2,
    ),
    "dpmpp_2m_sde": SamplerChoice(
        "SDE-DPM-Solver++(2M)",
        "Good in 15 steps; adds fresh noise at every step, in second order.",
        "diffusion_core.samplers:dpmpp_2m_sde",
    ),
    "ddpm": SamplerChoice("DDPM", "Good in 30 steps; adds fresh noise at every step.", "diffusion_core.samplers:ddpm"),
    "euler_ancestral": SamplerChoice(
        "Euler ancestral",
        "Another name for DDPM's step, with the same samples: good in 30 steps.",
        "diffusion_core.samplers:ddpm",
    ),
    "ddim": SamplerChoice(
        "DDIM",
        "Good in 20 steps, hardly better beyond 50; first order, one network call each; eta adds fresh noise.",
        "diffusion_core.samplers:ddim",
        order=1,
        options={"eta": Option(0.0, 0.0, 1.0, "fresh noise at every step")},
    ),
    "heun": SamplerChoice(
        "Heun",
        "Good in 15 steps and hardly better beyond, with two network calls each; second order.",
        "diffusion_core.samplers:heun",
        order=2,
        calls=2,
    ),
    "ipndm": SamplerChoice(
        "iPNDM-4",
        "Good in 15 steps and hardly better beyond; combines the last four slopes, one network call each.",
        "diffusion_core.samplers:ipndm",
        order=2,
    ),
}

SPACINGS: dict[str, FunctionChoice] = {
    "trailing": FunctionChoice(
        "Trailing",
        "Even steps from the last timestep, pure noise, to short of 0: usual for small images.",
        "diffusion_core.schedules:trailing",
    ),
    "shifted": FunctionChoice(
        "Shifted",
        "Like trailing, with shorter steps where there is more noise: usual for images larger than 32×32.",
        "diffusion_core.schedules:shifted",
    ),
    "leading": FunctionChoice(
        "Leading", "Even steps from short of the last timestep to 0, as in early DDIM code.", "diffusion_core.schedules:leading"
    ),
    "linspace": FunctionChoice(
        "Linspace", "Even steps from the last timestep to 0, both included.", "diffusion_core.schedules:linspace"
    ),
    "log_snr": FunctionChoice(
        "Log-SNR", "Equal steps in log-SNR, at fractional timesteps.", "diffusion_core.schedules:log_snr"
    ),
    "karras": FunctionChoice(
        "Karras", "Equal steps in (sigma/alpha)^(1/7), at fractional timesteps.", "diffusion_core.schedules:karras"
    ),
}
DISTILLATIONS: dict[str, Choice] = {
    "sfd": Choice(
        "Simple and fast distillation",
        "For about 4 calls, without images: the student learns the steps of its teacher.",
    ),
    "ect": Choice(
        "Easy consistency tuning",
        "For 1 or 2 calls, with the training images of the teacher; nothing is guided.",
    ),
}

USUAL_GUIDANCE = 2.0  # the scale that is proposed for conditional models
LEARNED = "learned"
MODEL_SPACINGS: Mapping[str, Choice] = ChainMap(
    {
        LEARNED: Choice(
            "Learned",
            "Timesteps learnt for the model, at which few steps stay closest to a fine solution.",
        )
    },
    SPACINGS,  # type: ignore[arg-type]  # entries added to it later are included
)
"""The spacings of a model that has learnt its own: those that a schedule alone determines, and the learnt one."""
