"""What helps with few images? ``python -m benchmarks.ablations --out runs/ablations``.

Runs of equal budget differ in one setting each. They are compared by their error on held-out images at the same
signal-to-noise ratios with the same noise, paired with the error of the first variant, and by the Fréchet distance of samples
from the same noise. Finished runs are not trained again, and interrupted ones resume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from diffusion_core.noise import SeededNoise
from diffusion_core.schedules import make_schedule
from pipelines.evaluation.intervals import Estimate
from pipelines.evaluation.judges import judge_for
from pipelines.evaluation.measurements import RealImages, errors_in_v
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DataConfig, DiffusionConfig, LogConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.runs import Run
from pipelines.training.reading import open_training

from .timing import machine, table

LEVELS = 20  # noise levels, spread like the timesteps of the cosine schedule
AT_ONCE = 100  # images per batch

Change = Callable[[RunConfig], RunConfig]


def of(part: str, **settings: object) -> Change:
    """Return a change of settings in one part of the configuration."""
    return lambda config: replace(config, **{part: replace(getattr(config, part), **settings)})


VARIANTS: dict[str, Change] = {
    "v-prediction": lambda config: config,
    "another-seed": lambda config: replace(config, seed=1),
    "epsilon": of("diffusion", prediction="epsilon"),
    "flow": of("diffusion", prediction="flow", schedule="flow"),
    "flow-another-seed": lambda config: replace(VARIANTS["flow"](config), seed=1),
    "linear-schedule": of("diffusion", schedule="linear"),
    "sigmoid-schedule": of("diffusion", schedule="sigmoid"),
    "min-snr-weights": of("diffusion", weighting="min_snr"),
    "noise-shift-0.5": of("diffusion", noise_shift=0.5),
    "noise-shift-2": of("diffusion", noise_shift=2.0),
    "ema-of-1000-images": of("optimizer", ema_half_life=1_000),
    "ema-ramp-up-0.2": of("optimizer", ema_ramp_up=0.2),
    "dropout-0.1": of("network", dropout=0.1),
    "augmentation-0.12": of("data", augment=0.12),
}


@dataclass(frozen=True)
class Arguments:
    """Train and measure v-prediction with the cosine schedule, and variants that differ from it in one setting."""

    out: Path = Path("runs/ablations")
    """Folder of the runs."""
    data: str = "oxford_flowers"
    image_size: int = 32
    channels: tuple[int, ...] = (32, 64, 64)
    steps: int = 5000
    images: int = 400
    """Number of samples, and the largest number of held-out images."""
    variants: tuple[Literal[tuple(VARIANTS)], ...] = tuple(VARIANTS)
    """Variants to measure, the reference first; all of them take hours."""


def configuration(arguments: Arguments, change: Change) -> RunConfig:
    """Return the configuration of one variant."""
    return change(
        RunConfig(
            network=NetworkConfig(unet="baseline", channels=arguments.channels),
            diffusion=DiffusionConfig(schedule="cosine", prediction="v"),
            data=DataConfig(data=arguments.data, image_size=arguments.image_size),
            optimizer=OptimizerConfig(steps=arguments.steps),
            log=LogConfig(sample_every=arguments.steps),
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
    request = SamplingRequest(num_images=count)
    parts = [list(sample(model, request, rows.tolist()))[-1].x for rows in torch.arange(count).split(AT_ONCE)]
    features = real.judge.features(torch.cat(parts))
    return real.reference.frechet_estimate(features)[0]


def cell(figure: Estimate, digits: str) -> str:
    """Format a figure with its interval."""
    return f"{figure.value:{digits}} ({figure.low:{digits}} – {figure.high:{digits}})"


def main(arguments: Arguments) -> None:
    """Print Markdown, each line as soon as it is measured."""
    side, channels = arguments.image_size, ", ".join(map(str, arguments.channels))
    print(f"{machine()}\n\n{arguments.steps:,} steps of 64 images of {arguments.data}, {side}×{side}, channels {channels};")
    print(f"{arguments.images} samples.\n")
    columns = ("variant", "error on held-out images (95 %)", "more than the first's (95 %)", "Fréchet distance (95 %)")
    print(table(columns, []), flush=True)
    first = None
    for name in arguments.variants:
        model = load_model(trained(Run(arguments.out / name), configuration(arguments, VARIANTS[name])))
        real = RealImages(model.config, judge_for(model), 10_000, arguments.images)
        errors = held_out_errors(model, real)
        distance = frechet_distance(model, real, arguments.images)
        more = "–" if first is None else cell(Estimate.of_mean(errors - first), "+.4f")
        first = errors if first is None else first
        cells = [cell(Estimate.of_mean(errors), ".4f"), more, cell(distance, ".1f")]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
