"""Time saved by keeping freed memory: ``python -m benchmarks.allocator``.

The same work runs in separate processes, in turns: with the C library's default allocator settings, and after
:func:`pipelines.common.devices.keep_freed_memory`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.common.devices import autocast, compute_dtype, keep_freed_memory
from unets import build_network

from .timing import machine, ratio, table, with_quartiles

CALLS = 6  # the fastest half counts
Measured = dict[str, tuple[float, int]]  # work -> seconds and page faults per call


@dataclass(frozen=True)
class Arguments:
    """Time training steps and network calls with and without keeping freed memory."""

    repetitions: int = 5
    """Processes of each kind."""
    child: str = ""
    """Internal: the setting that a child process measures, usual or keep."""


def work() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a training step and network calls, each with its name."""
    device = torch.device("cpu")
    network = build_network("attention", seed=0, image_channels=3, channels=(64, 128, 128))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train() -> None:
        with autocast(device):
            network(torch.zeros(64, 3, 32, 32), torch.zeros(64)).square().mean().backward()
        network.zero_grad()

    yield "a training step of 64 images", train
    network = network.to(compute_dtype(device))
    for count in (16, 64, 256):
        yield f"a network call on {count} images", _call(network, torch.zeros(count, 3, 32, 32))


def _call(network: nn.Module, images: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            network(images, torch.zeros(1))

    return call


def measure() -> Measured:
    """Measure seconds and page faults of each piece of work in this process."""
    found = {}
    for what, run in work():
        run()
        seconds, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(CALLS):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // CALLS
        found[what] = (float(np.mean(sorted(seconds)[: CALLS // 2])), faults)
    return found


def main(arguments: Arguments) -> None:
    """Print Markdown, or JSON in a child process."""
    if arguments.child:
        if arguments.child == "keep":
            keep_freed_memory()
        print(json.dumps(measure()))
        return
    found: dict[str, list[Measured]] = {"usual": [], "keep": []}
    for _ in tqdm(range(arguments.repetitions), unit="round"):
        for how, measured in found.items():
            child = [sys.executable, "-m", "benchmarks.allocator", "--child", how]
            measured.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
    rows = []
    for what in found["usual"][0]:
        usual, keep = (np.array([one[what] for one in found[how]]) for how in found)
        times = [with_quartiles(one[:, 0], 3) for one in (usual, keep)]
        faults = [f"{np.median(one[:, 1]):,.0f}" for one in (usual, keep)]
        rows.append((what, times[0], faults[0], times[1], faults[1], f"{ratio(usual[:, 0], keep[:, 0]):.2f}×"))
    header = ("work", "usual: seconds (quartiles)", "page faults", "kept: seconds (quartiles)", "page faults", "faster")
    print(f"{machine()}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
