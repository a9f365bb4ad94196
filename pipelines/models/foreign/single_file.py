"""A single file of weights, with the prefixes of wrappers, EMA and training scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...common.json_files import parse_json
from ...storage.weights import open_tensors
from .layouts import AUTOENCODER, LUCIDRAINS, OURS, UNET, layout_of
from .source import CONFIG, IMPORTABLE, Source, read_settings, scheduler_beside
from .weight_files import Notes, Weights, refuse_other_formats

AVERAGED = "ema"  # in the prefix of averaged weights
EXTRA = ("betas", "loss_weight")  # tensors beside the weights that say how a network was trained


def open_file(path: Path, config: Path | None, notes: Notes) -> Source:
    """Recognise the network in a file of weights.

    Args:
        config: its configuration; by default the one in the file's header, or in the config.json beside it.
        notes: gets a sentence for each decision.

    Raises:
        ValueError: the file is no safetensors file, or its network is not known, or cannot be imported.
    """
    refuse_other_formats(path)
    groups = Weights.of(path, [path]).groups()
    layouts = {prefix: layout_of(weights.described) for prefix, weights in groups.items()}
    usable = [prefix for prefix, layout in layouts.items() if layout in (UNET, AUTOENCODER, OURS, LUCIDRAINS)]
    if not usable:
        _refuse(path, groups, layouts)
    chosen = sorted(usable, key=lambda prefix: (AVERAGED not in prefix, prefix))[0]
    weights, layout = groups[chosen], str(layouts[chosen])
    if chosen:
        notes.append(f"the weights are those whose names begin with {chosen!r}")
    if any(old != new for new, (_, old) in weights.sources.items() if old != chosen + new):
        notes.append("parts of the names that wrappers of modules add are left out")
    beside = {prefix: group for prefix, group in groups.items() if chosen.startswith(prefix) and prefix != chosen}
    extra = next((group for group in beside.values() if "betas" in group.described), None)
    extra = extra and extra.renamed({name: name for name in EXTRA if name in extra.described})
    _tell_others(groups, chosen, extra, notes)
    settings = _settings(path, config, layout, notes)
    scheduler = scheduler_beside(path.parent, notes) if layout == UNET else None
    return Source(path, layout, settings, weights, scheduler, extra=extra)


def _refuse(path: Path, groups: Mapping[str, Weights], layouts: Mapping[str, str | None]) -> None:
    names = [name for group in groups.values() for name in group.described]
    layout = next((layout for layout in layouts.values() if layout is not None), None)
    # Prefixes may be part of a layout's own names, so the names are also tried as they are.
    layout = layout or layout_of(name for group in groups.values() for _, name in group.sources.values())
    if layout is None:
        first = ", ".join(sorted(names)[:3]) or "no weights at all"
        raise ValueError(f"{path} holds the weights of a network that is not known ({first}): {IMPORTABLE}")
    raise ValueError(f"{path} holds the weights of {layout}, which cannot be imported: {IMPORTABLE}")


def _tell_others(groups: Mapping[str, Weights], chosen: str, extra: Weights | None, notes: Notes) -> None:
    """Note the tensors that are not used, by prefix."""
    used = {old for _, old in extra.sources.values()} if extra is not None else set()
    for prefix, group in groups.items():
        unused = sorted(old for _, old in group.sources.values() if old not in used)
        if prefix != chosen and unused:
            notes.append(f"{len(unused)} other tensors{f' under {prefix!r}' if prefix else ''} are not used, first {unused[0]}")


def _settings(path: Path, config: Path | None, layout: str, notes: Notes) -> dict[str, Any]:
    """Return the configuration that belongs to a file.

    Raises:
        ValueError: there is none, or it is that of another kind of network.
    """
    if layout == LUCIDRAINS:
        return {}
    with open_tensors(path, "numpy") as file:
        header = (file.metadata() or {}).get("config")
    beside = next((place for place in (path.with_suffix(".json"), path.parent / CONFIG) if place.is_file()), None)
    if config is None and layout == OURS and header is not None:
        values, where = parse_json(header, str(path)), "the file's header"
        notes.append("the configuration is that in the file's header")
    elif (place := config or beside) is not None:
        values, where = read_settings(place), str(place)
        notes.append(f"the configuration is {place}")
    else:
        raise ValueError(
            f"{path} holds a network of {layout} without its configuration: put its {CONFIG} beside it, or give --config"
        )
    fits = isinstance(values, dict) and ("network" in values if layout == OURS else values.get("_class_name") == layout)
    if not fits:
        raise ValueError(f"{where} is not the configuration of a network of {layout}, as whose the weights of {path} are named")
    found: dict[str, Any] = values
    return found
