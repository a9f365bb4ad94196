"""Folders written by diffusers' ``save_pretrained``: a model, or a pipeline of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...common.settings import LONGEST
from ...common.text import shorten
from .layouts import AUTOENCODER, UNET
from .source import CONFIG, EXPORTED, IMPORTABLE, SCHEDULER, Source, exported_source, read_settings, scheduler_beside
from .weight_files import Notes, find_weights

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
    name = _network(folder, parts, pipeline)
    if name is None:
        source = _model(folder, read_settings(folder / CONFIG), variant, notes)
        scheduler = scheduler_beside(folder, notes) if source.layout == UNET else None
        return replace(source, scheduler=scheduler, pipeline=pipeline)
    if name != "unet":
        notes.append(f"the network is {name}")
    source = _model(folder / name, parts[name], variant, notes)
    place, latents = _scheduler_in(folder, pipeline), _autoencoder(folder, parts)
    unused = [part for part in _components(folder, pipeline, parts) if part not in (name, latents, place)]
    if unused:
        notes.append(f"other parts of the pipeline are not used: {', '.join(unused)}")
    autoencoder = None
    if latents is not None:
        autoencoder = _model(folder / latents, parts[latents], variant, notes)
        notes.append(f"the network denoises latents, which {latents} decodes")
    scheduler = folder / place / SCHEDULER if place is not None else scheduler_beside(source.path, notes)
    return replace(source, scheduler=scheduler, pipeline=pipeline, autoencoder=autoencoder)


def _network(folder: Path, parts: Mapping[str, dict[str, Any]], pipeline: Mapping[str, Any]) -> str | None:
    """Return the name of the subfolder with the network; None if the folder itself holds it.

    Raises:
        ValueError: there is none that can be imported, or there are several.
    """
    found = [name for name, settings in parts.items() if _class_of(settings) in NETWORKS]
    if not found and "unet" in parts:
        return "unet"
    if not found and parts and not (folder / CONFIG).is_file():
        held = ", ".join(f"{name}: {shorten(str(_class_of(settings)), LONGEST)}" for name, settings in parts.items())
        raise ValueError(f"{folder} holds no network that can be imported ({held}): only {IMPORTABLE}; give one part's folder")
    listed = [name for name in found if name in pipeline]
    chosen = listed if len(found) > 1 and listed else found
    if len(chosen) > 1:
        raise ValueError(f"{folder} has several networks ({', '.join(chosen)}): give the folder of one of them")
    return chosen[0] if chosen else None


def _autoencoder(folder: Path, parts: Mapping[str, dict[str, Any]]) -> str | None:
    """Return the name of the subfolder with the autoencoder of a pipeline of latents, if there is one."""
    kinds = {name: _class_of(settings) for name, settings in parts.items()}
    for name, kind in kinds.items():
        if kind == "VQModel":
            raise ValueError(f"{folder / name} holds a VQModel: pipelines of latents need an AutoencoderKL to be imported")
    found = [name for name, kind in kinds.items() if kind == AUTOENCODER]
    if len(found) > 1:
        raise ValueError(f"{folder} has several autoencoders ({', '.join(found)}): leave the one of the network")
    return found[0] if found else None


def _model(own: Path, settings: dict[str, Any], variant: str | None, notes: Notes) -> Source:
    """Return the model in a folder of its own."""
    kind = _class_of(settings)
    if kind not in (*NETWORKS, AUTOENCODER):
        told = shorten(str(settings.get("_class_name", "something else")), LONGEST)
        raise ValueError(f"{own} holds {told}: only {IMPORTABLE}")
    weights = find_weights(own, variant, notes)
    if kind == EXPORTED:
        return exported_source(own, settings, weights)
    return Source(own, str(kind), settings, weights)


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
