"""Import of models of other libraries: settings, scheduler and weights become a run, and every decision a note."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_core.condition import Condition
from unets.autoencoder import LatentSpace

from ...common.command_line import describe
from ...common.extras import require_extra
from ...common.settings import LONGEST
from ...common.text import shorten
from ...storage.config import (
    AutoencoderConfig,
    ConditionConfig,
    DataConfig,
    DiffusionConfig,
    LatentConfig,
    NetworkConfig,
    RunConfig,
    config_from_json,
)
from ...storage.files import atomic_folder, refuse_taken
from ...storage.imported_config import DIFFUSERS
from ...storage.imported_config import LUCIDRAINS as LUCIDRAINS_UNET
from ...storage.locations import with_settled_paths
from ...storage.run import Run
from ..latents import PREFIX, autoencoder_of
from ..networks import empty_network, make_denoiser, refuse_broken, refuse_misfits
from .classes import class_names, model_card
from .diffusers_folder import open_folder
from .diffusers_scheduler import read_scheduler
from .layouts import AUTOENCODER, LUCIDRAINS, OURS, UNET
from .lucidrains_unet import unet_settings
from .schedule import by_hand, read_buffers
from .single_file import open_file
from .source import CONFIG, Given, Source, read_settings
from .weight_files import Notes

INSIDE = {UNET: "unet.", AUTOENCODER: "vae.", LUCIDRAINS: "", OURS: ""}  # prefix of the weights' names in our network
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # old and current names of layers
SCALE, SCALING_FACTOR = "latent_scale", 0.18215  # the factor of the latents, and the default of AutoencoderKL
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CLASSES = {"id2label", "class_names", "labels", "classes", "null_class"}  # keys about classes, beside those of the network


def import_model(path: Path, out: Path, given: Given) -> Run:
    """Import a model of another library as a run, whose configuration records every decision.

    Args:
        path: a folder written by ``save_pretrained``, or a file of weights.
        out: the run folder to write.

    Raises:
        ValueError: ``out`` is taken, or the model cannot be imported.
    """
    require_extra("diffusers")
    refuse_taken(out)
    if not path.exists():
        raise ValueError(
            f"there is no {path}: give a folder written by diffusers' save_pretrained, or a .safetensors file; "
            "`hf download NAME --local-dir FOLDER` fetches a model from the hub"
        )
    notes: Notes = []
    source = open_file(path, given.config, notes) if path.is_file() else open_folder(path, given.variant, notes)
    config = _config(source, given, path if path.is_dir() else path.parent, notes)
    weights = _weights(source, config, notes)
    config = with_settled_paths(replace(config, import_notes=tuple(notes)))
    with atomic_folder(out) as whole:
        Run(whole).write_model(weights, config)
        Run(whole).write_config(config)
    return Run(out)


def _config(source: Source, given: Given, folder: Path, notes: Notes) -> RunConfig:
    """Return the configuration of a model as a run."""
    if source.layout == OURS:
        for name in ("schedule", "prediction", "image_size", "null_class"):
            if getattr(given, name) is not None:
                raise ValueError(
                    f"--{name.replace('_', '-')} is for models of other libraries: {source.path} has its own configuration"
                )
        notes.append("it is a network of Noisescope, with the configuration that it was trained with")
        return config_from_json(json.dumps(source.settings), f"the configuration of {source.path}")
    settings = unet_settings(source.weights.shapes) if source.layout == LUCIDRAINS else _known(source, notes)
    size = _image_size(source, settings, given, notes)
    kind = LUCIDRAINS_UNET if source.layout == LUCIDRAINS else DIFFUSERS
    null = given.null_class if given.null_class is not None else source.settings.get("null_class")
    network = NetworkConfig(unet=kind, settings=settings, null_class=null)
    shape = (settings.get("in_channels", 3), size, size)
    config = RunConfig(network=network, image_shape=shape)
    if source.layout == AUTOENCODER:
        autoencoder = AutoencoderConfig(latent_channels=settings.get("latent_channels", 4))
        return _with_images(replace(config, model="autoencoder", autoencoder=autoencoder), given)
    if network.takes == "class":
        config = replace(config, condition=_classes(source, network, folder, notes))
    elif null is not None:
        raise ValueError(f"--null-class={null}: the network of {source.path} takes no class")
    if settings.get("time_embedding_type") == "learned":
        notes.append("the network has a table of timesteps, so fractional ones are rounded")
    config = replace(config, diffusion=_diffusion(source, given, notes))
    if source.autoencoder is not None:
        config = _of_latents(config, _known(source.autoencoder, notes), source.autoencoder)
    return _with_images(config, given)


def _with_images(config: RunConfig, given: Given) -> RunConfig:
    assert config.image_shape is not None
    return replace(config, data=DataConfig(data=given.data, image_size=config.image_shape[1]))


def _known(source: Source, notes: Notes) -> dict[str, Any]:
    """Return the settings of a model of diffusers, without those that its class does not know."""
    import diffusers

    known = inspect.signature(getattr(diffusers, source.layout).__init__).parameters
    given = {name: value for name, value in source.settings.items() if not name.startswith("_")}
    unknown = [name for name in given if name not in known and name not in CLASSES]
    if unknown:
        told = shorten(", ".join(f"{name}={given[name]}" for name in unknown), LONGEST)
        notes.append(f"settings that diffusers' {source.layout} does not know have no effect there either: {told}")
    return {name: value for name, value in given.items() if name in known}


def _image_size(source: Source, settings: dict[str, Any], given: Given, notes: Notes) -> int:
    """Return the side of the images, or of the latents, that a network was trained on.

    Raises:
        ValueError: they are not square, or the model does not say and neither does the command.
    """
    size = settings.get("sample_size")
    parts = size if isinstance(size, list | tuple) else [size, size]
    told = shorten(str(size), LONGEST)
    if len(parts) == 2 and all(isinstance(part, int) for part in parts) and parts[0] != parts[1]:
        raise ValueError(f"{source.path} has sample_size={told}: only models of square images can be imported")
    if len(parts) == 2 and isinstance(parts[0], int) and parts[0] == parts[1]:
        if given.image_size not in (None, parts[0]):
            notes.append(f"images have {given.image_size} pixels a side, as given, and not {parts[0]} as sample_size says")
            return int(given.image_size or 0)
        notes.append(
            f"images have {parts[0]} pixels a side" if source.autoencoder is None else f"latents have the side {parts[0]}"
        )
        return int(parts[0])
    if given.image_size is None:
        why = f"has sample_size={told}" if source.layout != LUCIDRAINS else "does not say the size of its images"
        raise ValueError(f"{source.path} {why}: state the side of its images with --image-size, 32 say")
    notes.append(f"images have {given.image_size} pixels a side, as given")
    return given.image_size


def _classes(source: Source, network: NetworkConfig, folder: Path, notes: Notes) -> ConditionConfig:
    """Return the classes of a class-conditional network."""
    count, null = network.settings["num_class_embeds"], network.null_class
    if null is not None and not (null < count and count > 1):
        raise ValueError(f"--null-class={null}: the network of {source.path} has classes 0 to {count - 1}; choose one of them")
    places = [(CONFIG, source.settings), ("model_index.json", source.pipeline), ("the model card", model_card(folder, notes))]
    names = class_names(count, places, notes)
    if null is None:
        notes.append(
            "no class stands for none, so every sample needs a class and guidance stays at 1; if one does, import it with "
            "--null-class NUMBER"
        )
    else:
        notes.append(f"class {null} stands for none")
        names = names[:null] + names[null + 1 :]
    return ConditionConfig(classes=names)


def _diffusion(source: Source, given: Given, notes: Notes) -> DiffusionConfig:
    """Return how a network was trained: as its scheduler says, and what was given by hand takes precedence."""
    found = None
    if source.layout == LUCIDRAINS:
        if given.schedule == "flow":
            raise ValueError("--schedule flow: networks of denoising-diffusion-pytorch take linear, cosine or sigmoid")
        if source.extra is not None:
            found = read_buffers(source.extra.path, source.extra.read(), given.prediction, notes)
    elif source.scheduler is not None:
        try:
            found = read_scheduler(read_settings(source.scheduler), source.scheduler, notes)
        except ValueError as error:
            if given.schedule is None or given.prediction is None:
                raise
            notes.append(f"the scheduler is not used: {describe(error)}")
    return by_hand(found, given.schedule, given.prediction, notes)


def _of_latents(config: RunConfig, settings: dict[str, Any], source: Source) -> RunConfig:
    """Return the configuration of a network that denoises the latents of an autoencoder of diffusers."""
    shape = config.image_shape
    assert shape is not None
    channels, factor = settings.get("out_channels", 3), 2 ** (len(settings.get("block_out_channels", (64,))) - 1)
    if settings.get("latent_channels", 4) != shape[0]:
        raise ValueError(
            f"{source.path} makes latents of {settings.get('latent_channels', 4)} channels, and the network takes {shape[0]}"
        )
    network = NetworkConfig(unet=DIFFUSERS, settings=settings)
    latent = LatentConfig(latent=str(source.path), latent_shape=shape, latent_network=network)
    return replace(config, latent=latent, image_shape=(channels, shape[1] * factor, shape[2] * factor))


def _weights(source: Source, config: RunConfig, notes: Notes) -> dict[str, Tensor]:
    """Return the weights under their names in our networks, which are first tried without weights."""
    autoencoder = autoencoder_of(config)
    inside = {} if autoencoder is None else autoencoder.state_dict()
    if config.model == "autoencoder":
        assert autoencoder is not None
        _try(autoencoder, config, source.path)
        return _fitting(source, inside, notes)
    network = empty_network(config)
    make_denoiser(network, config)  # refuses unknown or incompatible schedules and predictions
    _try(network, config, source.path)
    expected = network.state_dict()
    if source.layout == OURS:
        expected |= {PREFIX + name: tensor for name, tensor in inside.items()}
    weights = _fitting(source, expected, notes)
    if source.autoencoder is not None:
        weights |= {PREFIX + name: tensor for name, tensor in _fitting(source.autoencoder, inside, notes).items()}
    return weights


def _fitting(source: Source, expected: Mapping[str, Tensor], notes: Notes) -> dict[str, Tensor]:
    """Read the weights of a model as float32, under the names that its network has here.

    Raises:
        ValueError: one is missing, unexpected, of another shape or type, or not finite.
    """
    foreign = source.layout == AUTOENCODER  # whose latents' factor is one of its settings
    names = {name: INSIDE[source.layout] + _renamed(name) for name in source.weights.described}
    found = source.weights.renamed(names)
    if any(new != INSIDE[source.layout] + old for old, new in names.items()):
        notes.append("attention layers have the names of an older diffusers and are read under the newer ones")
    refuse_misfits(
        found.path, {name: part for name, part in expected.items() if not (foreign and name == SCALE)}, found.described
    )
    kinds = sorted({TYPES.get(kind, kind) for _, kind in found.described.values()} - {"float32"})
    if kinds:
        notes.append(f"weights of {' and '.join(kinds)} are converted to float32")
    weights = found.read()
    refuse_broken(found.path, weights)
    if foreign:
        weights[SCALE] = torch.tensor(float(source.settings.get("scaling_factor") or SCALING_FACTOR))
        refuse_broken(source.path / CONFIG, weights)
        notes.append(f"latents are multiplied by scaling_factor={weights[SCALE].item():g}")
    return weights


def _try(network: torch.nn.Module, config: RunConfig, path: Path) -> None:
    """Run a network without weights for one image, which takes no memory.

    Raises:
        ValueError: it does not return an image of the same shape.
    """
    shape = config.image_shape if config.model == "autoencoder" else config.state_shape
    assert shape is not None
    image = torch.empty(1, *shape, device="meta")
    condition = None
    if config.network.takes == "class":
        condition = Condition(labels=torch.zeros(1, dtype=torch.long, device="meta"))
    try:
        if isinstance(network, LatentSpace):
            made = network.reconstruct(network.posterior(image).mean)
        else:
            made = network(image, torch.zeros(1, device="meta"), condition)
    except Exception as error:  # the library raises many kinds of errors
        size = f"{shape[1]}×{shape[2]}"
        raise ValueError(
            f"the model of {path} cannot run on images of {size} pixels: its settings contradict one another, or a level would "
            "halve an odd number of pixels; state the size that it was trained on with --image-size"
        ) from error
    if made.shape != image.shape:
        raise ValueError(f"the model of {path} makes images of another size: it cannot be imported")


def _renamed(name: str) -> str:
    """Return the current name of a weight; older versions of diffusers named attention layers differently."""
    parts = name.split(".")
    if "attentions" in parts[:-2]:
        parts[-2] = ATTENTION.get(parts[-2], parts[-2])
    return ".".join(parts)
