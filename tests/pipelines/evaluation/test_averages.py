"""Weight averages by half-life: losses that were logged, and distances that were measured."""

import numpy as np
import pandas as pd

from pipelines.evaluation.averages import distances_by_half_life, losses_by_half_life
from pipelines.evaluation.logged import Log
from pipelines.evaluation.results import Evaluation
from pipelines.figures.averages import distances_by_length, losses_by_length
from pipelines.figures.chart import Curve
from pipelines.storage.config import OptimizerConfig, RunConfig
from pipelines.storage.run import Run
from pipelines.storage.runs import LESSONS, PUBLISHED

SHIPPED = Run(PUBLISHED / LESSONS / "lesson-averages")


def test_losses_are_those_that_were_logged_at_validations_of_all():
    config = RunConfig(optimizer=OptimizerConfig(ema_half_life=100, ema_also=(1, 1000)))
    losses = {"val_loss": [np.nan, 0.3, 0.2], "val_loss_ema_1": [np.nan, 0.5, 0.4], "val_loss_ema_1000": [np.nan, np.nan, 0.1]}
    found = losses_by_half_life(Log("a", config, pd.DataFrame({"step": [10, 20, 30]} | losses)))
    assert found.to_dict("index") == {30: {1: 0.4, 100: 0.2, 1000: 0.1}}
    assert losses_by_half_life(Log("b", RunConfig(), pd.DataFrame({"step": [10], "val_loss": [0.3]}))).empty
    assert losses_by_half_life(Log("c", config, pd.DataFrame({"step": [10], "loss": [0.3]}))).empty


def test_a_longer_average_is_better_until_it_lags_behind():
    """Of the shipped run, in loss and in distance; and its chart has the same numbers."""
    losses = losses_by_half_life(Log(SHIPPED.name, SHIPPED.config, SHIPPED.metrics()))
    assert losses.iloc[-1].idxmin() not in (losses.columns[0], losses.columns[-1])
    assert losses.iloc[0].idxmin() < losses.iloc[-1].idxmin(), "the longer the training, the longer the best average"
    runs = dict(zip(SHIPPED.half_lives, [SHIPPED, *SHIPPED.averages], strict=True))
    told, distances = distances_by_half_life({each: Evaluation(run, name=str(each)) for each, run in runs.items()})
    assert list(distances) == list(losses.columns)
    assert "UniPC" in told
    assert distances[1].low > min(each.high for each in distances.values()), "raw weights are surely worse"
    usual = SHIPPED.config.optimizer.ema_half_life
    charts = losses_by_length(losses, usual), distances_by_length(distances, usual)
    latest, drawn = ([mark for mark in chart.panels[0].marks if isinstance(mark, Curve)][-1] for chart in charts)
    assert list(latest.y) == losses.iloc[-1].tolist()
    assert list(drawn.y) == [each.value for each in distances.values()]
    assert distances_by_half_life({1: Evaluation(runs[1], name="1")}) == ("", {})
