"""What helps with few images? ``python -m benchmarks.ablations --out runs/ablations``.

Runs of equal budget differ in one setting each, and are repeated with several seeds. They are compared by their error on
held-out images at the same signal-to-noise ratios with the same noise, paired with the error of the first variant, and by the
Fréchet distance of samples from the same noise. Runs train and are measured in processes of their own, several at once with
--parallel. Finished runs are not trained again, and interrupted ones resume.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Literal, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from diffusion_core.noise import SeededNoise
from diffusion_core.schedules import make_schedule
from pipelines.evaluation.intervals import Estimate
from pipelines.evaluation.judges import judge_for
from pipelines.evaluation.measurements import errors_in_v
from pipelines.evaluation.real_images import RealImages
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DataConfig, DiffusionConfig, LogConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.run import Run
from pipelines.training.reading import open_training

from .timing import machine, table

LEVELS = 20  # noise levels, spread like the timesteps of the cosine schedule
AT_ONCE = 100  # images per batch

Change = Callable[[RunConfig], RunConfig]


def of(part: str, **settings: object) -> Change:
    """Return a change of settings in one part of the configuration."""
    return lambda config: replace(config, **{part: replace(getattr(config, part), **settings)})


def flow(**settings: object) -> Change:
    """Return a change to flow, the default of training, with these settings of diffusion."""
    return of("diffusion", **{"schedule": "flow", "prediction": "flow", **settings})


VARIANTS: dict[str, Change] = {
    "v-prediction": lambda config: config,
    "epsilon": of("diffusion", prediction="epsilon"),
    "flow": flow(),
    "linear-schedule": of("diffusion", schedule="linear"),
    "sigmoid-schedule": of("diffusion", schedule="sigmoid"),
    "min-snr-weights": of("diffusion", weighting="min_snr"),
    "noise-shift-0.5": of("diffusion", noise_shift=0.5),
    "noise-shift-2": of("diffusion", noise_shift=2.0),
    "ema-of-1000-images": of("optimizer", ema_half_life=1_000),
    "ema-ramp-up-0.2": of("optimizer", ema_ramp_up=0.2),
    "dropout-0.1": of("network", dropout=0.1),
    "augmentation-0.12": of("data", augment=0.12),
    "flow-logit-normal": flow(timestep_density="logit_normal"),
    "flow-log-normal": flow(timestep_density="log_normal"),
    "flow-min-snr-weights": flow(weighting="min_snr"),
    "flow-learned-weights": flow(weighting="learned"),
    "edm": flow(prediction="edm"),
    "edm-log-normal": flow(prediction="edm", timestep_density="log_normal"),
    "edm-log-normal-learned-weights": flow(prediction="edm", timestep_density="log_normal", weighting="learned"),
}
TRAINING_OPTIONS = ("flow", *(name for name in VARIANTS if name.startswith(("flow-", "edm"))))  # all against the default


@dataclass(frozen=True)
class Arguments:
    """Train and measure variants of one recipe that differ in one setting; most from v-prediction with the cosine schedule."""

    out: Path = Path("runs/ablations")
    """Folder of the runs."""
    data: str = "oxford_flowers"
    image_size: int = 32
    channels: tuple[int, ...] = (32, 64, 64)
    steps: int = 5000
    images: int = 400
    """Number of samples, and the largest number of held-out images."""
    variants: tuple[Literal[tuple(VARIANTS)], ...] = TRAINING_OPTIONS
    """Variants to measure, the reference first."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the runs of each variant."""
    ema: tuple[int, ...] = ()
    """Also keep and measure weight averages of these half-lives, in images, in every run."""
    parallel: int = 1
    """Runs at once, on one device."""
    batch_size: int = 64


class Measured(NamedTuple):
    """What is known of one average of one run: the error of each held-out image, and the Fréchet distance."""

    errors: NDArray[np.float64]
    distance: Estimate


def configuration(arguments: Arguments, variant: str, seed: int) -> RunConfig:
    """Return the configuration of one run."""
    return VARIANTS[variant](
        RunConfig(
            network=NetworkConfig(unet="baseline", channels=arguments.channels),
            diffusion=DiffusionConfig(schedule="cosine", prediction="v"),
            data=DataConfig(data=arguments.data, image_size=arguments.image_size),
            optimizer=OptimizerConfig(steps=arguments.steps, batch_size=arguments.batch_size, ema_also=arguments.ema),
            log=LogConfig(sample_every=arguments.steps),
            seed=seed,
        )
    )


