"""Folders written by diffusers' ``save_pretrained``: a model, or a pipeline of several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.settings import LONGEST
from ..common.text import shorten
from .foreign_files import Notes, find_weights
from .foreign_layouts import AUTOENCODER, UNET
from .foreign_source import CONFIG, EXPORTED, IMPORTABLE, SCHEDULER, Source, exported_source, read_settings, scheduler_beside

INDEX = "model_index.json"
NETWORKS = (UNET, EXPORTED)


def open_folder(folder: Path, variant: str | None, notes: Notes) -> Source:
    """Find the network, the scheduler and any autoencoder in a folder.

    Args:
        variant: of the weights, such as fp16; full precision by default.
        notes: gets a sentence for each decision.

    Raises:
        ValueError: there is no model that can be imported, or several.
    """
    pipeline = read_settings(folder / INDEX) if (folder / INDEX).is_file() else {}
    parts = {part.name: read_settings(part / CONFIG) for part in _subfolders(folder) if (part / CONFIG).is_file()}
    networks = [name for name, settings in parts.items() if _class_of(settings) in NETWORKS]
    if not networks:
        own = folder / "unet" if "unet" in parts else folder
        return _model(own, parts.get("unet") or read_settings(folder / CONFIG), variant, pipeline, notes)
    listed = [name for name in networks if name in pipeline]
    chosen = listed if len(networks) > 1 and listed else networks
    if len(chosen) > 1:
        raise ValueError(f"{folder} has several networks ({', '.join(chosen)}): give the folder of one of them")
    [name] = chosen
    if name != "unet":
        notes.append(f"the network is {name}")
    source = _model(folder / name, parts[name], variant, pipeline, notes)
    others = {part: _class_of(settings) for part, settings in parts.items() if part != name}
    latents = [part for part, kind in others.items() if kind == AUTOENCODER]
    for part, kind in others.items():
        if kind == "VQModel":
            raise ValueError(f"{folder / part} holds a VQModel: pipelines of latents need an AutoencoderKL to be imported")
    if len(latents) > 1:
        raise ValueError(
            f"{folder} has several autoencoders ({', '.join(latents)}): leave the one that the network was trained with"
        )
    scheduler = _scheduler_in(folder, pipeline)
    unused = [part for part in _components(folder, pipeline, parts) if part not in (name, *latents, scheduler)]
    if unused:
        notes.append(f"other parts of the pipeline are not used: {', '.join(unused)}")
    autoencoder = _model(folder / latents[0], parts[latents[0]], variant, {}, notes) if latents else None
    if autoencoder is not None:
        notes.append(f"the network denoises latents, which {latents[0]} decodes")
    file = source.scheduler if scheduler is None else folder / scheduler / SCHEDULER
    return Source(source.path, source.layout, source.settings, source.weights, file, pipeline, autoencoder)


def _model(own: Path, settings: dict[str, Any], variant: str | None, pipeline: Mapping[str, Any], notes: Notes) -> Source:
    """Return the model in a folder of its own."""
    kind = _class_of(settings)
    if kind not in (*NETWORKS, AUTOENCODER):
        told = shorten(str(settings.get("_class_name", "something else")), LONGEST)
        raise ValueError(f"{own} holds {told}: only {IMPORTABLE}")
    weights = find_weights(own, variant, notes)
    if kind == EXPORTED:
        return exported_source(own, settings, weights)
    scheduler = scheduler_beside(own, notes) if kind == UNET else None
    return Source(own, str(kind), settings, weights, scheduler, pipeline)


def _class_of(settings: Mapping[str, Any]) -> str | None:
    kind = settings.get("_class_name")
    return kind if isinstance(kind, str) else None


def _subfolders(folder: Path) -> list[Path]:
    return [part for part in sorted(folder.iterdir()) if part.is_dir()] if folder.is_dir() else []


def _scheduler_in(folder: Path, pipeline: Mapping[str, Any]) -> str | None:
    """Return the name of the subfolder with the scheduler: ``scheduler``, the one that the pipeline lists, or the only one."""
    found = [part.name for part in _subfolders(folder) if (part / SCHEDULER).is_file()]
    if "scheduler" in found:
        return "scheduler"
    listed = [name for name in found if name in pipeline] or found
    if len(listed) > 1:
        raise ValueError(
            f"{folder} has several schedulers ({', '.join(listed)}): leave the one that the network was trained with"
        )
    return listed[0] if listed else None


def _components(folder: Path, pipeline: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    """Return the names of a pipeline's parts: those with a config, and those that its index lists."""
    listed = [name for name, value in pipeline.items() if isinstance(value, list) and any(value) and (folder / name).is_dir()]
    return list(dict.fromkeys([*parts, *listed]))
