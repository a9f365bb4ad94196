"""A model of another library as it lies on disk: what it is, its settings, weights and scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common.json_files import read_json
from .layouts import OURS
from .weight_files import Notes, Weights

CONFIG, SCHEDULER, EXPORTED = "config.json", "scheduler_config.json", "ExportedUNet"
IMPORTABLE = (
    "a UNet2DModel, an AutoencoderKL or a pipeline with them from diffusers, a Unet of denoising-diffusion-pytorch, and "
    "networks of Noisescope can be imported"
)


@dataclass(frozen=True)
class Source:
    """A model to import.

    Attributes:
        path: where it lies, for messages.
        layout: one of the names in :mod:`.layouts`.
        settings: the values of its config.json, or of the configuration of a run of ours.
        weights: by their names in the network.
        scheduler: file of the scheduler saved with it, if any.
        pipeline: the values of the pipeline's model_index.json, if any.
        autoencoder: of a pipeline of latents.
        extra: tensors saved beside the weights, such as a table of betas.
    """

    path: Path
    layout: str
    settings: Mapping[str, Any]
    weights: Weights
    scheduler: Path | None = None
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    autoencoder: Source | None = None
    extra: Weights | None = None


@dataclass(frozen=True)
class Given:
    """What is said by hand about a model to import.

    Attributes:
        schedule, prediction: how it was trained; required if no scheduler was saved with it.
        data: the dataset it was trained on.
        config: configuration of a single file of weights.
        variant: of the weights in a folder.
        image_size: side of its images, if the model does not say.
        null_class: number of the class that stands for none.
    """

    schedule: str | None = None
    prediction: str | None = None
    data: str = "unknown"
    config: Path | None = None
    variant: str | None = None
    image_size: int | None = None
    null_class: int | None = None


def read_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file that describes a model.

    Raises:
        ValueError: it is missing, cannot be read, or holds no object.
    """
    try:
        values = read_json(path)
    except OSError as error:
        raise ValueError(f"no {path.name} in {path.parent}: give a folder written by diffusers' save_pretrained") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings: it should be a JSON object, as save_pretrained writes it")
    return values


def exported_source(path: Path, settings: Mapping[str, Any], weights: Weights) -> Source:
    """Return the source of a network of ours that was exported to diffusers (see :mod:`pipelines.models.diffusers_export`).

    Raises:
        ValueError: it denoises the latents of an autoencoder, which was not exported with it.
    """
    run = settings.get("run")
    if not isinstance(run, dict):
        raise ValueError(f"{path / CONFIG} has no run: it is not the config of an exported network; export it again")
    latent = run.get("latent")
    if isinstance(latent, dict) and latent.get("latent_shape") is not None:
        raise ValueError(f"{path} is an exported network of latents, without their autoencoder: use the run that was exported")
    own = {name: name.removeprefix("network.") for name in weights.described}
    return Source(path, OURS, run, weights.renamed(own))


def scheduler_beside(folder: Path, notes: Notes) -> Path | None:
    """Return the file of the scheduler that lies with a network: in its folder, in ``scheduler``, or beside the folder."""
    above = folder.resolve().parent
    for place in (folder, folder / "scheduler", above, above / "scheduler"):
        if (place / SCHEDULER).is_file():
            if place in (above, above / "scheduler"):
                notes.append(f"the scheduler is the one beside the network, in {place}")
            return place / SCHEDULER
    return None
