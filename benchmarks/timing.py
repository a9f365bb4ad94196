"""Paired timing: every variant is measured in turn, again and again, so that a slow moment of the machine hits all alike."""

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

WIDE = 0.1  # a spread (interquartile range over median) above this is worth a warning

Run = Callable[[], object]  # what is timed
Times = np.ndarray  # (repetitions,) seconds; the i-th of every variant were measured one after the other


def interleaved(variants: dict[str, Run], repetitions: int, warm_up: int = 1) -> dict[str, Times]:
    """Time ``variants`` round-robin (A B C A B C …), after ``warm_up`` rounds that do not count.

    The clock is read when the accelerator, if there is one, has done what it was asked for.
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
    """The name of the variant with the smallest median, from a short interleaved trial."""
    times = interleaved(variants, repetitions)
    return min(times, key=lambda name: float(np.median(times[name])))


def peak_memory(run: Run, device: torch.device) -> int:
    """Bytes that a call holds at most beside what was there before: as CUDA counts them, elsewhere those of tensors."""
    if device.type != "cuda":
        with TensorMemory() as memory:
            run()
        return memory.peak
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def ratio(slow: Times, fast: Times) -> float:
    """How many times as fast ``fast`` is: the median of the ratios of paired measurements."""
    return float(np.median(slow / fast))


def with_quartiles(values: np.ndarray, digits: int = 2) -> str:
    """ "median (lower quartile – upper quartile)"."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{median:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def spread(times: Times) -> float:
    """Interquartile range over median."""
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return float((high - low) / median)


def spread_warning(times: dict[str, Times]) -> str:
    """A sentence that names the variants whose spread is wide; empty if there is none."""
    wide = [f"{name} {spread(values):.0%}" for name, values in times.items() if spread(values) > WIDE]
    return f"**Wide spread** (interquartile range over median): {', '.join(wide)}; measure on an idle machine." if wide else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column aligned left and the others right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def machine(device: torch.device | None = None) -> str:
    """The device (the best one by default), versions, date and command: what a measurement means nothing without."""
    device = device or best_device()
    about = hardware(device)
    if device.type == "cpu":
        kinds = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512": torch.cpu._is_avx512_bf16_supported()}
        about += f", {os.cpu_count()} cores, bfloat16: {next((kind for kind, there in kinds.items() if there), 'emulated')}"
    # The module was started as python -m package.name, which sys.argv does not tell.
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    return f"{about} · torch {torch.__version__} · {datetime.now(UTC):%Y-%m-%d} · `{command}`"
