"""Measurement: ``python -m pipelines.evaluate checkpoints/NAME [MORE …]``.

How well a run explains held-out images (loss by timestep, a bound on their likelihood), and how far its samples are from
real images in the feature space of a classifier that knows them, each figure with its interval and with what real images
against real images give. Results go to the run's evaluation.json one by one: what is there is not measured again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from .command_line import DONE, run_command
from .distances import Estimate, Features, Reference, bootstrap, nearest, precision_recall
from .evaluation import NEIGHBOURS_PICTURE, Evaluation
from .images import montage, png_bytes, to_uint8
from .runs import ROOT, atomic, find_run
from .sample import SamplingRequest, load_model, sample

if TYPE_CHECKING:
    from torch import Tensor

    from .classifier import LoadedClassifier
    from .conditioning import Conditions
    from .config import RunConfig
    from .data import ImageSet
    from .model import LoadedModel

CLASSIFIERS = ROOT / "classifiers"
CLOSEST = 0.05  # the share of held-out images that count as close to a training image
PAIRS = 12  # samples shown beside their nearest training image
BINS = 20  # of the loss by timestep
ENOUGH = 1000  # training images for figures that look at all pairs
LEAST = {"num_images": 10, "reference_images": 10, "held_out_images": 10, "likelihood_steps": 2, "batch_size": 1}


@dataclass(frozen=True)
class Evaluate:
    """Measure how good trained models are."""

    runs: Positional[tuple[Path, ...]]
    """Run folders, .safetensors files, or names of runs at hand."""
    samplers: tuple[str, ...] = ("dpmpp_2m",)
    """Samplers to try."""
    steps: tuple[int, ...] = (20,)
    """Numbers of steps to try with each."""
    num_images: int = 1000
    """Samples of each."""
    seed: int = 0
    """Of the samples, and of the noise that held-out images get."""
    guidance: float = 2.0
    """For conditional models, whose samples show every class, or a caption of every class, in turn."""
    features: Path | None = None
    """A classifier (see pipelines.classifier) in whose features images are compared; by default the data's own."""
    reference_images: int = 10_000
    """Training images that samples are compared with."""
    held_out_images: int = 1000
    """Images for the loss by timestep and for the floor."""
    likelihood_images: int = 32
    """Held-out images whose likelihood is bounded; 0 leaves it out."""
    likelihood_steps: int | None = None
    """Steps of the chain whose bound it is; all of the schedule by default."""
    batch_size: int = 50
    """Images computed at once."""


class RealImages:
    """The images that a run was trained on and those held out, with what a classifier sees in them."""

    def __init__(self, config: RunConfig, judge: LoadedClassifier, arguments: Evaluate) -> None:
        from .data import load_images, resolve

        self.judge = judge
        self.train, self.held_out = load_images(
            replace(resolve(config.data), held_out_images=arguments.held_out_images), config.seed
        )
        count = min(len(self.train), arguments.reference_images)
        self.rows = np.unique(np.linspace(0, len(self.train) - 1, count).round().astype(np.int64))
        self._config = config

    def as_input(self, images: ImageSet, rows: Iterable[int]) -> Tensor:
        """Some of the images as networks take them, (B, C, H, W) in [−1, 1]."""
        return images.images[list(rows)].float() / 127.5 - 1

    @cached_property
    def reference(self) -> Reference:
        """Training images."""
        return Reference(features_of(self.judge, self.as_input(self.train, self.rows)))

    @cached_property
    def held_out_features(self) -> Features:
        """(N, D)."""
        return features_of(self.judge, self.as_input(self.held_out, range(len(self.held_out))))

    @cached_property
    def conditions(self) -> Conditions | None:
        """What a conditional network is told about the held-out images."""
        if not self._config.network.conditional:
            return None
        from .conditioning import load_conditions

        return load_conditions(self._config, (self.train, self.held_out))[1][1]


def features_of(judge: LoadedClassifier, images: Tensor) -> Features:
    """(N, C, H, W) in [−1, 1] -> (N, D)."""
    return judge.features(images).double().numpy()


def main(arguments: Evaluate) -> int:
    """Measure what has not been measured yet; the exit code."""
    if not arguments.runs:
        raise ValueError("no run given: name one or more, such as checkpoints/fashion-attention")
    for name, least in LEAST.items():
        if (given := getattr(arguments, name)) is not None and given < least:
            raise ValueError(f"{name}={given}: choose {least} or more")
    for path in arguments.runs:
        run = find_run(path)
        evaluation = Evaluation(run)
        model = load_model(run)
        judge, name = judge_for(model, arguments.features)
        real = RealImages(model.config, judge, arguments)
        for what, kind, asked, measure in measurements(model, judge, name, real, arguments):
            told = f"{run.name}: {what}"
            if evaluation.find(kind, asked):
                print(f"{told}: known already")
                continue
            evaluation.add(kind, asked, measure())
            print(f"{told}: {summary(kind, evaluation.results[-1].found)}")
        print(evaluation.path)
    return DONE


