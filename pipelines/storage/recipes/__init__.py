"""Recommended training configurations: ``python -m pipelines.train --recipe flowers-attention``.

Each is a JSON file in this folder with the differences from the defaults of :class:`pipelines.storage.config.RunConfig`.
Recipes whose names end in -64 (images of 64×64 pixels) or -sharp (128×128) need a GPU; two CPU cores are enough for the others.
Some networks are narrower than the default, to keep the shipped models small; a flower model has as many parameters with text
as without. The recipes with v-prediction made the first shipped models, before flow proved better (benchmarks/README.md).
Recipes whose names begin with lesson- make the models that only lessons need, in minutes. What each takes is in costs.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...common.json_files import parse_json
from ...common.reading import MEGABYTE, read_regular
from ...common.text import rough_duration
from ..config import RunConfig, config_from_json

RECIPES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.json"))}
COSTS = Path(__file__).parent / "costs.jsonl"


@dataclass(frozen=True)
class RecipeCost:
    """What training with a recipe takes, as ``benchmarks/recipe_costs.py`` measured it.

    Attributes:
        recipe: name of the recipe.
        images: images seen in all its steps, each as often as it is seen.
        cpu, gpu: minutes on two CPU cores and on a GPU; None where nobody has measured them.
    """

    recipe: str
    images: int
    cpu: float | None = None
    gpu: float | None = None

    @property
    def about(self) -> str:
        """The durations in words, rounded."""
        known = {"on two CPU cores": self.cpu, "on a GPU": self.gpu}
        return ", ".join(f"about {rough_duration(60 * took)} {where}" for where, took in known.items() if took is not None)


@cache
def recipe_costs() -> dict[str, RecipeCost]:
    """Return what recipes take, by name, as far as it was measured."""
    lines = COSTS.read_text(encoding="utf-8").splitlines()
    return {cost.recipe: cost for cost in (RecipeCost(**parse_json(line)) for line in lines)}


def cost_of(name: str, config: RunConfig) -> RecipeCost | None:
    """Return what a recipe takes, or None if that is not known of a run of so many images."""
    cost = recipe_costs().get(name)
    return cost if cost is not None and cost.images == config.optimizer.steps * config.optimizer.batch_size else None


def read_recipe(name: str) -> RunConfig:
    """Return the configuration of the recipe ``name``.

    Raises:
        ValueError: there is no such recipe; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return config_from_json(read_regular(RECIPES[name], MEGABYTE), f"recipe {name}")
