"""Steps saved: ``python -m benchmarks.steps_saved``, the fewest network calls with which each sampler is as good as DDPM.

A sampler is as good if its Fréchet distance cannot be told from that of 1000 DDPM steps, or is smaller: the 95 % interval of
their difference, paired by the noise that both start from, reaches 0. With few samples a small loss of quality therefore goes
unnoticed; the interval says how large it may be. Results are stored in the run's evaluation.json, shown on the Evaluate page
and not measured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from diffusion_core.samplers import SAMPLERS
from pipelines.evaluate import Evaluate
from pipelines.evaluate import main as evaluate
from pipelines.evaluation.measured import sample_figure
from pipelines.evaluation.paired import Figure, difference
from pipelines.evaluation.results import Evaluation
from pipelines.storage.runs import find_run

from .timing import machine, table

FIGURE = "frechet_distance"


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


def measured(evaluation: Evaluation, num_images: int) -> dict[tuple[str, int], tuple[int, Figure]]:
    """Return the network calls and the distance of each sampler and number of steps."""
    found = {}
    for result in evaluation.of_kind("samples"):
        request, figure = result.asked["request"], sample_figure(evaluation, result, FIGURE)
        if request["num_images"] == num_images and figure is not None:
            found[request["sampler"], request["steps"]] = result.found["network_calls"], figure
    return found


def main(arguments: Arguments) -> None:
    """Print Markdown: a table with one row for each sampler."""
    shared = {
        "runs": (arguments.run,),
        "num_images": arguments.num_images,
        "likelihood_images": 0,
        "batch_size": arguments.batch_size,
    }
    samplers = list({choice.target: name for name, choice in reversed(SAMPLERS.items())}.values())[::-1]  # each under one name
    evaluate(Evaluate(samplers=("ddpm",), steps=(arguments.reference_steps,), **shared))
    evaluate(Evaluate(samplers=tuple(samplers), steps=arguments.steps, **shared))
    evaluation = Evaluation(find_run(arguments.run))
    found = measured(evaluation, arguments.num_images)
    _, reference = found["ddpm", arguments.reference_steps]
    rows = []
    for sampler in samplers:
        tried = sorted((found[sampler, steps] for steps in arguments.steps), key=lambda pair: pair[0])
        more = [(calls, difference([figure], [reference]).estimate) for calls, figure in tried]
        calls, least = next(((calls, found) for calls, found in more if found.low <= 0), (0, None))
        fewest = f"more than {tried[-1][0]}" if least is None else str(calls)
        loss = "" if least is None else f"{least.value:+.2f} ({least.low:+.2f} – {least.high:+.2f})"
        rows.append((sampler, fewest, loss, ", ".join(f"{calls}: {figure.estimate.value:.3f}" for calls, figure in tried)))
    print(f"\n{machine()}\n")
    distance = reference.estimate
    print(
        f"{evaluation.name}, {arguments.num_images} samples: {arguments.reference_steps} steps of DDPM give "
        f"{distance.value:.3f} ({distance.low:.3f} – {distance.high:.3f}).\n"
    )
    print(
        table(
            ("sampler", "network calls that match", "distance beyond DDPM's (95 %)", "Fréchet distance by network calls"), rows
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