def measurements(
    model: LoadedModel, judge: LoadedClassifier, features: str, real: RealImages, arguments: Evaluate
) -> Iterator[tuple[str, str, dict[str, Any], Callable[[], dict[str, Any]]]]:
    """All that is asked for: in words, its kind, what determines it, and a function that measures it."""
    seed, held_out = arguments.seed, len(real.held_out)
    asked: dict[str, Any] = {"images": held_out, "seed": seed}
    yield "loss", "loss", asked, partial(loss_by_timestep, model, real, seed, arguments.batch_size)
    if arguments.likelihood_images:
        count = min(arguments.likelihood_images, held_out)
        steps = arguments.likelihood_steps or model.schedule.num_timesteps
        asked = {"images": count, "steps": steps, "seed": seed}
        yield "likelihood", "likelihood", asked, partial(likelihood, model, real, count, steps, seed)
    for sampler in arguments.samplers:
        for number in arguments.steps:
            request = SamplingRequest(arguments.num_images, seed, sampler, number, **in_turn(model, judge, arguments.guidance))
            sample(model, request, [0])  # refuses what cannot be done
            asked = {"request": asdict(request), "features": features, "reference_images": len(real.rows)}
            what = f"{number} steps of {sampler}"
            yield what, "samples", asked, partial(measure_samples, model, judge, real, request, arguments.batch_size)


def judge_for(model: LoadedModel, path: Path | None) -> tuple[LoadedClassifier, str]:
    """The classifier in whose features a model's images are compared, and what it is called.

    Raises:
        ValueError: there is none for such images.
    """
    from .classifier import load_classifier

    candidates = [path] if path else sorted(CLASSIFIERS.glob("*.safetensors"))
    data = Path(model.config.data.data).name
    for candidate in candidates:
        judge = load_classifier(candidate)
        if judge.image_shape == model.image_shape and (path or judge.data == data):
            return judge, f"{candidate.stem} classifier"
    size = "×".join(map(str, model.image_shape))
    made = f"python -m pipelines.classifier classifiers/{data}.safetensors --data {model.config.data.data}"
    raise ValueError(
        f"no classifier knows {data} images of {size} (C×H×W): make one with `{made}`, or give one with --features"
    )


def in_turn(model: LoadedModel, judge: LoadedClassifier, guidance: float) -> dict[str, Any]:
    """The fields of a request for every class, or a caption of every class, in turn; empty for an unconditional model."""
    from .captions import captions_for, templates_for

    kind, condition = model.config.network.unet, model.config.condition
    if kind == "class":
        return {"label": "all", "guidance": guidance}
    if kind == "text":
        template = (condition.templates or templates_for(model.config.data.data))[:1]
        captions = [caption for [caption] in captions_for(list(judge.classes), template)]
        return {"prompt": tuple(captions), "guidance": guidance}
    return {}


