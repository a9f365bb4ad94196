"""Import of diffusers models: settings, scheduler and weights become a run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import isclose
from pathlib import Path
from typing import Annotated, Any

import torch

from diffusion_core.choices import PREDICTIONS as CHOICES
from unets.autoencoder import LatentSpace

from ..common.command_line import describe
from ..common.json_files import read_json
from ..common.settings import LONGEST, Between, Settings, settings_from
from ..common.text import shorten
from ..storage.config import AutoencoderConfig, DataConfig, DiffusionConfig, NetworkConfig, RunConfig
from ..storage.files import atomic_folder, refuse_taken
from ..storage.runs import Run
from ..storage.weights import described_tensors, read_tensors
from .latents import autoencoder_of
from .networks import empty_network, make_denoiser, refuse_broken, refuse_misfits

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
AUTOENCODER = "AutoencoderKL"
PREFIXES = {"UNet2DModel": "unet.", AUTOENCODER: "vae."}  # of the weights' names, by model class
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # old and current names of layers
SCALE, SCALING_FACTOR = "latent_scale", 0.18215  # the factor of the latents, and the default of AutoencoderKL
SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
BETAS = (1e-4, 0.02)  # ends of our linear schedule, and the defaults of diffusers


@dataclass(frozen=True)
class _Scheduler(Settings):
    """What a scheduler's file says about the training, with the defaults of diffusers."""

    num_train_timesteps: Annotated[int, Between(1, 100_000)] = 1000
    beta_schedule: str | None = None
    beta_start: float = BETAS[0]
    beta_end: float = BETAS[1]
    trained_betas: list[float] | None = None
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False


def import_model(
    folder: Path, out: Path, schedule: str | None = None, prediction: str | None = None, data: str = "unknown"
) -> Run:
    """Import a model saved by diffusers' ``save_pretrained`` as a run.

    Args:
        folder: holds a UNet2DModel, a DDPMPipeline or DDIMPipeline, or an AutoencoderKL.
        out: the run folder to write.
        schedule, prediction: how the model was trained; required if no scheduler was saved with it.
        data: the dataset it was trained on.

    Raises:
        ValueError: ``out`` is taken, or the model cannot be imported.
    """
    refuse_taken(out)
    own = _part(folder, "unet")
    settings = _read(own / CONFIG)
    kind = settings.get("_class_name", "something else")
    if not isinstance(kind, str) or kind not in PREFIXES:
        raise ValueError(
            f"{own} holds {shorten(str(kind), LONGEST)}: only a UNet2DModel, an AutoencoderKL, and a DDPMPipeline or "
            "DDIMPipeline with a UNet2DModel can be imported"
        )
    size = settings.get("sample_size")
    if not isinstance(size, int):
        told = shorten(str(size), LONGEST)
        raise ValueError(f"{own / CONFIG} has sample_size={told}: only models of square images of a fixed size can be imported")
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
            f"no {WEIGHTS} in {own}: weights are read from safetensors only, never from pickles; in Python, "
            f"{kind}.from_pretrained(FOLDER).save_pretrained(OTHER) converts them"
        )
    empty = autoencoder_of(config) if kind == AUTOENCODER else empty_network(config)
    assert empty is not None
    if kind != AUTOENCODER:
        make_denoiser(empty, config)  # refuses unknown or incompatible schedules and predictions
    _try(empty, config, own)
    described = described_tensors(own / WEIGHTS)
    new_names = {name: PREFIXES[kind] + _renamed(name) for name in described}
    expected = {name: tensor for name, tensor in empty.state_dict().items() if name != SCALE}
    refuse_misfits(own / WEIGHTS, expected, {new_names[name]: part for name, part in described.items()})
    weights = {new_names[name]: tensor.float() for name, tensor in read_tensors(own / WEIGHTS)[0].items()}
    refuse_broken(own / WEIGHTS, weights)
    if kind == AUTOENCODER:
        weights[SCALE] = torch.tensor(float(settings.get("scaling_factor", SCALING_FACTOR)))
        refuse_broken(own / CONFIG, weights)
    with atomic_folder(out) as whole:
        Run(whole).write_model(weights, config)
        Run(whole).write_config(config)
    return Run(out)


