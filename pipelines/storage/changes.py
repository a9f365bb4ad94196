"""Settings that may change when a run is resumed, and the record of such changes in its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..common.paths import settled
from ..common.settings import require
from ..common.text import shorten
from .config import Change, RunConfig

RESUMABLE = ("steps", "lr")  # of the optimizer: what may change on a resume
PLACE = "data"  # which may be another as well, if the images there are the same: see datasets/image_sets.py
LONGEST = 60  # characters of a setting in a message


def _differences(old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name of each setting that differs, with both values; those inside sections without the section's name."""
    for part in fields(old):
        before, after = getattr(old, part.name), getattr(new, part.name)
        if is_dataclass(before):
            yield from _differences(before, after)
        elif before != after:
            yield part.name, before, after


def resumed_with(old: RunConfig, new: RunConfig) -> RunConfig:
    """Return the configuration of a resumed run: ``new``, if it differs from ``old`` only in what may change.

    Raises:
        ValueError: something else differs.
    """
    for name, before, after in _differences(old, new):
        if name == PLACE:
            require(
                settled(before) == settled(after)
                or bool(old.training_digest or old.data.held_out.digest)
                or old.image_shape is None,
                f"{name}={after}: this run is of an older version, which did not record its images, so others would not be "
                f"noticed: continue it where {before!r} is the folder of its data",
            )
        elif name not in RESUMABLE:
            given, own = (shorten(str(value), LONGEST) for value in (after, before))
            allowed = "--data (where they are now), " + " and ".join(f"--{other}" for other in RESUMABLE)
            raise ValueError(
                f"{name}={given}: --resume takes all settings from the run itself but {allowed}, and the run has {own}: leave "
                "it out, or start a new run with --out"
            )
    return new


def recorded(old: RunConfig, new: RunConfig, step: int) -> RunConfig:
    """Return ``new`` with what differs from ``old`` recorded as changed at ``step``.

    Raises:
        ValueError: the run has already done more steps than it is now to do.
    """
    if step > new.optimizer.steps:
        raise ValueError(f"steps={new.optimizer.steps}: this run has already done {step:,} steps; give at least as many")
    changes = [Change(step, *each) for each in _differences(old.optimizer, new.optimizer) if each[0] in RESUMABLE]
    return replace(new, changes=(*old.changes, *changes))
