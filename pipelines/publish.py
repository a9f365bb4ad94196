"""Publish a run: ``python -m pipelines.publish runs/NAME checkpoints/NAME``, or ``… runs/NAME --push USER/NAME`` on the hub.

Copies what others need (bfloat16 weights, configuration, metrics, a few sample grids), and draws the training curves and writes
a model card from the run's records. The state for resuming is left out. With --push the copy goes to the Hugging Face hub, with
what the hub reads in its card: the licence, tags, the dataset and what was measured. A run that is published already goes there
as it is, with its evaluation.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .common.machine import in_words
from .common.reading import MEGABYTE, read_text
from .common.settings import Between, Settings
from .storage.files import is_file
from .storage.hub_id import HubId
from .storage.hub_upload import UNKNOWN, refuse_without_token, target, upload
from .storage.layout import CARD
from .storage.publishing import publish
from .storage.run import Run
from .storage.runs import find_run


@dataclass(frozen=True)
class Publish(Settings):
    """Copy a run without its resume state and write its model card, for a folder, for the Hugging Face hub, or both."""

    run: Positional[Path]
    """The run folder, or the name of a run in checkpoints/ or runs/."""
    out: Positional[Path | None] = None
    """The folder to write; may be left out with --push."""
    notes: Path | None = None
    """A Markdown file to append to the card: the data's licence, the model's limitations."""
    ema: Annotated[int | None, Between(1, 10**12)] = None
    """Publish the weights averaged with this half-life, in images, one of those kept with --ema-also."""
    averages: bool = False
    """Publish the other averages as well, for whoever wants to compare them."""
    push: str | None = None
    """Upload it to the Hugging Face hub under this name: USER/NAME. It needs a token that may write (`hf auth login`). When the
    command is repeated, an upload that was broken off goes on."""
    private: bool = False
    """With --push: let nobody else see it."""
    license: str = UNKNOWN
    """With --push: licence under which others may use the model, by its name on the hub, such as mit or cc-by-4.0."""


def main(arguments: Publish) -> int:
    """Copy, convert, describe and upload the run; return the exit code."""
    run = find_run(arguments.run)
    if arguments.ema is not None and arguments.averages:
        raise ValueError("--ema publishes one average alone, --averages the usual one and all others: leave one of them out")
    if arguments.push is None:
        if arguments.out is None:
            raise ValueError("give the folder to write, or --push USER/NAME to upload the run, or both")
        if arguments.private or arguments.license != UNKNOWN:
            raise ValueError("--private and --license are for the hub: give --push USER/NAME as well")
        _publish(arguments, run, arguments.out)
        return DONE
    hub = target(arguments.push)
    refuse_without_token()  # before anything is written
    with _published(arguments, run, hub) as published:
        from .evaluation.card import measured

        address, size = upload(
            published, hub, private=arguments.private, license=arguments.license, measured=measured(published)
        )
    print(f"{address}: {in_words(size)}; others use it by its id, as in `python -m pipelines.sample {hub}`")
    return DONE


@contextmanager
def _published(arguments: Publish, run: Run, hub: HubId) -> Iterator[Run]:
    """Yield the published run to upload: in the folder to write, as it is, or in a folder that is removed afterwards."""
    if arguments.out is not None:
        yield _publish(arguments, run, arguments.out)
    elif not is_file(run.path / CARD):
        with tempfile.TemporaryDirectory(prefix="noisescope-publish-") as folder:
            yield _publish(arguments, run, Path(folder) / hub.name)
    elif arguments.notes or arguments.ema or arguments.averages:
        raise ValueError(f"{run.name} is published already and is uploaded as it is: leave out --notes, --ema and --averages")
    else:
        yield run


def _publish(arguments: Publish, run: Run, out: Path) -> Run:
    """Publish the run in a folder, and say so if it stays."""
    notes = read_text(arguments.notes, MEGABYTE) if arguments.notes else ""
    from .figures.summary import write_curves

    published = publish(run, out, notes, arguments.ema, arguments.averages, write_curves)
    if out == arguments.out:
        print(f"{out}: {in_words(published.model_path.stat().st_size)} of weights, {len(published.samples())} sample grids")
    return published


if __name__ == "__main__":
    sys.exit(run_command(Publish, main, "pipelines.publish"))