def loss_by_timestep(model: LoadedModel, real: RealImages, seed: int, batch_size: int) -> dict[str, Any]:
    """The mean of |x0 − x̂0|²/sigma², the error in v, in equal ranges of timesteps: comparable whatever a network predicts."""
    import torch

    from diffusion_core.noise import SeededNoise
    from diffusion_core.process import add_noise

    timesteps = model.schedule.num_timesteps
    count = max(len(real.held_out), 20 * BINS)
    t = ((np.random.default_rng(seed).permutation(count) + 0.5) / count * timesteps).astype(np.int64)
    errors = []
    for part in torch.arange(count).split(batch_size):
        images = part % len(real.held_out)
        x0 = real.as_input(real.held_out, images.tolist()).to(model.device)
        noise = SeededNoise(seed, model.image_shape, part.tolist()).initial(model.device)
        when = torch.from_numpy(t[part.numpy()])
        condition = None if real.conditions is None else real.conditions.of(images).to(model.device)
        with torch.no_grad():
            estimate = model.denoiser.unclipped(add_noise(model.schedule, x0, noise, when), when.to(model.device), condition)
        _, sigma = model.schedule.at(when)
        errors.append(((estimate - x0).square().flatten(1).mean(1).cpu() / sigma.square()).double().numpy())
    values = np.concatenate(errors)
    bins = min(BINS, timesteps)
    parts = [Estimate.of_mean(values[t * bins // timesteps == number]) for number in range(bins)]
    return {
        "timesteps": ((np.arange(bins) + 0.5) / bins * timesteps).tolist(),
        "mean": [part.value for part in parts],
        "low": [part.low for part in parts],
        "high": [part.high for part in parts],
        "whole": asdict(Estimate.of_mean(values)),
    }


def likelihood(model: LoadedModel, real: RealImages, count: int, steps: int, seed: int) -> dict[str, Any]:
    """The variational bound of held-out images in bits per dimension, its terms, and an interval over images."""
    import torch
    from tqdm import tqdm

    from diffusion_core.likelihood import variational_bound
    from diffusion_core.noise import SeededNoise
    from diffusion_core.schedules import sampling_timesteps

    rows = range(count)
    x0 = real.as_input(real.held_out, rows).to(model.device)
    noise = SeededNoise(seed, model.image_shape, rows)
    condition = None if real.conditions is None else real.conditions.of(torch.arange(count)).to(model.device)
    timesteps = sampling_timesteps(model.schedule, steps, "linspace")  # down to the least noisy one, where the decoder is
    bound = variational_bound(model.denoiser, x0, timesteps, model.schedule, condition, noise=noise)
    terms = list(tqdm(bound, total=steps + 1, desc=f"{model.name}, likelihood", unit="term", leave=False))
    total = torch.stack([term.bits for term in terms]).sum(0)
    return {
        "total": asdict(Estimate.of_mean(total.numpy())),
        "prior": terms[0].bits.mean().item(),
        "decoder": terms[-1].bits.mean().item(),
        "timesteps": [term.timestep for term in terms[1:-1]],
        "steps": [term.bits.mean().item() for term in terms[1:-1]],
    }


def measure_samples(
    model: LoadedModel, judge: LoadedClassifier, real: RealImages, request: SamplingRequest, batch_size: int
) -> dict[str, Any]:
    """Make the samples, and measure them beside as many held-out images."""
    import torch
    from tqdm import tqdm

    images, seconds, calls = [], 0.0, 0
    chunks = torch.arange(request.num_images).split(batch_size)
    for numbers in tqdm(chunks, desc=f"{model.name}, {request.steps} steps of {request.sampler}", unit="batch", leave=False):
        before = time.perf_counter()
        *_, last = sample(model, request, numbers.tolist())
        images.append(last.x.cpu())
        seconds, calls = seconds + time.perf_counter() - before, last.nfe
    samples = torch.cat(images)
    features = features_of(judge, samples)
    right = None
    if request.prompt or (request.label and model.config.condition.classes == judge.classes):
        wanted = torch.arange(request.num_images) % len(judge.classes)
        right = (judge.classify(samples) == wanted).double().numpy()
    floor = real.held_out_features[: request.num_images]
    newness = nearest(floor, real.reference.features)[1]
    write_neighbours(model, real, samples, features)
    return {
        "network_calls": calls,
        "seconds": seconds / request.num_images,
        "figures": figures(features, real, newness, right),
        "floor": figures(floor, real, newness, None) | {"images": len(floor)},
    }


def figures(features: Features, real: RealImages, newness: Features, right: NDArray[np.float64] | None) -> dict[str, Any]:
    """All figures of some images, with intervals.

    Args:
        features: (N, D) of the images.
        newness: how far held-out images are from their nearest training image.
        right: (N,) 1 where the classifier sees what was asked for.
    """
    count, reference = len(features), real.reference
    some = reference.thinned(max(ENOUGH, count))
    found = {
        "frechet_distance": bootstrap(lambda rows: reference.frechet_distance(features[rows]), count),
        "kernel_distance": bootstrap(lambda rows: some.kernel_distance(features[rows]), count),
    }
    near = nearest(features, reference.features)[1] < np.quantile(newness, CLOSEST)
    found["closer_than_held_out"] = bootstrap(lambda rows: float(near[rows].mean()), count)
    if right is not None:
        found["agreement"] = bootstrap(lambda rows: float(right[rows].mean()), count)
    precision, recall = precision_recall(features, some.features)
    for name, value in (("precision", precision), ("recall", recall)):
        found[name] = Estimate.around(value, (value * (1 - value) / count) ** 0.5)
    return {name: asdict(estimate) for name, estimate in found.items()}


def write_neighbours(model: LoadedModel, real: RealImages, samples: Tensor, features: Features) -> None:
    """Beside the weights: the samples closest to training images, each above its nearest one."""
    numbers, distances = nearest(features, real.reference.features)
    closest = distances.argsort()[:PAIRS]
    training = real.as_input(real.train, real.rows[numbers[closest]].tolist())
    pairs = np.concatenate([to_uint8(samples[closest.tolist()]), to_uint8(training)])
    with atomic(model.run.model_path.with_name(NEIGHBOURS_PICTURE)) as temporary:
        temporary.write_bytes(png_bytes(montage(pairs, len(closest))))


def summary(kind: str, found: dict[str, Any]) -> str:
    """A result in one line."""

    def shown(estimate: dict[str, float], digits: int = 4) -> str:
        return f"{estimate['value']:.{digits}g} ({estimate['low']:.{digits}g} – {estimate['high']:.{digits}g})"

    if kind == "loss":
        return shown(found["whole"])
    if kind == "likelihood":
        return f"at most {shown(found['total'])} bits per dimension"
    floor = found["floor"]["frechet_distance"]
    parts = [f"Fréchet distance {shown(found['figures']['frechet_distance'])}, real against real {shown(floor)}"]
    if "agreement" in found["figures"]:
        parts.append(f"agreement {found['figures']['agreement']['value']:.1%}")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(run_command(Evaluate, main, "pipelines.evaluate"))
