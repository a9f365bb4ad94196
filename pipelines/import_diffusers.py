"""Import: ``python -m pipelines.import_diffusers FOLDER --out runs/NAME``, a model of diffusers as a run.

FOLDER is what ``save_pretrained`` wrote: of a ``UNet2DModel``, or of a ``DDPMPipeline`` or ``DDIMPipeline``, whose scheduler
then says how it was trained, or of an ``AutoencoderKL``, whose latents can then be diffused. The weights are copied, and
computed in float32, as diffusers does.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from .command_line import DONE, run_command
from .config import AutoencoderConfig, DataConfig, DiffusionConfig, NetworkConfig, RunConfig
from .runs import Run, read_tensors, refuse_taken

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
AUTOENCODER = "AutoencoderKL"
PREFIXES = {"UNet2DModel": "unet.", AUTOENCODER: "vae."}  # of the weights' names, by what they are of
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # older names of its layers
SCALING_FACTOR = 0.18215  # of an AutoencoderKL that does not say
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}  # of the linear schedule here, and in diffusers by default


@dataclass(frozen=True)
class Import:
    """Make a run of a model that diffusers saved."""

    folder: Positional[Path]
    """What save_pretrained wrote: of a UNet2DModel, of a pipeline with one, or of an AutoencoderKL."""
    out: Path
    """The run folder to write."""
    schedule: str | None = None
    """linear, cosine, sigmoid or flow; needed where no scheduler was saved beside the model."""
    prediction: str | None = None
    """What the network outputs, epsilon, x0, v or flow; needed where no scheduler was saved beside the model."""
    data: str = "unknown"
    """What it was trained on, if you have it: a short name, a hub id or a folder. pipelines.evaluate compares with it."""


def main(arguments: Import) -> int:
    """Write the run; the exit code."""
    import torch

    from .latents import autoencoder_of
    from .model import empty_network, make_denoiser, refuse_misfits

    folder = arguments.folder
    refuse_taken(arguments.out)
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
        data=DataConfig(data=arguments.data, image_size=size),
        image_shape=(settings.get("in_channels", 3), size, size),
    )
    if kind == AUTOENCODER:
        latents = AutoencoderConfig(latent_channels=settings.get("latent_channels", 4))
        config = replace(config, model="autoencoder", autoencoder=latents)
    else:
        config = replace(config, diffusion=_diffusion(arguments, _part(folder, "scheduler") / SCHEDULER))
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
    run = Run(arguments.out)
    run.write_model(weights, config)
    run.write_config(config)
    diffusion = config.diffusion
    about = "an autoencoder" if kind == AUTOENCODER else f"{diffusion.schedule}, {diffusion.prediction}"
    print(f"{run.path}: {run.num_parameters / 1e6:.2f} M parameters, {size}×{size}, {about}")
    return DONE


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


def _diffusion(arguments: Import, path: Path) -> DiffusionConfig:
    """How the model was trained: what the scheduler's file says, and what was given by hand.

    Raises:
        ValueError: it is not said, or not known here.
    """
    saved = _read(path) if path.is_file() else {}
    schedule, prediction = arguments.schedule, arguments.prediction
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


if __name__ == "__main__":
    sys.exit(run_command(Import, main, "pipelines.import_diffusers"))