def trained(run: Run, config: RunConfig) -> Run:
    """Train the run to its end and return it.

    Raises:
        KeyboardInterrupt: training was stopped early, and saved.
    """
    done = run.has_weights and run.newest_metrics().get("step") == config.optimizer.steps
    if not done and not open_training(run, config).fit():
        raise KeyboardInterrupt
    return run


def measured(arguments: Arguments, variant: str, seed: int) -> dict[int | None, Measured]:
    """Train one run and measure its averages, by half-life; None is the usual one."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // arguments.parallel))
    run = trained(Run(arguments.out / f"{variant}-{seed}"), configuration(arguments, variant, seed))
    models = {half_life: load_model(run.average(half_life)) for half_life in (None, *arguments.ema)}
    real = RealImages(models[None].config, judge_for(models[None].config), 10_000, arguments.images)
    return {
        half_life: Measured(held_out_errors(model, real), frechet_distance(model, real, arguments.images))
        for half_life, model in models.items()
    }


def held_out_errors(model: LoadedModel, real: RealImages) -> NDArray[np.float64]:
    """Return the error in v of each held-out image, averaged over LEVELS noise levels."""
    usual = make_schedule("cosine").log_snr
    timesteps = model.schedule.timesteps_at(usual[torch.linspace(0, len(usual) - 1, LEVELS + 2)[1:-1].round().long()]).float()
    x0 = real.as_input(real.held_out, range(len(real.held_out))).to(model.device)
    errors = torch.zeros(len(x0), dtype=torch.float64)
    for number, t in enumerate(timesteps):
        for rows in torch.arange(len(x0)).split(AT_ONCE):
            noise = SeededNoise(number, model.image_shape, rows.tolist()).initial(model.device)
            errors[rows] += errors_in_v(model, x0[rows], noise, t[None]) / len(timesteps)
    return errors.numpy()


def frechet_distance(model: LoadedModel, real: RealImages, count: int) -> Estimate:
    """Measure the Fréchet distance of samples from 20 steps of DPM-Solver++(2M)."""
    request = SamplingRequest(num_images=count, sampler="dpmpp_2m")
    parts = [list(sample(model, request, rows.tolist()))[-1].x for rows in torch.arange(count).split(AT_ONCE)]
    features = real.judge.features(torch.cat(parts))
    return real.reference.frechet_estimate(features)[0]


def cell(figure: Estimate, digits: str) -> str:
    """Format a figure with its interval."""
    return f"{figure.value:{digits}} ({figure.low:{digits}} – {figure.high:{digits}})"


def rows(arguments: Arguments) -> Iterator[tuple[str, list[Measured]]]:
    """Yield the name of each row of the table and what was measured with each seed, as soon as it is there."""
    with ProcessPoolExecutor(arguments.parallel, get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = {name: [pool.submit(measured, arguments, name, seed) for seed in arguments.seeds] for name in arguments.variants}
        for name, futures in runs.items():
            found = [future.result() for future in futures]
            for half_life in found[0]:
                title = name if half_life is None else f"{name}, EMA of {half_life:,} images"
                yield title, [each[half_life] for each in found]


def main(arguments: Arguments) -> None:
    """Print Markdown, each line as soon as it is measured."""
    side, channels = arguments.image_size, ", ".join(map(str, arguments.channels))
    print(f"{machine()}\n\n{arguments.steps:,} steps of {arguments.batch_size} images of {arguments.data}, {side}×{side},")
    print(f"channels {channels}; {arguments.images} samples; seeds {', '.join(map(str, arguments.seeds))}.\n")
    columns = (
        "variant",
        "error on held-out images (95 %)",
        "more than the first's (95 %)",
        "distance: mean",
        "of each seed (95 %)",
    )
    print(table(columns, []), flush=True)
    first = None
    for name, runs in rows(arguments):
        errors = np.mean([run.errors for run in runs], axis=0)
        more = "–" if first is None else cell(Estimate.of_mean(errors - first), "+.4f")
        first = errors if first is None else first
        distances = [f"{mean(run.distance.value for run in runs):.1f}", ", ".join(cell(run.distance, ".1f") for run in runs)]
        print(f"| {' | '.join([name, cell(Estimate.of_mean(errors), '.4f'), more, *distances])} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
