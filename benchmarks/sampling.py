"""Sampling beside diffusers: ``python -m benchmarks.sampling``.

Milliseconds per image and network call of whole sampling loops with the same solver, DPM-Solver++(2M), on networks of equal
parameters and FLOPs, everything eager, in one process and interleaved:

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
import torch.nn.functional as F
import tyro
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.samplers import dpmpp_2m
from diffusion_core.schedules import make_schedule, sampling_timesteps
from pipelines.devices import compute_dtype
from unets import build_network

from .peers import IMAGE_SIDE, LAYOUTS, Peer, Size, fill_zeros, find_peer
from .timing import Run, Times, fastest, interleaved, machine, ratio, spread_warning, table, with_quartiles

CONVOLUTIONS = ((64, 32), (128, 16), (128, 8))  # (channels, side) of the 3×3 convolutions in our networks
CEILING_FLOPS = 2e9  # of one measurement of a convolution, so that it is long enough to time
SHIPPED, FLOAT32, EXAMPLE, BEST = "ours", "ours, float32", "diffusers, as its examples", "diffusers, at its best"
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
class Convolution:
    """Repeated 3×3 convolutions, channels-last, that together cost ``flops``."""

    channels: int
    side: int
    batch: int
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{_short(self.dtype)} convolution of {self.channels} channels at {self.side}×{self.side}"

    @property
    def flops(self) -> int:
        """Of one measurement."""
        return self.calls * self._flops_of_call

    @property
    def calls(self) -> int:
        """How many make up one measurement."""
        return max(1, round(CEILING_FLOPS / self._flops_of_call))

    @property
    def _flops_of_call(self) -> int:
        return 2 * 9 * self.channels**2 * self.side**2 * self.batch

    def prepare(self) -> Run:
        """What to time."""
        shape = (self.batch, self.channels, self.side, self.side)
        x = torch.randn(shape).to(self.dtype, memory_format=torch.channels_last)
        layer = nn.Conv2d(self.channels, self.channels, 3, padding=1).to(self.dtype, memory_format=torch.channels_last)

        @torch.no_grad()
        def run() -> None:
            for _ in range(self.calls):
                F.conv2d(x, layer.weight, layer.bias, padding=1)

        return run


def ceilings(times: dict[str, Times], convolutions: list[Convolution]) -> dict[torch.dtype, tuple[float, str]]:
    """By precision: GFLOP/s of the fastest convolution, and which one that is."""
    best: dict[torch.dtype, tuple[float, str]] = {}
    for convolution in convolutions:
        rate = convolution.flops / float(np.median(times[convolution.name])) / 1e9
        best[convolution.dtype] = max(best.get(convolution.dtype, (0.0, "")), (rate, convolution.name))
    return best


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

    def measure(self, batch: int, steps: int, repetitions: int) -> tuple[list[list[str]], list[str]]:
        """The rows of the table for one batch size, and remarks."""
        noise = torch.randn(batch, self.image_channels, IMAGE_SIDE, IMAGE_SIDE)
        shipped = compute_dtype(noise.device)
        choice, best = their_best(self.peer, noise, steps)
        loops = {
            SHIPPED: our_loop(our_network(self.name, self.image_channels, shipped), noise, steps),
            FLOAT32: our_loop(our_network(self.name, self.image_channels, torch.float32), noise, steps),
            EXAMPLE: their_loop(self.peer.build().eval(), noise, steps),
            BEST: best,
        }
        dtypes = {SHIPPED: shipped, FLOAT32: torch.float32, EXAMPLE: torch.float32, BEST: torch.bfloat16}
        around = samplers_alone(noise, steps)
        convolutions = [Convolution(*shape, batch, dtype) for dtype in set(dtypes.values()) for shape in CONVOLUTIONS]
        times = interleaved(loops | around | {each.name: each.prepare() for each in convolutions}, repetitions)

        best_rates = ceilings(times, convolutions)
        rows = []
        for name in loops:
            per_call = times[name] / (batch * steps)
            rate = (self.size if name in (SHIPPED, FLOAT32) else self.peer.size).flops / float(np.median(per_call)) / 1e9
            share = rate / best_rates[dtypes[name]][0]
            quotient = "" if name == SHIPPED else f"{ratio(times[name], times[SHIPPED]):.2f}×"
            rows.append([f"{batch}, {name}", with_quartiles(1000 * per_call), quotient, f"{rate:.0f}", f"{share:.0%}"])
        per_step = {name: 1000 * float(np.median(times[name])) / steps for name in around}
        remarks = [
            f"Batch {batch}: diffusers is fastest with {choice}; "
            f"outside the network a step takes {per_step[AROUND_OURS]:.2f} ms (diffusers {per_step[AROUND_THEIRS]:.2f} ms); "
            f"ceilings: {'; '.join(f'{rate:.0f} GFLOP/s ({name})' for rate, name in best_rates.values())}.",
            spread_warning({name: times[name] for name in loops}),
        ]
        return rows, [remark for remark in remarks if remark]


HEADER = ("batch, what", "ms per image and call (quartiles)", "ours is faster", "GFLOP/s", "of the ceiling")


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


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
