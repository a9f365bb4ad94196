"""Files and folders that a configuration names: absolute while it is at work, and without the user's folders when published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..common.paths import is_weights, settled
from ..common.settings import Settings, path_fields
from .config import RunConfig
from .presets import PRESETS
from .runs import find_run, reference_to

Section = TypeVar("Section", bound=Settings)
RUNS = ("init_from", "latent", "teacher")
NAMES = (*PRESETS, "minilm")  # which are no paths, whatever folders there are
KEPT = ("encoder",)  # without which a published model could not be prompted


def with_settled_paths(config: RunConfig) -> RunConfig:
    """Return a configuration that means the same from every working directory: with absolute paths.

    Short names, hub ids and the names of runs in checkpoints/ and runs/ stay as they are.
    """
    return _with_paths(config, _settled)


def without_folders(config: RunConfig) -> RunConfig:
    """Return the configuration with the last part alone of absolute paths, which tell others nothing but the user's folders."""
    return _with_paths(config, lambda name, path: Path(path).name if name not in KEPT and Path(path).is_absolute() else path)


def _with_paths(section: Section, change: Callable[[str, str], str]) -> Section:
    """Return settings, and those within them, with ``change(name, path)`` for every field that may be a path."""
    values = {part.name: getattr(section, part.name) for part in fields(section)}  # type: ignore[arg-type]
    kind: Any = type(section)
    paths = {name: change(name, value) for name in path_fields(kind) if (value := values[name])}
    inner = {name: _with_paths(value, change) for name, value in values.items() if isinstance(value, Settings)}
    return replace(section, **paths, **inner)  # type: ignore[type-var]


def _settled(name: str, value: str) -> str:
    if name in RUNS:
        try:
            return reference_to(find_run(value))
        except ValueError:  # no such run: training says so
            return value
    is_name = value in NAMES or (name == "feature_classifier" and not is_weights(value))
    return value if is_name or not Path(value).exists() else settled(value)
