"""Steps saved: ``python -m benchmarks.steps_saved``, the fewest network calls with which each sampler is as good as DDPM.

A sampler is as good if its Fréchet distance lies within the 95 % interval of that of 1000 DDPM steps, or below it, with equally
many samples from the same noise. Results are stored in the run's evaluation.json, shown on the Evaluate page and not measured
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from diffusion_core.samplers import SAMPLERS
from pipelines.evaluate import Evaluate
from pipelines.evaluate import main as evaluate
from pipelines.evaluation.results import Evaluation, samples_table
from pipelines.storage.runs import find_run

from .timing import machine, table


@dataclass(frozen=True)
class Arguments:
    """Find the fewest network calls that match 1000 steps of DDPM."""

    run: Path = Path("checkpoints/fashion-baseline")
    steps: tuple[int, ...] = (5, 8, 10, 15, 20, 30, 50)
    num_images: int = 500
    reference_steps: int = 1000
    """Steps of DDPM."""
    batch_size: int = 50
    """Images sampled at once; more suit a GPU."""


def main(arguments: Arguments) -> None:
    """Print Markdown: a table with one row for each sampler."""
    shared = {
        "runs": (arguments.run,),
        "num_images": arguments.num_images,
        "likelihood_images": 0,
        "batch_size": arguments.batch_size,
    }
    evaluate(Evaluate(samplers=("ddpm",), steps=(arguments.reference_steps,), **shared))
    evaluate(Evaluate(samplers=tuple(SAMPLERS), steps=arguments.steps, **shared))
    found = samples_table([Evaluation(find_run(arguments.run))])
    found = found[found["images"] == arguments.num_images]
    reference = found[(found["sampler"] == "ddpm") & (found["steps"] == arguments.reference_steps)].iloc[0]
    rows = []
    for sampler in SAMPLERS:
        tried = found[(found["sampler"] == sampler) & found["steps"].isin(arguments.steps)].sort_values("network_calls")
        good = tried[tried["frechet_distance"] <= reference["frechet_distance_high"]]
        fewest = f"{good['network_calls'].iloc[0]}" if len(good) else f"more than {tried['network_calls'].max()}"
        pairs = tried[["network_calls", "frechet_distance"]].itertuples(index=False)
        distances = [f"{calls}: {value:.3f}" for calls, value in pairs]
        rows.append((sampler, fewest, ", ".join(distances)))
    print(f"\n{machine()}\n")
    low, value, high = (reference[f"frechet_distance{end}"] for end in ("_low", "", "_high"))
    print(
        f"{find_run(arguments.run).name}, {arguments.num_images} samples, {reference['features']}: "
        f"{arguments.reference_steps} steps of DDPM give {value:.3f} ({low:.3f} – {high:.3f}), "
        f"real images {reference['frechet_distance_floor']:.3f}.\n"
    )
    print(table(("sampler", "network calls that match", "Fréchet distance by network calls"), rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
