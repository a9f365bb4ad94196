"""Sampling beside diffusers: ``python -m benchmarks.sampling``.

Milliseconds per image and network call of whole sampling loops on the CPU with the same solver, DPM-Solver++(2M), on
networks of equal parameters and FLOPs, everything eager, in one process and interleaved:

* ours as it is shipped: the fastest precision of ``pipelines.devices``, channels-last;
* ours in float32;
* diffusers as its examples run it: float32, contiguous, heads of 8 channels;
* diffusers at its best: bfloat16 with the memory format and head width that win a trial in the same run.

Beside them, in the same rounds: the ceiling, which is the fastest of the networks' own 3×3 convolutions, and both samplers
around a network that costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace

import numpy as np
import torch
import tyro
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.samplers import dpmpp_2m
from diffusion_core.schedules import make_schedule, sampling_timesteps
from pipelines.devices import compute_dtype
from unets import build_network

from .ceiling import ceilings, convolutions
from .peers import IMAGE_SIDE, LAYOUTS, Peer, Size, fill_zeros, find_peer
from .timing import Run, Times, fastest, interleaved, machine, ratio, spread_warning, table, with_quartiles

SHIPPED, FLOAT32, EXAMPLE, BEST = "ours", "ours, float32", "diffusers, as its examples", "diffusers, at its best"
DTYPES = {
    SHIPPED: compute_dtype(torch.device("cpu")),
    FLOAT32: torch.float32,
    EXAMPLE: torch.float32,
    BEST: torch.bfloat16,
}
HEADER = ("batch, what", "ms per image and call (quartiles)", "ours is faster", "GFLOP/s", "of the ceiling")
AROUND_OURS, AROUND_THEIRS = "our sampler alone", "diffusers' sampler alone"


@dataclass(frozen=True)
class Arguments:
    """Time sampling with our networks and with diffusers' of equal size."""

    networks: tuple[str, ...] = ("baseline", "attention")
    batches: tuple[int, ...] = (1, 16, 64)
    repetitions: int = 15
    """Interleaved rounds that count."""
    steps: int = 10
    """Network calls of one sampling."""
    image_channels: int = 1
    quick: bool = False
    """Two rounds of four steps at batch 1 and 16: to see that it runs, not to measure."""


def our_network(name: str, image_channels: int, dtype: torch.dtype) -> nn.Module:
    """The network as ``pipelines.model.load_model`` prepares it."""
    network = fill_zeros(build_network(name, image_channels=image_channels))
    return network.to(dtype=dtype, memory_format=torch.channels_last).eval().requires_grad_(False)


def our_loop(network: Callable[..., Tensor], noise: Tensor, steps: int) -> Run:
    """Our DPM-Solver++(2M) through a Denoiser."""
    denoiser = Denoiser(network, make_schedule("cosine", 1000), "v")
    timesteps = sampling_timesteps(denoiser.schedule, steps)

    def run() -> Tensor:
        *_, last = dpmpp_2m(denoiser, noise, timesteps, denoiser.schedule)
        return last.x

    return run


def their_loop(network: Callable[..., SimpleNamespace], noise: Tensor, steps: int) -> Run:
    """The loop of a diffusers pipeline around its DPM-Solver++(2M)."""
    scheduler = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")

    @torch.no_grad()
    def run() -> Tensor:
        scheduler.set_timesteps(steps)
        x = noise
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        return x

    return run


def their_best(peer: Peer, noise: Tensor, steps: int) -> tuple[str, Run]:
    """diffusers in bfloat16 with the memory format and head width that are fastest for this batch, and their names."""
    loops = {}
    for layout, head in product(LAYOUTS, peer.head_widths):
        network = peer.build(head).to(dtype=torch.bfloat16, memory_format=LAYOUTS[layout]).eval()
        state = noise.to(torch.bfloat16, memory_format=LAYOUTS[layout])
        loops[peer.describe(layout, head)] = their_loop(network, state, steps)
    best = fastest(loops)
    return best, loops[best]


