"""When compiling the network pays for sampling: ``python -m benchmarks.compilation``.

Whole batches are sampled as by ``pipelines.sample``, and as by ``pipelines.sample --compile True``, in turns. What compilation
takes, divided by what it saves for each image, is the number of images from which on it pays.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import tyro

from pipelines.common.devices import finish
from pipelines.models.compiled import compile_calls, is_compiled
from pipelines.models.loading import LoadedModel, load_model
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample

from .timing import interleaved, machine, ratio, spread_warning, table, with_quartiles

HEADER = ("batch, model", "ms per image", "compiled", "faster", "seconds to compile", "pays from images", "largest difference")
WARM_UP = 2  # rounds in which networks are captured, where there are CUDA graphs


@dataclass(frozen=True)
class Arguments:
    """Compare compiled with uncompiled sampling."""

    runs: tuple[str, ...] = ("checkpoints/fashion-attention", "checkpoints/flowers-attention-64")
    batches: tuple[int, ...] = (16, 50)
    steps: int = 20
    repetitions: int = 5
    """Interleaved rounds that count."""


def last_states(model: LoadedModel, request: SamplingRequest) -> torch.Tensor:
    """Sample a batch."""
    *_, last = sample(model, request)
    return last.x


def row(run: str, batch: int, arguments: Arguments) -> tuple[list[str], str]:
    """Measure a model in batches of one size; return the cells of its row, and a warning or an empty string."""
    request = SamplingRequest(num_images=batch, steps=arguments.steps)
    plain, compiled = load_model(run), load_model(run)
    compile_calls(compiled.denoiser.network, batch)
    expected = last_states(plain, request)
    start = time.perf_counter()
    next(sample(compiled, request))
    finish(compiled.device)
    seconds = time.perf_counter() - start
    if not is_compiled(compiled.denoiser.network):
        raise RuntimeError("nothing to measure: the network could not be compiled")
    difference = float((last_states(compiled, request) - expected).abs().max())
    runs = {"plain": partial(last_states, plain, request), "compiled": partial(last_states, compiled, request)}
    times = interleaved(runs, arguments.repetitions, WARM_UP)
    saved = np.quantile((times["plain"] - times["compiled"]) / batch, (0.25, 0.5))
    per_image = [with_quartiles(1000 * times[name] / batch, 1) for name in runs]
    pays = f"{seconds / saved[1]:,.0f}" if saved[0] > 0 else "not seen to pay"
    cells = [f"{batch}, {plain.name}", *per_image, f"{ratio(times['plain'], times['compiled']):.2f}×"]
    return [*cells, f"{seconds:.0f}", pays, f"{difference:.4f}"], spread_warning(times)


def main(arguments: Arguments) -> None:
    """Print a table as Markdown."""
    warnings = []
    print(f"{machine()}\n\n{table(HEADER, [])}", flush=True)
    for run in arguments.runs:
        for batch in arguments.batches:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # as at the first use
                cells, warning = row(run, batch, arguments)
            print(f"| {' | '.join(cells)} |", flush=True)
            warnings.append(warning)
    print("\n" + "\n".join(f"- {warning}" for warning in warnings if warning))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
