"""Evaluate runs: ``python -m pipelines.evaluate checkpoints/NAME [MORE …]``.

Measures how well a run explains held-out images (loss by noise level, a bound on their likelihood) and how far its samples are
from real images in a classifier's feature space. Each figure comes with its interval and with the floor: the same figure for
real images against real images. Results are added to the run's evaluation.json one by one and are not measured again.
Given several runs, it says of each pair which is better in which figure, and by how much.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from diffusion_core.choices import MODEL_SPACINGS, SAMPLERS

from .common.command_line import DONE, run_command
from .common.extras import require_extra
from .common.reports import report_progress
from .common.settings import Between, OneOf, Settings
from .common.temporary import remove_leftovers
from .datasets.sources import locate
from .evaluation.results import Evaluation
from .models.loading import load_model
from .sampling.own_steps import as_learnt, usual_spacing
from .sampling.request import SamplingRequest
from .sampling.sample import sample
from .storage.cache import can_cache
from .storage.runs import find_run

if TYPE_CHECKING:
    from .evaluation.real_images import RealImages
    from .evaluation.results import Result
    from .models.loading import LoadedModel
    from .storage.config import RunConfig
    from .storage.run import Run

MOST = 1000  # samples per setting, unless more are requested
LEAST = 10  # samples per setting, at least


@dataclass(frozen=True)
class Evaluate(Settings):
    """Measure the quality of trained models."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, .safetensors files, names of runs in checkpoints/ or runs/, or ids of runs on the hub (USER/NAME)."""
    samplers: Annotated[tuple[str, ...], OneOf(SAMPLERS)] = (SamplingRequest.sampler,)
    """Samplers to try. Students are measured in their own steps, and their own guidance, whatever is given here."""
    steps: Annotated[tuple[int, ...], Between(1)] = (SamplingRequest.steps,)
    """Numbers of steps to try with each sampler."""
    num_images: Annotated[int | None, Between(1, 10_000_000)] = None
    """Samples per setting; by default 1000, or the number of held-out images if that is smaller, because samples and floor are
    comparable only for equal numbers."""
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    """Seed of the samples and of the noise added to held-out images."""
    spacing: Annotated[tuple[str, ...], OneOf(MODEL_SPACINGS)] = ()
    """Spacings of the timesteps to try; by default shifted for images or latents larger than 32×32, trailing for others."""
    guidance: Annotated[tuple[float, ...], Between(0.0)] = (1.0, 2.0)
    """Guidance scales to try with conditional models, whose conditions are the classes or captions of the held-out images.
    1 is no guidance; larger scales give samples that match their conditions better but vary less than real images."""
    features: Path | None = None
    """Network whose features are compared: a classifier's file (see pipelines.classifier), ``inception``, as most papers use
    for photographs, ``dinov2``, ``clip``, or the hub id or folder of another DINOv2 or CLIP model. By default the data's own
    classifier or, for colour images without one, the classifier of photographs."""
    reference_images: Annotated[int, Between(10, 10_000_000)] = 10_000
    """Training images to compare samples with."""
    held_out_images: Annotated[int, Between(10, 10_000_000)] = 1000
    """Held-out images for the loss by noise level and for the floor."""
    likelihood_images: Annotated[int, Between(0, 10_000_000)] = 200
    """Held-out images whose likelihood is bounded; 0 skips the bound. Latent models always skip it, because it would say
    nothing about pixels."""
    likelihood_levels: Annotated[int, Between(1, 100_000)] = 100
    """Noise levels at which each of these images is denoised."""
    batch_size: Annotated[int, Between(1, 65_536)] = 50
    """Images per batch."""
    compile: bool = False
    """Compile the network for sampling (torch.compile), for many samples on a GPU. This takes up to a minute for each guidance
    and hardly pays on a CPU. Figures are the same up to rounding; the time for an image is that of the compiled network, and
    says so."""
    ema: Annotated[tuple[int, ...], Between(1, 10**12)] = ()
    """Evaluate the weights averaged with each of these half-lives, in images, to choose one; by default the usual one."""


