"""Sampling compared with diffusers and denoising-diffusion-pytorch: ``python -m benchmarks.sampling``.

The result is the time per image and network call, in milliseconds, of whole sampling loops on networks of equal parameters and
FLOPs. Nothing is compiled; all variants run in one process, interleaved. With DPM-Solver++(2M):

* ours as shipped: the fastest precision of ``pipelines.common.devices``, channels-last;
* ours in float32;
* diffusers as its examples run it: float32, contiguous, heads of 8 channels;
* diffusers at its best: bfloat16 with the memory format and head width that win a trial in the same run.

With DDIM, the fast sampler of denoising-diffusion-pytorch: ours and diffusers' best again, and the library's own loop, in
float32 as it comes and in mixed bfloat16 with the memory format that wins. Each is compared with ours of the same solver.

The same rounds measure the ceiling, which is the fastest of the networks' 3×3 convolutions, and samplers around a network that
costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # denoising-diffusion-pytorch would draw a progress bar while being timed

import numpy as np
import torch
import tyro
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin
from torch import Tensor, nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import make_schedule, sampling_timesteps
from pipelines.common.devices import best_device, compute_dtype, keep_freed_memory
from unets import build_network

from .ceiling import ceilings, convolutions
from .peers import IMAGE_SIDE, LAYOUTS, Peer, Size, UnetPeer, fill_zeros, find_peer, find_unet_peer
from .recipes import mixed
from .timing import Run, Times, fastest, interleaved, machine, ratio, spread_warning, table, with_quartiles

SHIPPED, FLOAT32, EXAMPLE, BEST = "ours", "ours, float32", "diffusers, as its examples", "diffusers, at its best"
UNET, UNET_BEST = "denoising-diffusion-pytorch, as it comes", "denoising-diffusion-pytorch, at its best"
HEADER = ("batch, solver, what", "ms per image and call (quartiles)", "ours is faster", "GFLOP/s", "of the ceiling")
AROUND_OURS, AROUND_THEIRS = "our sampler alone", "diffusers' sampler alone"
SOLVERS: dict[str, tuple[str, type[SchedulerMixin]]] = {  # our name, and diffusers' class
    "DPM-Solver++(2M)": ("dpmpp_2m", DPMSolverMultistepScheduler),
    "DDIM": ("ddim", DDIMScheduler),
}
FASTEST, OTHER = SOLVERS


@dataclass(frozen=True)
class Arguments:
    """Time sampling with our networks and with those of other libraries of equal size."""

    networks: tuple[str, ...] = ("baseline", "attention")
    batches: tuple[int, ...] = (1, 16, 64)
    repetitions: int = 15
    """Interleaved rounds that count."""
    steps: int = 10
    """Network calls per sampling loop."""
    image_channels: int = 1
    device: str = field(default_factory=lambda: str(best_device()))
    quick: bool = False
    """Two rounds of four steps at batch 1 and 16, to check that it runs, not to measure."""


def our_network(name: str, device: torch.device, dtype: torch.dtype, **options: Any) -> nn.Module:
    """Build the network as ``pipelines.models.loading.load_model`` prepares it."""
    network = fill_zeros(build_network(name, **options))
    return network.to(device=device, dtype=dtype, memory_format=torch.channels_last).eval().requires_grad_(False)


def our_loop(network: Callable[..., Tensor], noise: Tensor, steps: int, solver: str) -> Run:
    """Prepare our solver with a Denoiser."""
    denoiser = Denoiser(network, make_schedule("cosine", 1000), "v")
    timesteps = sampling_timesteps(denoiser.schedule, steps)
    sampler = SAMPLERS[SOLVERS[solver][0]]

    def run() -> Tensor:
        *_, last = sampler(denoiser, noise, timesteps, denoiser.schedule)
        return last.x

    return run


def their_loop(network: Callable[..., SimpleNamespace], noise: Tensor, steps: int, solver: str) -> Run:
    """Prepare the loop of a diffusers pipeline around its solver."""
    scheduler = SOLVERS[solver][1](beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(steps, device=noise.device)
        x = noise
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        return x

    return run


def their_best(peer: Peer, noise: Tensor, steps: int) -> tuple[str, nn.Module, Tensor]:
    """Find diffusers' fastest memory format and head width in bfloat16; return their name, the network and the noise."""
    networks = {}
    for layout, head in product(LAYOUTS, peer.head_widths):
        network = peer.build(head).to(noise.device, torch.bfloat16, memory_format=LAYOUTS[layout]).eval()
        networks[peer.describe(layout, head)] = network, noise.to(torch.bfloat16, memory_format=LAYOUTS[layout])
    best = fastest({name: their_loop(*ready, steps, FASTEST) for name, ready in networks.items()})
    return best, *networks[best]


def unet_loop(peer: UnetPeer, noise: Tensor, steps: int, dtype: torch.dtype, layout: str) -> Run:
    """Prepare denoising-diffusion-pytorch's loop, which draws its own noise."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    network = peer.build().to(memory_format=LAYOUTS[layout])
    diffusion = GaussianDiffusion(network, image_size=IMAGE_SIDE, sampling_timesteps=steps).to(noise.device).eval()

    def run() -> Tensor:
        with mixed(noise.device, dtype):
            return diffusion.sample(len(noise))

    return run


def unet_best(peer: UnetPeer, noise: Tensor, steps: int) -> tuple[str, Run]:
    """Find denoising-diffusion-pytorch's fastest memory format in mixed bfloat16; return its name and the loop."""
    loops = {layout: unet_loop(peer, noise, steps, torch.bfloat16, layout) for layout in LAYOUTS}
    best = fastest(loops)
    return best, loops[best]


