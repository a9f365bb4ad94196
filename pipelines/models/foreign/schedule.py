"""How an imported model was trained, from a table of its schedule and from what is given by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_core.choices import PREDICTIONS
from diffusion_core.schedules import make_schedule

from ...storage.config import DiffusionConfig, ImportedProcess
from .weight_files import Notes

NAMED = ("linear", "cosine", "sigmoid")  # our variance-preserving schedules


def with_table(
    alphas_cumprod: Tensor, name: str, prediction: str, clipping: Mapping[str, Any], path: Path, notes: Notes
) -> DiffusionConfig:
    """Return how a model was trained on a variance-preserving schedule: one of ours, if it is the same, else its table.

    Args:
        alphas_cumprod: (T,) the table of ᾱ.
        name: of the schedule in its library.
        clipping: fields of :class:`ImportedProcess`.

    Raises:
        ValueError: the table makes no schedule.
    """
    kept, length = alphas_cumprod.double(), len(alphas_cumprod)
    for ours in NAMED:
        for zero in (False, True):
            if torch.allclose(make_schedule(ours, length, zero).alphas_cumprod, kept, rtol=1e-3, atol=0):
                notes.append(f"the noise schedule is {ours} with {length} timesteps{', rescaled to zero terminal SNR' * zero}")
                return DiffusionConfig(ours, length, zero, prediction, imported=ImportedProcess(**clipping))
    notes.append(f"the noise schedule {name} is kept as a table of {length} betas")
    imported = ImportedProcess(name, betas_of(kept, name, path), **clipping)
    return DiffusionConfig("linear", length, prediction=prediction, imported=imported)


def betas_of(kept: Tensor, name: str, path: Path) -> tuple[float, ...]:
    """Return the betas of a table of ᾱ.

    Raises:
        ValueError: they do not make a schedule.
    """
    betas = (1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])).tolist()
    if not all(isfinite(beta) and 0 <= beta <= 1 for beta in betas) or not 0 < betas[0] < 1:
        raise ValueError(
            f"{path}: the schedule {name} cannot be imported with these beta_start, beta_end or trained_betas: each beta must "
            "lie between 0 and 1, the first above 0, and only the last timestep may be without any signal"
        )
    return tuple(betas)


def by_hand(config: DiffusionConfig | None, schedule: str | None, prediction: str | None, notes: Notes) -> DiffusionConfig:
    """Return how a model was trained with what was given by hand in place of what its scheduler says, if there is one.

    Raises:
        ValueError: the schedule or the prediction is missing or unknown.
    """
    if config is None and (schedule is None or prediction is None):
        raise ValueError(
            "no scheduler was saved with the model: state how it was trained with --schedule and --prediction, for example "
            "--schedule linear --prediction epsilon as most DDPMs, or --schedule flow --prediction flow"
        )
    if prediction in PREDICTIONS and PREDICTIONS[prediction].scales_input:
        raise ValueError(f"prediction {prediction!r}: networks of diffusers take x_t as it is; state v, epsilon, x0 or flow")
    found = DiffusionConfig() if config is None else config
    if schedule is not None:
        before = found.imported or ImportedProcess()
        process = ImportedProcess(time="sigma" if schedule == "flow" else "timestep", clip=before.clip)
        snr = config is not None and found.zero_terminal_snr
        found = DiffusionConfig(schedule, found.timesteps, snr, prediction or found.prediction, imported=process)
        notes.append(f"the noise schedule is {schedule} with {found.timesteps} timesteps, as given")
        if schedule == "flow":
            notes.append(f"the network is taken to want {found.timesteps}·sigma as its time, as in diffusers' flow matching")
        if config is None:
            notes.append("estimates of pixels are clipped to [−1, 1]")
    if prediction is not None:
        found = replace(found, prediction=prediction)
        notes.append(f"the network is taken to predict {prediction}, as given")
    return found


def read_buffers(path: Path, buffers: Mapping[str, Tensor], prediction: str | None, notes: Notes) -> DiffusionConfig:
    """Return how a network was trained from the buffers of denoising-diffusion-pytorch's GaussianDiffusion.

    The weights of its loss tell what the network predicts: SNR for x0, SNR/(1 + SNR) for v, 1 for ε.

    Args:
        path: the file, for messages.
        buffers: the tensor ``betas``, and ``loss_weight`` if there is one.
        prediction: what the network predicts, if it was given by hand.
        notes: gets a sentence for each decision.

    Raises:
        ValueError: the betas make no schedule, or the prediction is neither known nor given.
    """
    betas = buffers["betas"].double()
    if betas.ndim != 1 or not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError(f"{path}: the betas beside the weights cannot be imported: each must lie between 0 and 1")
    kept = (1 - betas).cumprod(0)
    snr = kept / (1 - kept)
    loss = buffers.get("loss_weight", betas).double()
    weights = {"epsilon": torch.ones_like(snr), "x0": snr, "v": snr / (1 + snr)}
    fits = [name for name, each in weights.items() if torch.allclose(each, loss, rtol=1e-2, atol=1e-4)]
    if prediction is None:
        if not fits:
            raise ValueError(f"{path} does not say what its network predicts: state it with --prediction v, epsilon or x0")
        prediction = fits[0]
        notes.append(f"the network predicts {prediction}, as the weights of its loss say")
    notes.append("estimates are clipped to ±1")
    return with_table(kept, "betas of GaussianDiffusion", prediction, {"clip": 1.0}, path, notes)
