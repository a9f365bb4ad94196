"""The section "On a GPU" of README.md, as Markdown: ``python -m benchmarks.gpu``.

Whole sampling loops of 20 steps of DPM-Solver++(2M) and whole training steps, compared with those of diffusers' network of
equal parameters and FLOPs, in one process and in turns, for 32×32 images and, with patches of 2×2 pixels, for 64×64 images:

* Noisescope as shipped: ``pipelines.sample`` on a loaded model, including the drawing of noise, with the replays of
  ``pipelines/models/captured.py``; the same call by call; and the training loop's step;
* diffusers' network call by call, captured as a CUDA graph, and compiled, and ours compiled with the same settings.

It also runs on the CPU, where nothing is captured. A row that fails shows its error and the others continue, except after an
illegal memory access, which ends the process. When the time is up, nothing more is compiled.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
import tyro
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from pipelines.common.devices import best_device, finish, keep_freed_memory
from pipelines.models.compiled import compile_calls
from pipelines.models.loading import LoadedModel, load_model
from pipelines.models.networks import make_network
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.config import DataConfig, DiffusionConfig, NetworkConfig, OptimizerConfig, RunConfig
from pipelines.storage.run import Run as RunFolder
from pipelines.training.reading import open_training

from .latents import write_pictures
from .peers import Peer, Size, fill_zeros, find_peer
from .recipes import DiffusersRecipe
from .sampling import FASTEST, our_loop, their_loop
from .timing import Run, Times, interleaved, machine, peak_memory, ratio, table, with_quartiles
from .training import DECAY
from .variants import captured, compiled

MIB = 2**20
STEPS = 20
HEADS = 32  # channels per attention head of diffusers' network when captured or compiled
COMPILING = 25  # approximate seconds of a compilation
OURS = "Noisescope"
Makers = dict[str, Callable[[], Run]]  # name -> function that prepares the run


@dataclass(frozen=True)
class Arguments:
    """Print the section "On a GPU"."""

    batches: tuple[int, ...] = (1, 16, 64, 256)
    """Images sampled at once."""
    training_batches: tuple[int, ...] = (64, 256)
    compiled_batches: tuple[int, ...] = (64, 1)
    """Images sampled at once by compiled networks."""
    repetitions: int = 7
    """Interleaved rounds that count."""
    seconds: float = 85
    """Time limit: no compilation starts that would end after it."""
    device: str = field(default_factory=lambda: str(best_device()))


@dataclass(frozen=True)
class Subject:
    """An untrained run of ours and a diffusers network of its size, for images of one size."""

    folder: Path
    side: int
    network: NetworkConfig
    device: torch.device

    @cached_property
    def config(self) -> RunConfig:
        """A configuration as close as possible to that of diffusers."""
        pictures = write_pictures(self.folder / f"pictures-{self.side}", self.side)
        return RunConfig(
            network=self.network,
            diffusion=DiffusionConfig(schedule="cosine", prediction="v"),
            data=DataConfig(data=str(pictures), image_size=self.side, held_out_images=1),
            image_shape=(3, self.side, self.side),
        )

    @cached_property
    def run(self) -> RunFolder:
        """A run with random weights."""
        run = RunFolder(self.folder / f"run-{self.side}")
        run.write_config(self.config)
        run.write_model(fill_zeros(make_network(self.config, seed=0)).state_dict(), self.config)
        return run

    @cached_property
    def peer(self) -> Peer:
        """The network of diffusers."""
        return find_peer(make_network(self.config, seed=0), self.side)

    @property
    def sizes(self) -> str:
        """A description of both networks' sizes."""
        return f"Noisescope: {Size.of(make_network(self.config, seed=0), 3, self.side)}. diffusers: {self.peer}."

    def ours(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> nn.Module:
        """Load our network as users do, without captures."""
        return uncaptured(load_model(self.run, device or self.device, dtype)).denoiser.network

    def theirs(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Build diffusers' network in the memory format of ours."""
        network = self.peer.build(HEADS if self.peer.options["add_attention"] else None)
        return network.to(self.device, dtype, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    def noise(self, count: int) -> Tensor:
        """Draw noise, (count, C, H, W) float32."""
        return torch.randn(count, 3, self.side, self.side, device=self.device)

    # --- sampling

    def shipped(self, count: int, dtype: torch.dtype | None = None, replayed: bool = True, compiling: bool = False) -> Run:
        """Prepare sampling as commands and pages do it; a captured network is called until all its calls are replays."""
        model = load_model(self.run, self.device, dtype)
        if not replayed:
            uncaptured(model)
        if compiling:
            compile_calls(model.denoiser.network, count)
        request = SamplingRequest(num_images=count, sampler="dpmpp_2m", steps=STEPS)

        def run() -> Tensor:
            *_, last = sample(model, request)
            return last.x

        return run

    def sampling(self, count: int) -> Makers:
        """Return both sides, call by call and captured."""
        noise = self.noise(count)
        theirs = partial(their_loop, noise=noise, steps=STEPS, solver=FASTEST)
        return {
            OURS: lambda: self.shipped(count),
            "Noisescope, call by call": lambda: self.shipped(count, replayed=False),
            "Noisescope, bfloat16": lambda: self.shipped(count, torch.bfloat16),
            "diffusers, as its examples": lambda: theirs(self.peer.build().to(self.device).eval()),
            "diffusers, bfloat16": lambda: their_loop(self.theirs(torch.bfloat16), noise.to(torch.bfloat16), STEPS, FASTEST),
            "diffusers, float32, captured": lambda: theirs(captured(self.theirs(), noise)),
        }

    def compiled_sampling(self, count: int) -> Makers:
        """Return both sides compiled, ours also as by ``pipelines.sample --compile``, and ours as shipped."""
        noise = self.noise(count)
        return {
            OURS: lambda: self.shipped(count),
            "Noisescope, compiled and captured": lambda: self.shipped(count, compiling=True),  # drops what was compiled before
            "diffusers, float32, compiled": lambda: their_loop(compiled(self.theirs()), noise, STEPS, FASTEST),
            "Noisescope, float32, compiled": lambda: our_loop(compiled(self.ours(torch.float32)), noise, STEPS, FASTEST),
        }

    def difference(self) -> float:
        """Return the largest difference between the device's images, as shipped, and float32 images of the CPU."""
        request = SamplingRequest(num_images=4, sampler="dpmpp_2m", steps=STEPS)
        model, on_cpu = load_model(self.run, self.device), load_model(self.run, "cpu", torch.float32)
        (*_, expected), *made = (list(sample(each, request)) for each in (on_cpu, model, model))  # the second are all replays
        return max(float((steps[-1].x.cpu() - expected.x).abs().max()) for steps in made)

    # --- training

    def trainer_step(self, batch: int, precision: str, prepare: Callable[[nn.Module], object] | None = None) -> Run:
        """Prepare a step of our training loop, with its network changed by ``prepare``."""
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        config = replace(self.config, optimizer=OptimizerConfig(batch_size=batch, precision=precision))  # type: ignore[arg-type]
        trainer = open_training(RunFolder(tempfile.mkdtemp(dir=self.folder)), config)
        if prepare is not None:
            prepare(trainer.model)
        return trainer.train_step

    def recipe_step(self, batch: int, dtype: torch.dtype, prepare: Callable[[nn.Module], nn.Module] | None = None) -> Run:
        """Prepare a step of diffusers' recipe: as in its example, or with the memory format and heads that suit it best."""
        network = self.peer.build().to(self.device)
        if prepare is not None:
            network = prepare(self.theirs().train().requires_grad_(True))
        return partial(DiffusersRecipe(network, dtype, DECAY).step, self.noise(batch).clamp(-1, 1))

    def training(self, batch: int) -> Makers:
        """Return both sides, call by call."""
        return {
            OURS: lambda: self.trainer_step(batch, "auto"),
            "Noisescope, float32": lambda: self.trainer_step(batch, "no"),
            "diffusers, as its example": lambda: self.recipe_step(batch, torch.float32),
            "diffusers, mixed bfloat16": lambda: self.recipe_step(batch, torch.bfloat16, lambda network: network),
        }

    def compiled_training(self, batch: int) -> Makers:
        """Return both sides compiled as by ``pipelines.train --compile``, and ours as shipped."""
        plainly = partial(compiled, mode="default")
        return {
            OURS: lambda: self.trainer_step(batch, "auto"),
            "diffusers, mixed bfloat16, compiled": lambda: self.recipe_step(batch, torch.bfloat16, plainly),
            "Noisescope, compiled": lambda: self.trainer_step(batch, "auto", plainly),
        }


def uncaptured(model: LoadedModel) -> LoadedModel:
    """Return a model that calls its network eagerly."""
    vars(model.denoiser.network).pop("forward", None)
    return model


def first_call(make: Callable[[], Run], device: torch.device) -> tuple[Run, str]:
    """Prepare a run and call it once; return it with its peak memory in MiB, as counted by CUDA."""
    prepared: list[Run] = []

    def prepare() -> None:
        prepared.append(make())
        prepared[0]()
        finish(device)

    if device.type != "cuda":
        prepare()
        return prepared[0], ""
    torch.cuda.empty_cache()
    taken = peak_memory(prepare, device)
    return prepared[0], f"{taken / MIB:.0f}"


def measure(makers: Makers, count: int, repetitions: int, device: torch.device) -> None:
    """Print the rows of a table; a run that fails shows its error."""
    runs, memory, failed = {}, {}, {}
    for what, make in makers.items():
        try:
            runs[what], memory[what] = first_call(make, device)
        except Exception as error:  # another library, the compiler or a graph may fail in any way
            failed[what] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".replace("|", "/")
    times = interleaved(runs, repetitions)
    for what in makers:
        cells = [failed[what], "", "", ""] if what in failed else cells_of(what, times, count, memory[what])
        print(f"| {count}, {what} | {' | '.join(cells)} |", flush=True)


def cells_of(what: str, times: dict[str, Times], count: int, memory: str) -> list[str]:
    """Format the cells of a row, without its name."""
    seconds = times[what]
    faster = f"{ratio(seconds, times[OURS]):.2f}×" if what != OURS and OURS in times else ""
    return [with_quartiles(1000 * seconds, 1), f"{count / float(np.median(seconds)):,.0f}", faster, memory]


def start_table(title: str) -> None:
    """Print a heading and the header of a table."""
    header = ("images, what", "ms (quartiles)", "images/s", "Noisescope is faster", "MiB")
    print(f"\n### {title}\n\n{table(header, [])}", flush=True)


def until(end: float, makers: Makers) -> Makers:
    """Return the same makers, except that those to compile are left out when the time is up."""

    def in_time(make: Callable[[], Run]) -> Run:
        if time.monotonic() + COMPILING > end:
            raise TimeoutError("left out, the time is up (see --seconds)")
        return make()

    return {what: make if what == OURS else partial(in_time, make) for what, make in makers.items()}


def report(arguments: Arguments, folder: Path) -> None:
    """Print all tables, those of compiled networks last."""
    end, device = time.monotonic() + arguments.seconds, torch.device(arguments.device)
    subjects = [
        Subject(folder, 32, NetworkConfig(unet="attention"), device),
        Subject(folder, 64, NetworkConfig(unet="attention", channels=(96, 160, 160), patch_size=2), device),
    ]
    for subject in subjects:
        name = f"{subject.side}×{subject.side}"
        start_table(f"{name}, sampling in {STEPS} steps")
        for count in arguments.batches:
            measure(subject.sampling(count), count, arguments.repetitions, device)
        start_table(f"{name}, a training step")
        for count in arguments.training_batches:
            measure(subject.training(count), count, arguments.repetitions, device)
        print(f"\n{subject.sizes} The device's images are within {subject.difference():.4f} of the CPU's.")
    first, *_ = subjects
    start_table(f"{first.side}×{first.side}, beside compiled networks")
    for count in arguments.compiled_batches:
        measure(until(end, first.compiled_sampling(count)), count, arguments.repetitions, device)
    for count in arguments.training_batches[:1]:
        measure(until(end, first.compiled_training(count)), count, arguments.repetitions, device)


def main(arguments: Arguments) -> None:
    """Print Markdown."""
    torch.manual_seed(0)
    keep_freed_memory()
    print(f"## On a GPU\n\n{machine(torch.device(arguments.device))}", flush=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):  # hides the progress of trainings
        report(arguments, Path(folder))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