def samplers_alone(noise: Tensor, steps: int) -> dict[str, Run]:
    """Return both loops of the fastest solver around a network that costs nothing."""
    output = torch.randn_like(noise)
    return {
        AROUND_OURS: our_loop(lambda x, t, condition: output, noise, steps, FASTEST),
        AROUND_THEIRS: their_loop(lambda x, t: SimpleNamespace(sample=output), noise, steps, FASTEST),
    }


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        what: the library and its settings.
        size: the size of the network.
    """

    solver: str
    what: str
    run: Run
    size: Size
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """A unique name."""
        return f"{self.solver}, {self.what}"


@dataclass(frozen=True)
class Comparison:
    """One of our networks and those it is compared with."""

    name: str
    size: Size
    peer: Peer
    unet: UnetPeer
    image_channels: int

    @classmethod
    def of(cls, name: str, image_channels: int) -> Comparison:
        """Find the peers of our network ``name``."""
        network = build_network(name, image_channels=image_channels)
        return cls(name, Size.of(network, image_channels), find_peer(network), find_unet_peer(network), image_channels)

    def entries(self, noise: Tensor, steps: int) -> tuple[list[Entry], str]:
        """Return all sampling loops for ``noise``, and a description of the other libraries' best settings."""
        choice, network, state = their_best(self.peer, noise, steps)
        layout, best_unet = unet_best(self.unet, noise, steps)
        compute = compute_dtype(noise.device)
        shipped, float32 = (
            our_network(self.name, noise.device, dtype, image_channels=self.image_channels)
            for dtype in (compute, torch.float32)
        )
        example = self.peer.build().to(noise.device).eval()
        plain_unet = unet_loop(self.unet, noise, steps, torch.float32, "contiguous")
        ours, theirs, unets = self.size, self.peer.size, self.unet.size
        entries = [
            Entry(FASTEST, SHIPPED, our_loop(shipped, noise, steps, FASTEST), ours, compute),
            Entry(FASTEST, FLOAT32, our_loop(float32, noise, steps, FASTEST), ours, torch.float32),
            Entry(FASTEST, EXAMPLE, their_loop(example, noise, steps, FASTEST), theirs, torch.float32),
            Entry(FASTEST, BEST, their_loop(network, state, steps, FASTEST), theirs, torch.bfloat16),
            Entry(OTHER, SHIPPED, our_loop(shipped, noise, steps, OTHER), ours, compute),
            Entry(OTHER, BEST, their_loop(network, state, steps, OTHER), theirs, torch.bfloat16),
            Entry(OTHER, UNET, plain_unet, unets, torch.float32),
            Entry(OTHER, UNET_BEST, best_unet, unets, torch.bfloat16),
        ]
        return entries, f"diffusers is fastest with {choice}, denoising-diffusion-pytorch with {layout}"

    def measure(self, batch: int, steps: int, repetitions: int, device: torch.device) -> tuple[list[list[str]], list[str]]:
        """Measure the rows of the table for one batch size, with remarks."""
        noise = torch.randn(batch, self.image_channels, IMAGE_SIDE, IMAGE_SIDE, device=device)
        entries, choices = self.entries(noise, steps)
        layers = convolutions(batch, sorted({entry.dtype for entry in entries}, key=str), device)
        loops = {entry.name: entry.run for entry in entries}
        times = interleaved(
            loops | samplers_alone(noise, steps) | {layer.name: layer.prepare() for layer in layers}, repetitions
        )
        best = ceilings(times, layers)
        rows = [self.row(entry, times, batch, steps, best[entry.dtype][0]) for entry in entries]
        outside, theirs_outside = (1000 * float(np.median(times[name])) / steps for name in (AROUND_OURS, AROUND_THEIRS))
        rates = "; ".join(f"{rate:.0f} GFLOP/s ({what})" for rate, what in best.values())
        remarks = [
            f"Batch {batch}: in bfloat16 {choices}; outside the network a step takes {outside:.2f} ms "
            f"(diffusers {theirs_outside:.2f} ms); ceilings: {rates}.",
            spread_warning({name: times[name] for name in loops}),
        ]
        return rows, [remark for remark in remarks if remark]

    def row(self, entry: Entry, times: dict[str, Times], batch: int, steps: int, ceiling: float) -> list[str]:
        """Format one row of the table."""
        per_call = times[entry.name] / (batch * steps)
        rate = entry.size.flops / float(np.median(per_call)) / 1e9
        beside = times[f"{entry.solver}, {SHIPPED}"]
        quotient = "" if entry.what == SHIPPED else f"{ratio(times[entry.name], beside):.2f}×"
        return [f"{batch}, {entry.name}", with_quartiles(1000 * per_call), quotient, f"{rate:.0f}", f"{rate / ceiling:.0%}"]


def report(name: str, arguments: Arguments) -> str:
    """Measure one network and return Markdown."""
    comparison, device = Comparison.of(name, arguments.image_channels), torch.device(arguments.device)
    rows, remarks = [], []
    for batch in arguments.batches:
        more_rows, more_remarks = comparison.measure(batch, arguments.steps, arguments.repetitions, device)
        rows += more_rows
        remarks += more_remarks
    sizes = f"Ours: {comparison.size}. diffusers: {comparison.peer}. denoising-diffusion-pytorch: {comparison.unet}."
    return "\n".join([f"### {name}", "", sizes, "", table(HEADER, rows), "", *(f"- {remark}" for remark in remarks), ""])


def main(arguments: Arguments) -> None:
    """Print one table for each network."""
    if arguments.quick:
        arguments = replace(arguments, batches=(1, 16), repetitions=2, steps=4)
    torch.manual_seed(0)
    keep_freed_memory()  # as loading a model and training do; the peers benefit too
    print(f"{machine(torch.device(arguments.device))}\n")
    for name in arguments.networks:
        print(report(name, arguments), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
