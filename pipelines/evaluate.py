"""Measurement: ``python -m pipelines.evaluate checkpoints/NAME [MORE …]``.

How well a run explains held-out images (loss by timestep, a bound on their likelihood), and how far its samples are from
real images in the feature space of a classifier that knows them, each figure with its interval and with what real images
against real images give. Results go to the run's evaluation.json one by one: what is there is not measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from diffusion_core.choices import SAMPLERS

from .common.command_line import DONE, refuse_several_processes, run_command
from .common.reports import report_progress
from .common.settings import Between, Settings, one_of
from .evaluation.results import Evaluation
from .models.loading import load_model
from .sampling.request import SamplingRequest
from .sampling.sample import sample
from .storage.runs import find_run

if TYPE_CHECKING:
    from .evaluation.measurements import RealImages
    from .models.loading import LoadedModel

MOST = 1000  # samples of each, unless more are asked for
LEAST = 10  # samples of each


@dataclass(frozen=True)
class Evaluate(Settings):
    """Measure how good trained models are."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, .safetensors files, or names of runs at hand."""
    samplers: Annotated[tuple[str, ...], *one_of(SAMPLERS)] = ("dpmpp_2m",)
    """Samplers to try."""
    steps: Annotated[tuple[int, ...], Between(1)] = (20,)
    """Numbers of steps to try with each."""
    num_images: Annotated[int | None, Between(1, 10_000_000)] = None
    """Samples of each; by default 1000, or as many as there are held-out images where those are fewer: with unlike numbers,
    samples and floor could not be compared."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Of the samples, and of the noise that held-out images get."""
    guidance: Annotated[tuple[float, ...], Between(0.0)] = (1.0, 2.0)
    """Scales to try with conditional models, which are asked for what the held-out images show: their classes, or their
    captions. 1 is the model as it is; with more, samples are more of what was asked for, and less as varied as real images."""
    features: Path | None = None
    """In whose features images are compared: a classifier's file (see pipelines.classifier), by default that of the data, or,
    for colour images without one, that of photographs; or ``inception``, as papers do for photographs."""
    reference_images: Annotated[int, Between(10, 10_000_000)] = 10_000
    """Training images that samples are compared with."""
    held_out_images: Annotated[int, Between(10, 10_000_000)] = 1000
    """Images for the loss by timestep and for the floor."""
    likelihood_images: Annotated[int, Between(0, 10_000_000)] = 32
    """Held-out images whose likelihood is bounded; 0 leaves it out, and so do models of latents, whose bound says nothing of
    pixels."""
    likelihood_steps: Annotated[int | None, Between(2, 100_000)] = None
    """Steps of the chain whose bound it is; all of the schedule by default."""
    batch_size: Annotated[int, Between(1, 65_536)] = 50
    """Images computed at once."""


def main(arguments: Evaluate) -> int:
    """Measure what has not been measured yet; the exit code."""
    from .evaluation.judges import judge_for
    from .evaluation.measurements import RealImages

    refuse_several_processes("pipelines.evaluate")
    if not arguments.runs:
        raise ValueError("no run given: name one or more, such as checkpoints/fashion-attention")
    if arguments.num_images is not None and arguments.num_images < LEAST:
        raise ValueError(f"num_images={arguments.num_images}: choose {LEAST} or more")
    for path in arguments.runs:
        run = find_run(path)
        model = load_model(run)
        evaluation = Evaluation(run, model.fingerprint)
        judge = judge_for(model, arguments.features)
        real = RealImages(model.config, judge, arguments.reference_images, arguments.held_out_images)
        for what, kind, asked, measure in measurements(model, real, arguments):
            told = f"{run.name}: {what}"
            if evaluation.find(kind, asked):
                print(f"{told}: known already")
                continue
            report_progress(told)
            evaluation.add(kind, asked, measure())
            print(f"{told}: {summary(kind, evaluation.results[-1].found)}")
        print(evaluation.path)
    return DONE


def measurements(
    model: LoadedModel, real: RealImages, arguments: Evaluate
) -> Iterator[tuple[str, str, dict[str, Any], Callable[[], dict[str, Any]]]]:
    """All that is asked for: in words, its kind, what determines it, and a function that measures it."""
    from .evaluation.measurements import likelihood, loss_by_noise_level, measure_reconstructions, measure_samples

    seed, held_out = arguments.seed, len(real.held_out)
    asked: dict[str, Any] = {"images": held_out, "seed": seed}
    yield "loss", "loss", asked, partial(loss_by_noise_level, model, real, seed, arguments.batch_size)
    if arguments.likelihood_images and model.autoencoder is None:  # the bound is one of pixels
        count = min(arguments.likelihood_images, held_out)
        steps = arguments.likelihood_steps or model.schedule.num_timesteps
        asked = {"images": count, "steps": steps, "seed": seed}
        yield "likelihood", "likelihood", asked, partial(likelihood, model, real, count, steps, seed, arguments.batch_size)
    num_images = arguments.num_images or max(LEAST, min(MOST, held_out))
    compared = {"features": real.judge.name, "reference_images": len(real.rows)}
    if model.autoencoder is not None:
        count = min(num_images, held_out)
        asked = compared | {"images": count}
        yield "autoencoder", "reconstruction", asked, partial(measure_reconstructions, model, real, count, arguments.batch_size)
    conditional = real.conditions is not None
    scales = arguments.guidance if conditional else (1.0,)
    for sampler, number, scale in product(arguments.samplers, arguments.steps, scales):
        request = SamplingRequest(num_images, seed, sampler, number, guidance=scale)
        sample(model, request, [0], condition=real.shown([0]))  # refuses what cannot be done
        asked = {"request": asdict(request)} | compared
        what = f"{number} steps of {sampler}"
        if conditional:
            asked["shown"] = "what held-out images show"
            what += f", guidance {scale:g}"
        yield what, "samples", asked, partial(measure_samples, model, real, request, arguments.batch_size)


def summary(kind: str, found: dict[str, Any]) -> str:
    """A result in one line."""

    def shown(estimate: dict[str, float], digits: int = 4) -> str:
        return f"{estimate['value']:.{digits}g} ({estimate['low']:.{digits}g} – {estimate['high']:.{digits}g})"

    if kind == "loss":
        return shown(found["whole"])
    if kind == "likelihood":
        return f"at most {shown(found['total'])} bits per dimension"
    parts = [f"Fréchet distance {shown(found['figures']['frechet_distance'])}"]
    if "floor" in found:
        parts.append(f"real against real {shown(found['floor']['frechet_distance'])}")
    if "agreement" in found["figures"]:
        parts.append(f"agreement {found['figures']['agreement']['value']:.1%}")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(run_command(Evaluate, main, "pipelines.evaluate"))
