"""Names of the columns of metrics.jsonl that exist once for each average, or for each number of calls of a student."""

from __future__ import annotations

import re


def loss_of_average(half_life: int) -> str:
    """Return the name under which the validation loss of an average with another half-life is logged."""
    return f"val_loss_ema_{half_life}"


def loss_in_calls(calls: int) -> str:
    """Return the name under which the validation loss of a student in one of its numbers of calls is logged."""
    return f"val_loss_in_{calls}_calls"


def calls_of_loss(quantity: str) -> int | None:
    """Return the number of calls whose validation loss is logged under this name; None for other quantities."""
    found = re.fullmatch(r"val_loss_in_(\d{1,4})_calls", quantity)
    return None if found is None else int(found[1])