def samplers_alone(noise: Tensor, steps: int) -> dict[str, Run]:
    """Both loops around a network that costs nothing."""
    output = torch.randn_like(noise)
    return {
        AROUND_OURS: our_loop(lambda x, t, condition: output, noise, steps),
        AROUND_THEIRS: their_loop(lambda x, t: SimpleNamespace(sample=output), noise, steps),
    }


@dataclass(frozen=True)
class Comparison:
    """What is compared for one of our networks."""

    name: str
    size: Size
    peer: Peer
    image_channels: int

    @classmethod
    def of(cls, name: str, image_channels: int) -> Comparison:
        """Our network ``name`` and its peer."""
        network = build_network(name, image_channels=image_channels)
        return cls(name, Size.of(network, image_channels), find_peer(network), image_channels)

    def loops(self, noise: Tensor, steps: int) -> tuple[dict[str, Run], str]:
        """The four samplings of ``noise``, and what diffusers' best is."""
        choice, best = their_best(self.peer, noise, steps)
        shipped = our_network(self.name, self.image_channels, DTYPES[SHIPPED])
        float32 = our_network(self.name, self.image_channels, DTYPES[FLOAT32])
        loops = {
            SHIPPED: our_loop(shipped, noise, steps),
            FLOAT32: our_loop(float32, noise, steps),
            EXAMPLE: their_loop(self.peer.build().eval(), noise, steps),
            BEST: best,
        }
        return loops, choice

    def measure(self, batch: int, steps: int, repetitions: int) -> tuple[list[list[str]], list[str]]:
        """The rows of the table for one batch size, and remarks."""
        noise = torch.randn(batch, self.image_channels, IMAGE_SIDE, IMAGE_SIDE)
        loops, choice = self.loops(noise, steps)
        layers = convolutions(batch, sorted(set(DTYPES.values()), key=str))
        times = interleaved(
            loops | samplers_alone(noise, steps) | {layer.name: layer.prepare() for layer in layers}, repetitions
        )
        best = ceilings(times, layers)
        rows = [self.row(name, times, batch, steps, best[DTYPES[name]][0]) for name in loops]
        outside, theirs_outside = (1000 * float(np.median(times[name])) / steps for name in (AROUND_OURS, AROUND_THEIRS))
        rates = "; ".join(f"{rate:.0f} GFLOP/s ({what})" for rate, what in best.values())
        remarks = [
            f"Batch {batch}: diffusers is fastest with {choice}; outside the network a step takes {outside:.2f} ms "
            f"(diffusers {theirs_outside:.2f} ms); ceilings: {rates}.",
            spread_warning({name: times[name] for name in loops}),
        ]
        return rows, [remark for remark in remarks if remark]

    def row(self, name: str, times: dict[str, Times], batch: int, steps: int, ceiling: float) -> list[str]:
        """One line of the table."""
        per_call = times[name] / (batch * steps)
        size = self.size if name in (SHIPPED, FLOAT32) else self.peer.size
        rate = size.flops / float(np.median(per_call)) / 1e9
        quotient = "" if name == SHIPPED else f"{ratio(times[name], times[SHIPPED]):.2f}×"
        return [f"{batch}, {name}", with_quartiles(1000 * per_call), quotient, f"{rate:.0f}", f"{rate / ceiling:.0%}"]


def report(name: str, arguments: Arguments) -> str:
    """The measurement of one network as Markdown."""
    comparison = Comparison.of(name, arguments.image_channels)
    rows, remarks = [], []
    for batch in arguments.batches:
        more_rows, more_remarks = comparison.measure(batch, arguments.steps, arguments.repetitions)
        rows += more_rows
        remarks += more_remarks
    sizes = f"Ours: {comparison.size}. diffusers: {comparison.peer}."
    return "\n".join([f"### {name}", "", sizes, "", table(HEADER, rows), "", *(f"- {remark}" for remark in remarks), ""])


def main(arguments: Arguments) -> None:
    """Print one table for each network."""
    if arguments.quick:
        arguments = Arguments(arguments.networks, (1, 16), 2, 4, arguments.image_channels)
    torch.manual_seed(0)
    print(f"{machine()}\n")
    for name in arguments.networks:
        print(report(name, arguments), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
