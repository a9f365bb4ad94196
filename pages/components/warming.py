"""Loading in the background what nearly every visitor will need."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from threading import Thread


@cache
def load_torch_meanwhile() -> None:
    """Import torch in a thread, once for the server: it takes two seconds, in which the first visitor reads a page."""
    Thread(target=import_module, args=("torch",), name="torch").start()  # a server that stops meanwhile waits for it
