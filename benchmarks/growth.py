"""How cost grows: ``python -m benchmarks.growth``.

Untrained models run through the dashboard's queue with 20 steps of DPM-Solver++(2M), while one quantity grows at a time: the
number of images, their resolution, the network's channels, the number of models. Then training logs are read and drawn.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from pipelines.figures.training import training_curves
from pipelines.models.networks import make_network
from pipelines.sampling.generation import Comparison
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.storage.config import DataConfig, NetworkConfig, RunConfig
from pipelines.storage.metrics_log import MetricsLog
from pipelines.storage.run import Run

from .timing import Times, machine, table, with_quartiles

MIB = 2**20
BINS = 20  # bins of a loss by timestep


@dataclass(frozen=True)
class Arguments:
    """Measure how time and memory grow."""

    images: tuple[int, ...] = (1, 4, 16, 64, 256)
    resolutions: tuple[int, ...] = (16, 32, 64, 128)
    channels: tuple[int, ...] = (32, 64, 128)
    """Channels of the first level; the other levels have twice as many."""
    models: tuple[int, ...] = (1, 2, 3, 4)
    lines: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Numbers of lines of a log."""
    repetitions: int = 5
    """Measurements of each case; the median counts."""


@dataclass(frozen=True)
class Case:
    """One comparison to measure."""

    images: int = 16
    resolution: int = 32
    channels: int = 64
    models: int = 1


def cases(arguments: Arguments) -> Iterator[tuple[str, Case]]:
    """Yield the quantity that grows and the comparison at each of its values."""
    for count in arguments.images:
        yield "images", Case(images=count)
    for side in arguments.resolutions:
        yield "resolution", Case(resolution=side)
    for width in arguments.channels:
        yield "channels", Case(channels=width)
    for count in arguments.models:
        yield "models", Case(models=count)


def untrained(folder: Path, case: Case, number: int) -> Run:
    """Create an untrained run; each number gives different weights."""
    config = RunConfig(
        network=NetworkConfig(unet="attention", channels=(case.channels, 2 * case.channels, 2 * case.channels)),
        data=DataConfig(data="none"),
        image_shape=(3, case.resolution, case.resolution),
    )
    run = Run(folder / f"{case.channels}-{case.resolution}-{number}")
    if not run.has_weights:
        run.write_config(config)
        run.write_model(make_network(config, seed=number).state_dict(), config)
    return run


def measure(queue: GenerationQueue, runs: list[Run], case: Case, seeds: Iterable[int]) -> tuple[Times, int]:
    """Measure the seconds of the comparison for each seed but the first, and the bytes that its models hold."""
    seconds, peak = [], 0
    for seed in seeds:
        before = time.perf_counter()
        request = SamplingRequest(num_images=case.images, seed=seed, sampler="dpmpp_2m")
        comparison = queue.submit(Comparison.of([(run, request) for run in runs]))
        while comparison.active:
            time.sleep(0.001)
        if comparison.error:
            raise RuntimeError(comparison.error)
        seconds.append(time.perf_counter() - before)
        peak = sum(column.peak_memory for column in comparison.columns)
    return np.array(seconds[1:]), peak


def write_log(file: Path, lines: int) -> None:
    """Write a log like those of long runs, with a validation in every tenth line."""
    random = np.random.default_rng(0)
    with file.open("w") as log:
        for i in range(1, lines + 1):
            loss = 0.1 + 1 / math.sqrt(i) + 0.01 * random.standard_normal()
            row = {"step": 50 * i, "images_seen": 3200 * i, "seconds": round(1.2 * i, 3), "loss": loss, "lr": 1e-3 / i}
            row["grad_norm"] = loss
            if i % 10 == 0:
                row |= {"val_loss": loss, "loss_by_timestep": (loss * random.random(BINS)).round(4).tolist()}
            log.write(json.dumps(row) + "\n")


def measure_log(file: Path, repetitions: int) -> tuple[Times, Times, int]:
    """Measure the seconds to read the log and to draw its curves, and the bytes of its table."""
    reading, drawing = [], []
    for _ in range(repetitions):
        before = time.perf_counter()
        rows = MetricsLog(file).read()
        between = time.perf_counter()
        training_curves({"run": rows}, ("loss", "val_loss", "grad_norm", "lr"), smoothing=1000.0)
        reading.append(between - before)
        drawing.append(time.perf_counter() - between)
    return np.array(reading), np.array(drawing), int(rows.memory_usage(deep=True).sum())


def main(arguments: Arguments) -> None:
    """Print Markdown: a table of comparisons and one of logs."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder, queue, rows = Path(name), GenerationQueue(), []
        for number, (what, case) in enumerate(tqdm(list(cases(arguments)), unit="case")):
            runs = [untrained(folder, case, own) for own in range(case.models)]
            # Every comparison needs its own seed, because the queue answers repeated requests from its cache.
            seeds = range(number * (1 + arguments.repetitions), (number + 1) * (1 + arguments.repetitions))
            seconds, peak = measure(queue, runs, case, seeds)
            rows.append((f"{what}: {getattr(case, what)}", with_quartiles(seconds), f"{peak / MIB:.0f}"))
        queue.close()
        print(table(("what grows", "seconds (quartiles)", "MiB"), rows))
        file, rows = folder / "metrics.jsonl", []
        for lines in arguments.lines:
            write_log(file, lines)
            reading, drawing, size = measure_log(file, arguments.repetitions)
            what = f"{lines:,} ({file.stat().st_size / MIB:.1f} MiB)"
            rows.append((what, with_quartiles(reading, 3), with_quartiles(drawing, 3), f"{size / MIB:.0f}"))
        print("\n" + table(("lines of a log", "seconds to read", "seconds to draw", "MiB once read"), rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
