"""Paired timing: all variants are measured in interleaved rounds, so that slow moments of the machine affect all alike."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from pipelines.common.devices import best_device, finish, hardware
from pipelines.common.memory import TensorMemory

WIDE = 0.1  # a spread (interquartile range over median) above this gives a warning

Run = Callable[[], object]  # the function to time
Times = np.ndarray  # (repetitions,) seconds; the i-th entries of all variants come from the same round


def interleaved(variants: dict[str, Run], repetitions: int, warm_up: int = 1) -> dict[str, Times]:
    """Time ``variants`` round-robin (A B C A B C …), after ``warm_up`` rounds that do not count.

    The clock is read after the accelerator, if there is one, has finished its work.
    """
    device = best_device()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(warm_up + repetitions):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            finish(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values[warm_up:]) for name, values in seconds.items()}


def fastest(variants: dict[str, Run], repetitions: int = 3) -> str:
    """Return the name of the variant with the smallest median in a short interleaved trial."""
    times = interleaved(variants, repetitions)
    return min(times, key=lambda name: float(np.median(times[name])))


def peak_memory(run: Run, device: torch.device) -> int:
    """Return the peak bytes that a call adds to those held before, as counted by CUDA, or those of tensors elsewhere."""
    if device.type != "cuda":
        with TensorMemory() as memory:
            run()
        return memory.peak
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def ratio(slow: Times, fast: Times) -> float:
    """Return the speed-up of ``fast`` over ``slow``: the median of the paired ratios."""
    return float(np.median(slow / fast))


def with_quartiles(values: np.ndarray, digits: int = 2) -> str:
    """Format "median (lower quartile – upper quartile)"."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{median:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def spread(times: Times) -> float:
    """Return the interquartile range over the median."""
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return float((high - low) / median)


def spread_warning(times: dict[str, Times]) -> str:
    """Return a sentence that names the variants with a wide spread, or an empty string."""
    wide = [f"{name} {spread(values):.0%}" for name, values in times.items() if spread(values) > WIDE]
    return f"**Wide spread** (interquartile range over median): {', '.join(wide)}; measure on an idle machine." if wide else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table with its first column left-aligned and the others right-aligned."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def machine(device: torch.device | None = None) -> str:
    """Describe the device (by default the best one), versions, date and command of a measurement."""
    device = device or best_device()
    about = hardware(device)
    if device.type == "cpu":
        kinds = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512": torch.cpu._is_avx512_bf16_supported()}
        about += f", {os.cpu_count()} cores, bfloat16: {next((kind for kind, there in kinds.items() if there), 'emulated')}"
    # sys.argv does not show that the module was started with python -m.
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    return f"{about} · torch {torch.__version__} · {datetime.now(UTC):%Y-%m-%d} · `{command}`"
