"""Quality per minute: ``python -m benchmarks.quality_per_minute``, Fréchet distance over minutes of training.

Noisescope's training loop and diffusers' unconditional recipe train networks of equal parameters and FLOPs on the same images
for the same time on the same machine, in turns. diffusers uses its best memory format and mixed bfloat16, with its images in
memory, although its example reads them from files. Each follows its own learning-rate schedule over the whole budget. Both are
sampled from averaged weights with 20 steps of DPM-Solver++(2M). Both keep freed memory, as Noisescope does for its users.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_core.noise import SeededNoise
from pipelines.common.devices import best_device, finish, keep_freed_memory
from pipelines.common.flags import parse
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.sources import resolve
from pipelines.evaluation.distances import Reference
from pipelines.evaluation.judges import Judge
from pipelines.models.classifier import load_classifier
from pipelines.models.loading import load_model
from pipelines.models.networks import make_network
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DataConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.files import ROOT
from pipelines.storage.run import Run
from pipelines.training.reading import open_training

from .peers import LAYOUTS, find_peer
from .recipes import DiffusersRecipe
from .timing import interleaved, machine, table

OURS, THEIRS = "Noisescope", "diffusers' recipe, at its best"
TURN = 20  # steps per turn
TRIAL = 30  # steps that measure the speed of each


@dataclass(frozen=True)
class Arguments:
    """Train Noisescope and diffusers for the same time, and measure both at intervals."""

    data: str = "fashion_mnist"
    classifier: Path = ROOT / "classifiers" / "fashion-mnist.safetensors"
    """The classifier in whose features images are compared."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(unet="baseline"))
    image_size: int = 32
    minutes: tuple[float, ...] = (1, 2, 4, 8)
    """Training times after which samples are measured; the last is the whole budget."""
    batch: int = 64
    num_images: int = 500
    """Samples per measurement."""

    @property
    def config(self) -> RunConfig:
        """Configuration of our run; what is not said here is the default."""
        return RunConfig(network=self.network, data=DataConfig(data=self.data, image_size=self.image_size))


class Ours:
    """A run of Noisescope's training loop."""

    def __init__(self, folder: Path, arguments: Arguments, steps: int) -> None:
        self.run = Run(folder)
        config = replace(arguments.config, optimizer=OptimizerConfig(steps=steps, batch_size=arguments.batch))
        self.trainer = open_training(self.run, config)

    def step(self) -> None:
        """Take one optimiser step."""
        self.trainer.train_step()

    def samples(self, count: int) -> Tensor:
        """Generate samples, (N, C, H, W) in [−1, 1]."""
        self.trainer.save()
        *_, last = sample(load_model(self.run), SamplingRequest(num_images=count, sampler="dpmpp_2m"), range(count))
        return last.x


class Theirs:
    """A training with diffusers' recipe on images in memory."""

    def __init__(self, images: Tensor, arguments: Arguments, layout: str, steps: int) -> None:
        shape = (images.shape[1], arguments.image_size, arguments.image_size)
        peer = find_peer(make_network(replace(arguments.config, image_shape=shape), seed=0), arguments.image_size)
        network = peer.build(peer.head_widths[-1]).to(best_device(), memory_format=LAYOUTS[layout])
        self.recipe = DiffusersRecipe(network, torch.bfloat16, steps)
        self.images, self.layout, self.batch = images.to(best_device()), LAYOUTS[layout], arguments.batch
        self.order = self.images.new_empty(0, dtype=torch.long)

    def step(self) -> None:
        """Take one optimiser step."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.images), device=self.images.device)
        chosen, self.order = self.order[: self.batch], self.order[self.batch :]
        self.recipe.step((self.images[chosen].float() / 127.5 - 1).contiguous(memory_format=self.layout))

    def samples(self, count: int) -> Tensor:
        """Generate samples, (N, C, H, W) in [−1, 1]."""
        noise = SeededNoise(0, tuple(self.images.shape[1:]), range(count)).initial(self.images.device)
        parts = noise.contiguous(memory_format=self.layout).split(50)
        return torch.cat([self.recipe.sample(part, 20) for part in parts])


def speeds(folder: Path, images: Tensor, arguments: Arguments) -> tuple[dict[str, float], str]:
    """Measure the steps per second of both, and find the best memory format of diffusers."""
    makers: dict[str, Callable[[], None]] = {OURS: Ours(folder / "trial", arguments, TRIAL).step}
    makers |= {layout: Theirs(images, arguments, layout, TRIAL).step for layout in LAYOUTS}
    times = interleaved(makers, TRIAL, warm_up=3)
    rates = {name: 1 / float(np.median(seconds)) for name, seconds in times.items()}
    layout = max(LAYOUTS, key=rates.__getitem__)
    return {OURS: rates[OURS], THEIRS: rates[layout]}, layout


def main(arguments: Arguments) -> None:
    """Print Markdown: one row for each training time."""
    torch.manual_seed(0)
    keep_freed_memory()
    classifier = load_classifier(arguments.classifier)
    judge = Judge(classifier.data, "", classifier.features, classifier)
    images, _ = load_images(resolve(replace(arguments.config.data, held_out_images=arguments.num_images)))
    spread = images.images[:: max(1, len(images) // 10_000)]
    reference = Reference(judge.features(spread.float() / 127.5 - 1))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        rates, layout = speeds(Path(name), images.images, arguments)
        budget = arguments.minutes[-1] * 60
        contenders = {
            OURS: Ours(Path(name) / "run", arguments, round(rates[OURS] * budget)),
            THEIRS: Theirs(images.images, arguments, layout, round(rates[THEIRS] * budget)),
        }
        spent, seen = dict.fromkeys(contenders, 0.0), dict.fromkeys(contenders, 0)
        for minutes in arguments.minutes:
            while min(spent.values()) < minutes * 60:
                turn = min(spent, key=spent.__getitem__)
                before = time.perf_counter()
                for _ in range(TURN):
                    contenders[turn].step()
                finish(best_device())
                spent[turn] += time.perf_counter() - before
                seen[turn] += TURN * arguments.batch
            row = [f"{minutes:g}"]
            for contender, model in contenders.items():
                features = judge.features(model.samples(arguments.num_images))
                found, _ = reference.frechet_estimate(features)
                row += [f"{found.value:.2f} ({found.low:.2f} – {found.high:.2f})", f"{seen[contender]:,}"]
            rows.append(row)
            print(*row, sep=" · ", flush=True)
    columns = [part for name in contenders for part in (f"{name}: Fréchet distance (95 %)", "images seen")]
    print(f"\n{machine()}\n")
    print(f"{arguments.num_images} samples each, {judge.name} classifier; diffusers is fastest with {layout}.\n")
    print(table(("minutes", *columns), rows))


if __name__ == "__main__":
    main(parse([Arguments], sys.argv[1:], description=__doc__))
