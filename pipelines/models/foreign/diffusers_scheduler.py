"""What the scheduler saved with a diffusers model says about how it was trained."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from diffusion_core.process import LOUDEST, SIGMA_DATA

from ...common.command_line import describe
from ...common.settings import LONGEST, Between, Settings, settings_from
from ...common.text import shorten
from ...storage.config import DiffusionConfig, ImportedProcess
from .schedule import betas_of, with_table
from .weight_files import Notes

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
VARIANCE_PRESERVING = tuple(
    f"{name}Scheduler"
    for name in (
        *("DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "DDIMInverse", "PNDM", "DEISMultistep", "UniPCMultistep", "SASolver"),
        *("DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSinglestep", "DPMSolverSDE", "EulerDiscrete"),
        *("EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete"),
    )
)
FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
EDM_KEYS = {"sigma_data", "sigma_min", "sigma_max", "rho", "sigma_schedule"}  # elsewhere options of sampling
BUILT_AS = {"DPMSolverSDEScheduler": "HeunDiscreteScheduler"}  # of the same table, but without another library
RENAMED = {"timesteps": "num_train_timesteps"}  # keys of the oldest versions
IMPOSSIBLE = {  # values that change what the network takes or gives, by key
    "use_dynamic_shifting": (True, "the noise levels of such a model depend on the size of the image"),
    "invert_sigmas": (True, "such a model counts its noise levels backwards"),
    "timestep_type": ("continuous", "such a network takes the logarithm of the noise level instead of the timestep"),
}


@dataclass(frozen=True)
class _Scheduler(Settings):
    """The part of a scheduler's file that says how the model was trained; a missing key has the default of its class."""

    num_train_timesteps: Annotated[int, Between(2, 100_000)] = 1000
    beta_schedule: str = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    trained_betas: list[float] | None = None
    prediction_type: str = "epsilon"
    predict_epsilon: bool | None = None
    rescale_betas_zero_snr: bool = False
    clip_sample: bool = False
    clip_sample_range: Annotated[float, Between(0.0, above=True)] = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0
    use_flow_sigmas: bool = False
    flow_shift: Annotated[float | None, Between(0.0, above=True)] = 1.0
    shift: Annotated[float, Between(0.0, above=True)] = 1.0
    sigma_data: float = SIGMA_DATA
    sigma_min: Annotated[float | None, Between(0.0, above=True)] = None
    sigma_max: Annotated[float | None, Between(0.0, above=True)] = None
    rho: Annotated[float, Between(0.0, above=True)] = 7.0
    sigma_schedule: str = "karras"


def read_scheduler(values: Mapping[str, Any], path: Path, notes: Notes) -> DiffusionConfig:
    """Return how a model was trained, from the values of its scheduler's file.

    Args:
        path: the file, for messages.
        notes: gets a sentence for each decision.

    Raises:
        ValueError: a key has a wrong type or value, or something that cannot be represented; the message names the key.
    """
    name = values.get("_class_name")
    if name is None:
        name = VARIANCE_PRESERVING[0]
        notes.append(f"{path.name} does not name its class: it is read as that of a {name}")
    if name not in (*VARIANCE_PRESERVING, *FLOW, *EDM):
        raise ValueError(
            f"{path}: _class_name {shorten(str(name), LONGEST)} cannot be imported: the schedulers of DDPM, DDIM, PNDM, "
            "DPM-Solver, UniPC, DEIS, Euler, Heun, EDM and flow matching can; or state how the model was trained with "
            "--schedule and --prediction"
        )
    given = {key: value for key, value in values.items() if not key.startswith("_")}
    for old in RENAMED.keys() & given.keys():
        given.setdefault(RENAMED[old], given.pop(old))
        notes.append(f"{path.name}: {old} is read as {RENAMED[old]}, its newer name")
    import diffusers

    kind = getattr(diffusers, BUILT_AS.get(name, name))
    usual = {key: part.default for key, part in inspect.signature(kind.__init__).parameters.items() if key != "self"}
    for key, (value, reason) in IMPOSSIBLE.items():
        if given.get(key, usual.get(key)) == value:
            raise ValueError(f"{path}: {key}={value} cannot be imported: {reason}")
    ours = {field.name for field in fields(_Scheduler)} - (set() if name in EDM else EDM_KEYS)
    # Keys that are missing, or null as an optional table may be, have their class's default.
    told = {
        key: value for key, value in (usual | {k: v for k, v in given.items() if v is not None}).items() if value is not None
    }
    saved = settings_from(_Scheduler, {key: value for key, value in told.items() if key in ours}, str(path))
    _tell_unused(given, usual, ours, name, notes)
    if saved.predict_epsilon is not None:
        told_by_it = "epsilon" if saved.predict_epsilon else "sample"
        if given.get("prediction_type", told_by_it) != told_by_it:
            raise ValueError(
                f"{path}: predict_epsilon={saved.predict_epsilon} contradicts prediction_type={saved.prediction_type}"
            )
        saved = replace(saved, prediction_type=told_by_it)
        notes.append(
            f"{path.name}: predict_epsilon={saved.predict_epsilon} is read as prediction_type {told_by_it!r}, its newer form"
        )
    if name in FLOW or saved.use_flow_sigmas:
        return _flow(saved, name, path, notes)
    built = _built(kind, saved, usual, path)
    return _edm(saved, built, path, notes) if name in EDM else _variance_preserving(saved, built, path, notes)


