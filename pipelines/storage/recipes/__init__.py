"""Configurations that are worth training: ``python -m pipelines.train --recipe flowers-attention``.

Each is a JSON file of this folder that says only what differs from the defaults of :class:`pipelines.storage.config.RunConfig`.
Those whose name ends in -64, images of 64×64 pixels, or in -sharp, of 128×128, want a GPU; for the others two CPU cores are
enough. Some of their networks are narrower than the default, so that all that are shipped weigh little; a flower model has as
many parameters with words as without. Those that name v-prediction made what is shipped, before flow had proved better
(benchmarks/README.md).
"""

from __future__ import annotations

from pathlib import Path

from ..config import RunConfig, config_from_json

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.json"))}


def read_recipe(name: str) -> RunConfig:
    """The configuration of that name.

    Raises:
        ValueError: there is none; the sentence lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return config_from_json(RECIPES[name].read_text(encoding="utf-8"), f"recipe {name}")
