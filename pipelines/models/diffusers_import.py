"""Importing a model of diffusers: its settings, its scheduler and its weights become a run."""

from __future__ import annotations

import json
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

import torch

from ..storage.config import AutoencoderConfig, DataConfig, DiffusionConfig, NetworkConfig, RunConfig
from ..storage.files import refuse_taken
from ..storage.runs import Run
from ..storage.weights import read_tensors
from .latents import autoencoder_of
from .networks import empty_network, make_denoiser, refuse_misfits

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
AUTOENCODER = "AutoencoderKL"
PREFIXES = {"UNet2DModel": "unet.", AUTOENCODER: "vae."}  # of the weights' names, by what they are of
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # older names of its layers
SCALING_FACTOR = 0.18215  # of an AutoencoderKL that does not say
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}  # of the linear schedule here, and in diffusers by default


def import_model(
    folder: Path, out: Path, schedule: str | None = None, prediction: str | None = None, data: str = "unknown"
) -> Run:
    """Write a run with the weights of a model that ``save_pretrained`` of diffusers wrote.

    Args:
        folder: of a UNet2DModel, of a DDPMPipeline or DDIMPipeline, or of an AutoencoderKL.
        out: the run folder to write.
        schedule, prediction: how it was trained; needed where no scheduler was saved beside the model.
        data: what it was trained on.

    Raises:
        ValueError: ``out`` is taken, or the folder holds something that cannot be imported.
    """
    refuse_taken(out)
    own = _part(folder, "unet")
    settings = _read(own / CONFIG)
    kind = settings.get("_class_name", "something else")
    if kind not in PREFIXES:
        raise ValueError(
            f"{own} holds {kind}: a UNet2DModel or an AutoencoderKL can be imported, or a DDPMPipeline or DDIMPipeline with "
            "a UNet2DModel"
        )
    size = settings.get("sample_size")
    if not isinstance(size, int):
        raise ValueError(f"{own / CONFIG} names sample_size={size}: square images of a known size are needed")
    network = NetworkConfig(unet="diffusers", settings={k: v for k, v in settings.items() if not k.startswith("_")})
    config = RunConfig(
        network=network,
        data=DataConfig(data=data, image_size=size),
        image_shape=(settings.get("in_channels", 3), size, size),
    )
    if kind == AUTOENCODER:
        latents = AutoencoderConfig(latent_channels=settings.get("latent_channels", 4))
        config = replace(config, model="autoencoder", autoencoder=latents)
    else:
        config = replace(config, diffusion=_diffusion(schedule, prediction, _part(folder, "scheduler") / SCHEDULER))
    if not (own / WEIGHTS).is_file():
        raise ValueError(
            f"no {WEIGHTS} in {own}: only safetensors are read, never pickles; in Python, "
            f"{kind}.from_pretrained(FOLDER).save_pretrained(OTHER) writes one"
        )
    saved = read_tensors(own / WEIGHTS)[0]
    weights = {PREFIXES[kind] + _renamed(name): tensor.float() for name, tensor in saved.items()}
    if kind == AUTOENCODER:
        weights["latent_scale"] = torch.tensor(float(settings.get("scaling_factor", SCALING_FACTOR)))
    empty = autoencoder_of(config) if kind == AUTOENCODER else empty_network(config)
    assert empty is not None
    if kind != AUTOENCODER:
        make_denoiser(empty, config)  # refuses schedules and predictions that are unknown, or do not go together
    refuse_misfits(own / WEIGHTS, empty, weights)
    run = Run(out)
    run.write_model(weights, config)
    run.write_config(config)
    return run


def _part(folder: Path, name: str) -> Path:
    """Where a part of a pipeline lies: in a folder of its own, or, as of the oldest pipelines, beside all others."""
    return folder / name if (folder / name).is_dir() else folder


def _renamed(name: str) -> str:
    """What diffusers calls a weight today: attention had other names once."""
    *above, layer, kind = name.split(".")
    return ".".join([*above, ATTENTION.get(layer, layer), kind]) if "attentions" in above else name


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"no {path.name} in {path.parent}: give a folder that save_pretrained of diffusers wrote") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return values if isinstance(values, dict) else {}


def _diffusion(schedule: str | None, prediction: str | None, path: Path) -> DiffusionConfig:
    """How the model was trained: what the scheduler's file says, and what was given by hand.

    Raises:
        ValueError: it is not said, or not known here.
    """
    saved = _read(path) if path.is_file() else {}
    if not saved and (schedule is None or prediction is None):
        raise ValueError("no scheduler was saved beside the model: say how it was trained, with --schedule and --prediction")
    timesteps = saved.get("num_train_timesteps", DiffusionConfig.timesteps)
    if schedule is None:
        if "beta_schedule" not in saved:
            raise ValueError(
                f"{path}: {saved.get('_class_name', 'this scheduler')} is not known here: say how the model was trained, with "
                "--schedule and --prediction"
            )
        betas = saved["beta_schedule"]
        ends = [saved.get(name, value) for name, value in BETAS.items()]
        ours = [value * DiffusionConfig.timesteps / timesteps for value in BETAS.values()]  # as much noise for any length
        if (
            saved.get("trained_betas") is not None
            or betas not in SCHEDULES
            or (betas == "linear" and not all(map(isclose, ends, ours)))
        ):
            raise ValueError(
                f"{path}: the schedule {betas} from {ends[0]:g} to {ends[1]:g}: of {timesteps} timesteps, "
                f"{', '.join(SCHEDULES)} (from {ours[0]:g} to {ours[1]:g}) are known"
            )
        schedule = SCHEDULES[betas]
    if prediction is None:
        kind = saved.get("prediction_type", "epsilon")
        if kind not in PREDICTIONS:
            raise ValueError(f"{path}: prediction_type {kind!r}: {', '.join(PREDICTIONS)} are known")
        prediction = PREDICTIONS[kind]
    return DiffusionConfig(
        schedule=schedule,
        timesteps=timesteps,
        zero_terminal_snr=bool(saved.get("rescale_betas_zero_snr", False)),
        prediction=prediction,
    )
