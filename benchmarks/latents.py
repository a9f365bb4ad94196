"""Pixels or latents: ``python -m benchmarks.latents``.

The same U-Net over pixels and over the latents of an autoencoder, both with initial weights, from a folder of images to
samples: the time and memory of a training step and of an image. The quality of the images is not measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from pipelines.common.memory import weight_bytes
from pipelines.models.loading import load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DataConfig, LatentConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.run import Run
from pipelines.training.reading import open_training

from .timing import Times, interleaved, machine, peak_memory, ratio, table, with_quartiles

MIB = 2**20
PICTURES = 20


@dataclass(frozen=True)
class Arguments:
    """Measure the cost of diffusion over pixels and over latents."""

    sides: tuple[int, ...] = (128, 256)
    batch: int = 4
    steps: int = 20
    """Steps of DPM-Solver++(2M)."""
    repetitions: int = 5


def write_pictures(folder: Path, side: int) -> Path:
    """Write images of coloured clouds and return their folder."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(PICTURES):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def kinds(folder: Path, side: int, batch: int) -> dict[str, RunConfig]:
    """Return the configurations to measure, the autoencoder first."""
    common = RunConfig(
        data=DataConfig(data=str(write_pictures(folder / "pictures", side)), image_size=side),
        optimizer=OptimizerConfig(batch_size=batch),
    )
    unet = NetworkConfig(unet="attention", channels=(64, 128, 128, 128))
    return {
        "autoencoder": replace(common, model="autoencoder", network=NetworkConfig(channels=(32, 64, 128))),
        "pixels": replace(common, network=unet),
        "latents": replace(common, network=unet, latent=LatentConfig(str(folder / "autoencoder"))),
    }


def measure(folder: Path, side: int, arguments: Arguments) -> list[tuple[str, ...]]:
    """Measure the rows of a table for images of one size."""
    rows, making = [], {}
    training: dict[str, tuple[Times, int]] = {}
    request = SamplingRequest(num_images=1, sampler="dpmpp_2m", steps=arguments.steps)
    for name, config in kinds(folder, side, arguments.batch).items():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        before = time.perf_counter()
        trainer = open_training(Run(folder / name), config)
        print(f"{side}×{side}, {name}: ready after {time.perf_counter() - before:.1f} s", flush=True)
        times = interleaved({name: trainer.train_step}, arguments.repetitions)[name]
        training[name] = times / arguments.batch, peak_memory(trainer.train_step, trainer.task.device)
        trainer.save()
        if name != "autoencoder":
            model = load_model(folder / name)

            def make(model=model) -> None:
                *_, last = sample(model, request)
                model.decode(last.x)

            making[name] = make, sum(map(weight_bytes, model.modules))
    seconds = interleaved({name: make for name, (make, _) in making.items()}, arguments.repetitions)
    for name, (times, memory) in training.items():
        row = [f"{side}×{side}, {name}", with_quartiles(times, 3), f"{memory / MIB:.0f}", "", "", ""]
        if name in making:
            make, weights = making[name]
            faster = "" if name == "pixels" else f"{ratio(seconds['pixels'], seconds[name]):.1f}×"
            row[3:] = [with_quartiles(seconds[name]), f"{(weights + peak_memory(make, model.device)) / MIB:.0f}", faster]
        rows.append(tuple(row))
    return rows


def main(arguments: Arguments) -> None:
    """Print Markdown: a table."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["NOISESCOPE_CACHE"] = str(Path(name) / "cache")  # these latents are not worth keeping
        for side in arguments.sides:
            (folder := Path(name) / str(side)).mkdir()
            rows += measure(folder, side, arguments)
    print(f"\n{machine()}\n")
    header = ("what", "training: seconds an image", "MiB of a step", "an image: seconds", "MiB", "faster than pixels")
    print(table(header, rows))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