def main(arguments: Evaluate) -> int:
    """Measure what has not been measured yet; return the exit code."""
    require_extra("train")
    if not arguments.runs:
        raise ValueError("no run given: name one or more, such as checkpoints/fashion-attention")
    if arguments.num_images is not None and arguments.num_images < LEAST:
        raise ValueError(f"num_images={arguments.num_images}: choose {LEAST} or more")
    from .common.devices import process_state
    from .evaluation.kept_features import KIND

    state = process_state()  # under `accelerate launch`, each of n processes takes every n-th batch, and the main one writes
    found = [find_run(path, download=True) for path in arguments.runs]
    runs = [run.average(half_life) for run in found for half_life in arguments.ema or (None,)]
    for run in runs:  # what cannot be done for one of them is said before another is measured
        if state.is_main_process:
            Evaluation(run).refuse_unwritable()
        _refuse_impossible(run, arguments)
    taught = _taught(runs)
    can_cache(KIND)  # or a warning says that differences of distances will have no p-values
    for run in runs:
        model = load_model(run, device=state.device)
        evaluation = Evaluation(run, model.fingerprint)
        if not state.is_main_process:
            _measure(evaluation, model, arguments, model.fingerprint in taught)
            continue
        with evaluation.alone():
            remove_leftovers(evaluation.path.parent)
            _measure(evaluation, model, arguments, model.fingerprint in taught)
        print(evaluation.path)
    if state.is_main_process and len(runs) > 1:
        names = [run.name for run in runs]
        alike = {name for name in names if names.count(name) > 1}
        _compare([Evaluation(run, name=str(run.path) if run.name in alike else None) for run in runs], arguments)
    return DONE


def _refuse_impossible(run: Run, arguments: Evaluate) -> None:
    """Raise ValueError if a run cannot be measured as asked for, as far as that is known without its images."""
    from .evaluation.judges import judge_for

    locate(run.config.data.data)
    model = load_model(run, device="cpu")
    judge_for(model.config, arguments.features)
    for steps, spacing in () if run.config.is_student else product(arguments.steps, spacings_for(run.config, arguments)):
        sample(model, SamplingRequest(steps=steps, spacing=spacing), [0])


def spacings_for(config: RunConfig, arguments: Evaluate) -> tuple[str, ...]:
    """Return the spacings to try with a run: those asked for, or the one that suits it."""
    return arguments.spacing or (usual_spacing(config),)


def _taught(runs: Sequence[Run]) -> set[str]:
    """Return the fingerprints of the runs that are a student or its teacher, where both are among them."""
    fingerprints = {run.fingerprint for run in runs}
    pairs = {run.fingerprint: own.teacher_fingerprint for run in runs if (own := run.config.distillation) is not None}
    return {one for pair in pairs.items() if pair[1] in fingerprints for one in pair}


def _measure(evaluation: Evaluation, model: LoadedModel, arguments: Evaluate, classified: bool) -> None:
    """Take the measurements of a run that are missing.

    Args:
        classified: whether samples also count as missing if their classes were not recorded, as by older versions.
    """
    from .common.devices import process_state
    from .common.together import told_by_main
    from .evaluation.judges import judge_for
    from .evaluation.real_images import RealImages

    judge = judge_for(model.config, arguments.features)
    real = RealImages(model.config, judge, arguments.reference_images, arguments.held_out_images)
    for what, kind, asked, measure in list(measurements(model, real, arguments)):  # an impossible one fails before any is taken
        told = f"{evaluation.name}: {what}"
        known = told_by_main(_is_known(evaluation.find(kind, asked), classified))
        report_progress(told)
        found = {} if known else measure()
        if process_state().is_main_process:
            if not known:
                evaluation.add(kind, asked, found)
            print(f"{told}: {'already measured' if known else summary(kind, evaluation.results[-1].found)}")


def _is_known(found: Result | None, classified: bool) -> bool:
    return found is not None and not (classified and found.kind == "samples" and "classes" not in found.found)