def _try(network: torch.nn.Module, config: RunConfig, folder: Path) -> None:
    """Run a network without weights for one image, which takes no memory.

    Raises:
        ValueError: it does not return an image of the same shape.
    """
    assert config.image_shape is not None
    image = torch.empty(1, *config.image_shape, device="meta")
    try:
        if isinstance(network, LatentSpace):
            made = network.reconstruct(network.posterior(image).mean)
        else:
            made = network(image, torch.zeros(1, device="meta"))
    except Exception as error:  # the library raises many kinds of errors
        raise ValueError(f"the model of {folder} cannot run with its settings: {describe(error)}") from error
    if made.shape != image.shape:
        raise ValueError(f"the model of {folder} makes images of another size: it cannot be imported")


def _part(folder: Path, name: str) -> Path:
    """Return the folder of a part of a pipeline: its subfolder, or, for the oldest pipelines, the folder itself."""
    return folder / name if (folder / name).is_dir() else folder


def _renamed(name: str) -> str:
    """Return the current name of a weight; older versions of diffusers named attention layers differently."""
    *above, layer, kind = name.split(".")
    return ".".join([*above, ATTENTION.get(layer, layer), kind]) if "attentions" in above else name


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except OSError as error:
        raise ValueError(f"no {path.name} in {path.parent}: give a folder written by diffusers' save_pretrained") from error
    return values if isinstance(values, dict) else {}


def _diffusion(schedule: str | None, prediction: str | None, path: Path) -> DiffusionConfig:
    """Return how the model was trained, from the scheduler's file and the settings given by hand, which take precedence.

    Raises:
        ValueError: the schedule or the prediction is missing or unknown.
    """
    values = _read(path) if path.is_file() else {}
    if not values and (schedule is None or prediction is None):
        raise ValueError("no scheduler was saved with the model: state how it was trained with --schedule and --prediction")
    known = {field.name for field in fields(_Scheduler)}
    saved = settings_from(_Scheduler, {name: value for name, value in values.items() if name in known}, str(path))
    timesteps = saved.num_train_timesteps
    if schedule is None:
        betas, ends = saved.beta_schedule, (saved.beta_start, saved.beta_end)
        if betas is None:
            raise ValueError(
                f"{path}: {shorten(str(values.get('_class_name', 'this scheduler')), LONGEST)} cannot be imported: state how "
                "the model was trained with --schedule and --prediction"
            )
        ours = [value * DiffusionConfig.timesteps / timesteps for value in BETAS]  # equal noise at any length
        if (
            saved.trained_betas is not None
            or betas not in SCHEDULES
            or (betas == "linear" and not all(map(isclose, ends, ours)))
        ):
            raise ValueError(
                f"{path}: the schedule {betas} from {ends[0]:g} to {ends[1]:g} cannot be imported: with {timesteps} timesteps, "
                f"{', '.join(SCHEDULES)} (from {ours[0]:g} to {ours[1]:g}) can"
            )
        schedule = SCHEDULES[betas]
    if prediction is None:
        kind = saved.prediction_type
        if kind not in PREDICTIONS:
            raise ValueError(f"{path}: prediction_type {kind!r} cannot be imported: {', '.join(PREDICTIONS)} can")
        prediction = PREDICTIONS[kind]
    if prediction in CHOICES and CHOICES[prediction].scales_input:
        raise ValueError(f"prediction {prediction!r}: networks of diffusers take x_t as it is; state v, epsilon, x0 or flow")
    return DiffusionConfig(
        schedule=schedule,
        timesteps=timesteps,
        zero_terminal_snr=saved.rescale_betas_zero_snr,
        prediction=prediction,
    )
