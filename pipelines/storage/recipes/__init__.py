"""Recommended training configurations: ``python -m pipelines.train --recipe flowers-attention``.

Each is a JSON file in this folder with the differences from the defaults of :class:`pipelines.storage.config.RunConfig`.
Recipes whose names end in -64 (images of 64×64 pixels) or -sharp (128×128) need a GPU; two CPU cores are enough for the others.
Some networks are narrower than the default, to keep the shipped models small; a flower model has as many parameters with text
as without. The recipes with v-prediction made the first shipped models, before flow proved better (benchmarks/README.md).
Recipes whose names begin with lesson- make the models that only lessons need, in minutes.
"""

from __future__ import annotations

from pathlib import Path

from ...common.reading import MEGABYTE, read_regular
from ..config import RunConfig, config_from_json

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.json"))}


def read_recipe(name: str) -> RunConfig:
    """Return the configuration of the recipe ``name``.

    Raises:
        ValueError: there is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return config_from_json(read_regular(RECIPES[name], MEGABYTE), f"recipe {name}")
