"""Publish a run: ``python -m pipelines.publish runs/NAME checkpoints/NAME``.

Copies what others need (bfloat16 weights, configuration, metrics, a few sample grids), and draws the training curves and writes
a model card from the run's records. The state for resuming is left out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .common.reading import MEGABYTE, read_text
from .common.settings import Between, Settings
from .storage.publishing import publish
from .storage.runs import Run


@dataclass(frozen=True)
class Publish(Settings):
    """Copy a run without its resume state and write its model card."""

    run: Positional[Path]
    """The run folder."""
    out: Positional[Path]
    """The folder to write."""
    notes: Path | None = None
    """A Markdown file to append to the card: the data's licence, the model's limitations."""
    ema: Annotated[int | None, Between(1, 10**12)] = None
    """Publish the weights averaged with this half-life, in images, one of those kept with --ema-also."""


def main(arguments: Publish) -> int:
    """Copy, convert and describe the run; return the exit code."""
    notes = read_text(arguments.notes, MEGABYTE) if arguments.notes else ""
    from .figures.summary import write_curves

    published = publish(Run(arguments.run), arguments.out, notes, arguments.ema, write_curves)
    size, grids = published.model_path.stat().st_size / 2**20, len(published.samples())
    print(f"{published.path}: {size:.1f} MiB of weights, {grids} sample grids")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Publish, main, "pipelines.publish"))
