"""Download a run from the Hugging Face hub: ``python -m pipelines.download USER/NAME``.

Its size is told first. Its files go into the hub's own cache, and the run stands in the lists of the dashboard from then on.
Other commands take USER/NAME as well, and download the run if it is not here.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass

from tyro.conf import Positional

from .common.command_line import DONE, run_command
from .common.settings import Settings
from .common.text import in_short
from .storage.added import add
from .storage.hub import fetch
from .storage.hub_id import SPELLING, HubId
from .storage.run import Run


@dataclass(frozen=True)
class Download(Settings):
    """Download a run from the Hugging Face hub, and list it in the dashboard."""

    run: Positional[str]
    """The run on the hub: USER/NAME[@REVISION][/FOLDER], where the revision is a branch, a tag or a commit without /."""


def main(arguments: Download) -> int:
    """Download and list the run; return the exit code."""
    hub = HubId.parse(arguments.run)
    if hub is None:
        raise ValueError(f"{arguments.run!r} is no id of a run on the hub: give {SPELLING}, such as somebody/flowers")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind after Cancel
    run = Run(fetch(hub))
    found = HubId.of(run.path)
    assert found is not None  # it is in the hub's cache
    add(found)
    print(f"{found}: {run.config.kind}, {in_short(run.num_parameters)} parameters, in {run.path}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(Download, main, "pipelines.download"))
