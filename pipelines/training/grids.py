"""Sample grids that show what networks in training have learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ..common.finite import NotFiniteError
from ..common.images import Pixels, enlarge, png_bytes
from ..storage.claim import RunClaim
from ..storage.files import atomic
from ..storage.layout import SAMPLES
from .task import Task
from .trackers import track_image


def sample_grids(task: Task[Any], networks: Mapping[str, nn.Module], step: int) -> Iterator[tuple[str, Pixels]]:
    """Yield the grid of each network by its key, always from the same seeds; a network whose samples are not finite has none.

    Args:
        task: draws the grids.
        networks: the networks, which are left in the mode they are in.
        step: for the message about samples that are not finite; the loss and the weights decide whether training goes on.
    """
    for name, network in networks.items():
        was_training = network.training
        try:
            with task.accelerator.autocast():
                grid = task.draw(network.eval())  # no dropout while sampling
        except NotFiniteError as error:
            print(f"no samples of step {step}: {error}", flush=True)
            continue
        finally:
            network.train(was_training)
        yield name, grid


def write_grids(task: Task[Any], claim: RunClaim, networks: Mapping[str, nn.Module], step: int) -> None:
    """Write the grid of each network to the claimed run; the networks' keys are the suffixes of the files' names."""
    for suffix, grid in sample_grids(task, networks, step):
        claim.check()
        with atomic(claim.run.path / SAMPLES / f"step-{step:08d}{suffix}.png") as temporary:
            temporary.write_bytes(png_bytes(grid, {"run": claim.run.name, "step": step, "seed": 0}))
        track_image(task.accelerator, f"samples{suffix}", enlarge(grid, 2), step)
