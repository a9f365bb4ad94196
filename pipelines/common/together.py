"""Work shared by processes that were launched together, as by ``accelerate launch``; one process alone does all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from .devices import process_state

Part = TypeVar("Part")
Found = TypeVar("Found")


def own_share(parts: Sequence[Part]) -> Sequence[Part]:
    """Return the parts of the work that fall to this process; they are dealt out in turn."""
    state = process_state()
    return parts[state.process_index :: state.num_processes]


def gathered(found: Sequence[Found]) -> list[Found]:
    """Return the results of all parts in order, in every process, given those of its :func:`own_share`."""
    if process_state().num_processes == 1:  # the call joins the processes
        return list(found)
    from accelerate.utils import gather_object

    every: list[Sequence[Found]] = gather_object([found])
    return [every[part % len(every)][part // len(every)] for part in range(sum(map(len, every)))]


def told_by_main(value: Found) -> Found:
    """Return the main process's value in every process."""
    if process_state().num_processes == 1:  # the call joins the processes
        return value
    from accelerate.utils import broadcast_object_list

    told: Found = broadcast_object_list([value])[0]
    return told
