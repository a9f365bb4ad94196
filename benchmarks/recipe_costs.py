"""What recipes cost: ``python -m benchmarks.recipe_costs`` takes a few real steps with each, and keeps how long all would take.

The minutes go into ``pipelines/storage/recipes/costs.jsonl``, for the CPU or the GPU on which this runs, and are what the Train
page and ``pipelines.train`` tell of a recipe. Measure on an idle machine, on a CPU with two cores.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import tyro

from pipelines.common.devices import best_device
from pipelines.storage.config import InitConfig, RunConfig
from pipelines.storage.files import write_text
from pipelines.storage.recipes import COSTS, RECIPES, RecipeCost, cost_of, read_recipe, recipe_costs
from pipelines.storage.runs import PUBLISHED
from pipelines.training.rehearsal import rehearse

from .timing import machine, table

AUTOENCODER = "flowers-autoencoder"  # its latents have the shape of those of the sharp one, which is not shipped


@dataclass(frozen=True)
class Arguments:
    """Measure what training with recipes takes, and keep it."""

    recipes: tuple[str, ...] = ()
    """Names of the recipes to measure; by default all of them."""


def trainable(name: str) -> RunConfig:
    """Return a recipe's configuration; what it starts from and is not shipped is replaced by what computes the same."""
    config = read_recipe(name)
    start, latent = config.init.init_from, config.latent.latent
    if start is not None and not (PUBLISHED / start).exists():
        first = read_recipe(start)
        config = replace(config, network=first.network, diffusion=first.diffusion, init=InitConfig())
    if latent is not None and not (PUBLISHED / latent).exists():
        config = replace(config, latent=replace(config.latent, latent=AUTOENCODER))
    return config


def measured(name: str) -> tuple[RecipeCost, float]:
    """Return what a recipe takes here beside what is known of other devices, and the share of the CPU that others used."""
    config = trainable(name)
    known = cost_of(name, config) or RecipeCost(name, config.optimizer.steps * config.optimizer.batch_size)
    found, device = rehearse(config), "cpu" if best_device().type == "cpu" else "gpu"
    return replace(known, **{device: round(found.seconds(config) / 60, 1)}), found.others


def rounded(minutes: float | None) -> str:
    """Return minutes for the table, to a tenth if they are few; empty if nobody has measured them."""
    if minutes is None:
        return ""
    return f"{minutes:.1f}" if minutes < 10 else f"{minutes:,.0f}"


def main(arguments: Arguments) -> None:
    """Keep the costs, and print them all as Markdown."""
    costs, busy = dict(recipe_costs()), 0.0
    for name in arguments.recipes or RECIPES:
        costs[name], others = measured(name)
        busy = max(busy, others)
        print(f"{costs[name].about}: {name}", flush=True)
        kept = [json.dumps(asdict(costs[one])) for one in sorted(costs)]
        write_text(COSTS, "\n".join(kept) + "\n")
    rows = [(name, f"{cost.images:,}", rounded(cost.cpu), rounded(cost.gpu)) for name, cost in sorted(costs.items())]
    print(f"\n{machine()}\n")
    print(table(("recipe", "images seen", "minutes on two cores", "minutes on a GPU"), rows))
    if busy > 0.1:
        print(f"\n- Other programs took up to {busy:.0%} of the processor: the minutes are those of a busy machine.")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
