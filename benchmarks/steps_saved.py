"""Steps saved: ``python -m benchmarks.steps_saved``, the fewest network calls with which each sampler is as good as many.

A sampler is as good as a reference if its Fréchet distance cannot be told from the reference's, or is smaller: the 95 %
interval of their difference, paired by the noise that both start from, reaches 0. There are two references. 1000 steps of DDPM
are the usual one, but DDPM's fresh noise makes the pairing weak, so that a loss may go unnoticed. The most steps of UniPC have
the same distance and tell far smaller losses of the other deterministic samplers. Results are stored in the run's
evaluation.json, shown on the Evaluate page and not measured again.
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
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.runs import find_run

from .timing import machine, table

FIGURE = "frechet_distance"


@dataclass(frozen=True)
class Arguments:
    """Find the fewest network calls that match 1000 steps of DDPM."""

    run: Path = Path("checkpoints/fashion-baseline")
    steps: tuple[int, ...] = (5, 8, 10, 15, 20, 30, 50)
    spacing: str = SamplingRequest.spacing
    """Spacing of the timesteps."""
    num_images: int = 500
    reference_steps: int = 1000
    """Steps of DDPM."""
    batch_size: int = 50
    """Images sampled at once; more suit a GPU."""


def measured(evaluation: Evaluation, spacing: str, num_images: int) -> dict[tuple[str, int], tuple[int, Figure]]:
    """Return the network calls and the distance of each sampler and number of steps."""
    found = {}
    for result in evaluation.of_kind("samples"):
        request, figure = result.asked["request"], sample_figure(evaluation, result, FIGURE)
        asked = request.get("spacing", SamplingRequest.spacing) == spacing and request["num_images"] == num_images
        if asked and figure is not None:
            found[request["sampler"], request["steps"]] = result.found["network_calls"], figure
    return found


def fewest(tried: list[tuple[int, Figure]], reference: Figure) -> str:
    """Return the fewest network calls that are as good as a reference, and by how much more their distance is."""
    for calls, figure in tried:
        more = difference([figure], [reference]).estimate
        if more.low <= 0:
            return f"{calls} ({more.value:+.2f}, 95 %: {more.low:+.2f} – {more.high:+.2f})"
    return f"more than {tried[-1][0]}"


def main(arguments: Arguments) -> None:
    """Print Markdown: a table with one row for each sampler."""
    shared = {
        "runs": (arguments.run,),
        "num_images": arguments.num_images,
        "likelihood_images": 0,
        "batch_size": arguments.batch_size,
        "spacing": (arguments.spacing,),
    }
    samplers = list({choice.target: name for name, choice in reversed(SAMPLERS.items())}.values())[::-1]  # each under one name
    evaluate(Evaluate(samplers=("ddpm",), steps=(arguments.reference_steps,), **shared))
    evaluate(Evaluate(samplers=tuple(samplers), steps=arguments.steps, **shared))
    evaluation = Evaluation(find_run(arguments.run))
    found = measured(evaluation, arguments.spacing, arguments.num_images)
    references = {
        f"{arguments.reference_steps} steps of DDPM": found["ddpm", arguments.reference_steps][1],
        f"{max(arguments.steps)} steps of UniPC": found["unipc", max(arguments.steps)][1],
    }
    rows = []
    for sampler in samplers:
        tried = sorted((found[sampler, steps] for steps in arguments.steps), key=lambda pair: pair[0])
        as_good = [fewest(tried, reference) for reference in references.values()]
        rows.append((sampler, *as_good, ", ".join(f"{calls}: {figure.estimate.value:.3f}" for calls, figure in tried)))
    print(f"\n{machine()}\n")
    told = [
        f"{name} {one.estimate.value:.3f} ({one.estimate.low:.3f} – {one.estimate.high:.3f})"
        for name, one in references.items()
    ]
    print(f"{evaluation.name}, Fréchet distance of {arguments.num_images} samples: {', '.join(told)}.\n")
    print(table(("sampler", *(f"calls as good as {name}" for name in references), "Fréchet distance by network calls"), rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