def _tell_unused(given: Mapping[str, Any], usual: Mapping[str, Any], ours: set[str], name: str, notes: Notes) -> None:
    """Note the keys of a scheduler that are not used: those of sampling, and those that its class does not know."""
    unused = {key: value for key, value in given.items() if key not in ours}
    sampling = [f"{key}={value}" for key, value in unused.items() if key in usual and value != usual[key]]
    unknown = [key for key in unused if key not in usual]
    if sampling:
        notes.append(
            f"options of sampling are not kept ({shorten(', '.join(sampling), LONGEST)}): choose the sampler, the steps and "
            "their spacing when you sample"
        )
    if unknown:
        notes.append(f"keys that {name} does not know are not used: {shorten(', '.join(unknown), LONGEST)}")


def _built(kind: Any, saved: _Scheduler, usual: Mapping[str, Any], path: Path) -> Any:
    """Build a scheduler of diffusers from what has been checked.

    Raises:
        ValueError: diffusers cannot build it.
    """
    if saved.trained_betas is not None and len(saved.trained_betas) != saved.num_train_timesteps:
        raise ValueError(
            f"{path}: trained_betas has {len(saved.trained_betas):,} values for num_train_timesteps="
            f"{saved.num_train_timesteps:,}: give one for each timestep"
        )
    options = {key: getattr(saved, key) for key in usual if hasattr(saved, key) and getattr(saved, key) is not None}
    try:
        return kind(**options)
    except Exception as error:  # the library raises many kinds of errors
        raise ValueError(
            f"{path}: beta_schedule {saved.beta_schedule!r} cannot be imported: diffusers' {kind.__name__} cannot be built "
            f"({shorten(describe(error), LONGEST)})"
        ) from error


def _prediction(saved: _Scheduler, path: Path) -> str:
    if saved.prediction_type not in PREDICTIONS:
        told = shorten(repr(saved.prediction_type), LONGEST)
        raise ValueError(f"{path}: prediction_type {told} cannot be imported: {', '.join(PREDICTIONS)} can")
    return PREDICTIONS[saved.prediction_type]


def _clipping(saved: _Scheduler, notes: Notes) -> dict[str, Any]:
    """Return how estimates are clipped, as the scheduler does it."""
    if saved.thresholding:
        notes.append(
            f"estimates are thresholded dynamically (dynamic_thresholding_ratio={saved.dynamic_thresholding_ratio:g}, "
            f"sample_max_value={saved.sample_max_value:g})"
        )
        return {"clip": None, "thresholding": (saved.dynamic_thresholding_ratio, saved.sample_max_value)}
    if saved.clip_sample:
        notes.append(f"estimates are clipped to ±{saved.clip_sample_range:g}")
        return {"clip": saved.clip_sample_range}
    notes.append("estimates are not clipped, as the scheduler does not clip them")
    return {"clip": None}


def _variance_preserving(saved: _Scheduler, built: Any, path: Path, notes: Notes) -> DiffusionConfig:
    name = "trained_betas" if saved.trained_betas is not None else saved.beta_schedule
    kept = built.alphas_cumprod
    if saved.prediction_type == "epsilon" and kept[-1] == 0 and bool((kept[:-1] > 0).all()):
        raise ValueError(
            f"{path}: prediction_type 'epsilon' cannot be imported on a schedule that ends in pure noise "
            "(rescale_betas_zero_snr, or the betas), where the noise does not tell the image"
        )
    return with_table(kept, name, _prediction(saved, path), _clipping(saved, notes), path, notes)


def _flow(saved: _Scheduler, name: str, path: Path, notes: Notes) -> DiffusionConfig:
    if saved.use_flow_sigmas and saved.prediction_type != "flow_prediction":
        told = f"use_flow_sigmas with prediction_type {saved.prediction_type!r}"
        raise ValueError(f"{path}: {told} cannot be imported: flow_prediction can")
    length, shift = saved.num_train_timesteps, (saved.flow_shift or 1.0) if saved.use_flow_sigmas else saved.shift
    notes.append(
        f"the noise schedule is flow with {length} timesteps"
        + f", shifted by {shift:g}" * (shift != 1)
        + f", and the network takes {length}·sigma as its time"
    )
    imported = ImportedProcess(name, time="sigma", **_clipping(saved, notes))
    return DiffusionConfig("flow", length, prediction="flow", noise_shift=shift, imported=imported)


def _edm(saved: _Scheduler, built: Any, path: Path, notes: Notes) -> DiffusionConfig:
    sigmas = built.sigmas[:-1].double().flip(0)
    if saved.prediction_type != "epsilon" or saved.sigma_data != SIGMA_DATA:
        raise ValueError(
            f"{path}: prediction_type {saved.prediction_type!r} with sigma_data={saved.sigma_data:g} cannot be imported: EDM's "
            f"'epsilon' with {SIGMA_DATA:g} can"
        )
    if not bool((sigmas.log().abs() <= LOUDEST).all()) or bool((sigmas.diff() <= 0).any()):
        raise ValueError(
            f"{path}: sigma_min={saved.sigma_min} and sigma_max={saved.sigma_max} cannot be imported: give noise "
            f"levels between e^−{LOUDEST:g} and e^{LOUDEST:g} in increasing order"
        )
    notes.append(
        f"the noise levels are EDM's, {sigmas[0]:.4g} to {sigmas[-1]:.4g}, as a table of {len(sigmas)}; the network takes its "
        "scaled input and log(sigma)/4"
    )
    betas = betas_of(1 / (1 + sigmas.square()), "EDM", path)
    imported = ImportedProcess("EDM", betas, "c_noise", **_clipping(saved, notes))
    return DiffusionConfig("linear", len(betas), prediction="edm", imported=imported)