def _compare(evaluations: Sequence[Evaluation], arguments: Evaluate) -> None:
    """Print a verdict on each pair of models at the settings asked for, and keep it with the results of the first."""
    from .evaluation.judging import grouped, keep_verdict
    from .evaluation.measured import shared_settings
    from .evaluation.verdict import cost_sentence, sentences

    asked = {"sampler": arguments.samplers, "steps": arguments.steps, "guidance": arguments.guidance, "seed": (arguments.seed,)}
    for (first, one), (second, other) in combinations(grouped(evaluations).items(), 2):
        asked["spacing"] = spacings_for(one[0].config, arguments)
        for setting in shared_settings([*one, *other]):
            if all(setting.request.get(name, wanted[0]) in wanted for name, wanted in asked.items()):
                report_progress(f"comparing {first} with {second}")
                found = keep_verdict(one, other, setting)
                print(f"\n{found.summary} {setting}:")
                for sentence in sentences(found):
                    print(f"  {sentence.text} ({found.values(sentence.name)}{found.chance(sentence.name)})")
                for line in (cost_sentence(found), *found.notes):
                    print(f"  {line}")


def measurements(
    model: LoadedModel, real: RealImages, arguments: Evaluate
) -> Iterator[tuple[str, str, dict[str, Any], Callable[[], dict[str, Any]]]]:
    """Yield each requested measurement: its description, its kind, the settings that determine it, and a function to run it."""
    from .evaluation.measured import way_in_words
    from .evaluation.measurements import (
        likelihood,
        loss_by_noise_level,
        measure_floor,
        measure_reconstructions,
        measure_samples,
    )

    seed, held_out = arguments.seed, len(real.held_out)
    asked: dict[str, Any] = {"images": held_out, "seed": seed} | real.key(held_out)
    denoises = not model.config.is_student  # a student does not, so it has neither a denoising loss nor a likelihood
    if denoises:
        yield "loss", "loss", asked, partial(loss_by_noise_level, model, real, seed, arguments.batch_size)
    if denoises and arguments.likelihood_images and model.autoencoder is None:  # the bound is about pixels
        count = min(arguments.likelihood_images, held_out)
        levels = arguments.likelihood_levels
        asked = {"images": count, "levels": levels, "seed": seed} | real.key(count)
        yield "likelihood", "bound", asked, partial(likelihood, model, real, count, levels, seed, arguments.batch_size)
    num_images = arguments.num_images or max(LEAST, min(MOST, held_out))
    count = min(num_images, held_out)
    compared = real.compared_key(count)
    asked = compared | {"images": count}
    yield "real against real", "floor", asked, partial(measure_floor, real, count)
    if model.autoencoder is not None:
        yield "autoencoder", "reconstruction", asked, partial(measure_reconstructions, model, real, count, arguments.batch_size)
    conditional = real.conditions is not None
    scales = arguments.guidance if conditional and not model.config.network.always_conditional else (1.0,)
    settings = product(arguments.samplers, arguments.steps, spacings_for(model.config, arguments), scales)
    requests = [
        SamplingRequest(num_images, seed, sampler, steps, spacing=spacing, guidance=scale)
        for sampler, steps, spacing, scale in settings
    ]
    for request in dict.fromkeys(as_learnt(request, model.config) for request in requests):
        sample(model, request, [0], condition=real.shown([0]))  # an impossible request fails here
        asked = {"request": asdict(request)} | compared
        if learned := request.learned_timesteps(model.run):
            asked["timesteps"] = list(learned)
        if conditional:
            asked["shown"] = "what held-out images show"
        what = way_in_words(asdict(request))
        measure = partial(measure_samples, model, real, request, asked, arguments.batch_size, arguments.compile)
        yield what, "samples", asked, measure


def summary(kind: str, found: dict[str, Any]) -> str:
    """Summarise a result in one line, and say which way is better."""
    from .evaluation.measured import estimate_in

    if kind == "loss":
        return f"{estimate_in(found['whole'])}, smaller is better"
    if kind == "bound":
        return f"at most {estimate_in(found['total'])} bits per dimension, smaller is better"
    told = f"Fréchet distance {estimate_in(found['figures']['frechet_distance'])}"
    if kind != "floor":
        told += ", smaller is better"
    if "agreement" in found["figures"]:
        told += f"; agreement with the condition {estimate_in(found['figures']['agreement'])}, larger is better"
    return told


if __name__ == "__main__":
    sys.exit(run_command(Evaluate, main, "pipelines.evaluate"))
