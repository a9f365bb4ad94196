"""The weight averages that a run has kept: their losses over training, and what their samples are like, by half-life."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..storage.log_columns import loss_of_average
from .intervals import Estimate
from .logged import Log
from .ranking import ranking, settings_to_rank
from .results import Evaluation


def losses_by_half_life(log: Log) -> pd.DataFrame:
    """Return the validation losses of a run's weight averages.

    Returns:
        One row for each training step at which all were validated, and one column for each half-life in images, the shortest
        first; empty if the run has kept no others than the usual one, or is of other software.
    """
    if log.config is None:
        return pd.DataFrame()
    optimizer = log.config.optimizer
    columns = {optimizer.ema_half_life: "val_loss"} | {each: loss_of_average(each) for each in optimizer.ema_also}
    rows = log.validations().set_index("step")
    found = {half_life: rows[columns[half_life]] for half_life in sorted(columns) if columns[half_life] in rows}
    losses = pd.DataFrame(found if len(found) > 1 else {}).apply(pd.to_numeric, errors="coerce")
    return losses[np.isfinite(losses).all(axis=1)]


def distances_by_half_life(evaluations: Mapping[int, Evaluation]) -> tuple[str, dict[int, Estimate]]:
    """Return the Fréchet distances of the averages' samples where most of them were measured alike.

    Args:
        evaluations: by half-life.

    Returns:
        How they were measured, and the distances by half-life; both are empty if fewer than two were measured alike.
    """
    for told, (setting, members) in settings_to_rank(list(evaluations.values())).items():
        found = {one.name: one.estimate for one in ranking(members, setting, "frechet_distance")}
        if len(found) > 1:
            return told, {each: found[one.name] for each, one in sorted(evaluations.items()) if one.name in found}
    return "", {}
