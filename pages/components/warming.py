"""Loading in the background what nearly every visitor will need."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from threading import Thread


@cache
def load_torch_meanwhile() -> None:
    """Import torch and what samples with it, in a thread and once for the server, while the first visitor reads a page.

    A server that stops meanwhile waits for it.
    """
    Thread(target=import_module, args=("pipelines.sampling.prompts",), name="torch", daemon=False).start()
