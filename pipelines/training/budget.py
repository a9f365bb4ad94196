"""Training within a time budget: what a run's parts cost is measured first, then its steps are fitted to the time."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn

from ..common.devices import finish
from ..common.reports import report_progress
from ..storage.config import RunConfig
from ..storage.state import Learner
from .accelerator import restore_scaler, scaler_state
from .ema import MovingAverages
from .estimate import Costs
from .grids import sample_grids
from .task import Task

MOST_STEPS = 10**9
UNTIMED = 3  # first steps, in which memory is allocated and kernels are chosen
TIMED_AT_ONCE = 5  # steps between two looks at the clock, so that a GPU is not kept waiting
SHARE = 0.03  # of the budget that the timed steps may take
WARMUP_SHARE = 0.1  # of the fitted steps, at most, in which the learning rate grows


class Trainable(Protocol):
    """What is measured of a :class:`~pipelines.training.loop.TrainingLoop`."""

    clock: Callable[[], float]
    averages: MovingAverages

    @property
    def config(self) -> RunConfig: ...
    @property
    def task(self) -> Task[Any]: ...
    @property
    def learners(self) -> Mapping[str, Learner]: ...
    @property
    def is_main(self) -> bool: ...
    def train_step(self) -> None: ...
    def start_again(self) -> None: ...
    def evaluate(self) -> object: ...
    def compare(self) -> object: ...
    @property
    def shown(self) -> Mapping[str, nn.Module]: ...
    def save(self) -> None: ...


def fitted(config: RunConfig, costs: Costs, seconds: float) -> RunConfig:
    """Return the configuration with the most steps that take at most ``seconds``, at least one, and a warm-up to match."""
    steps = max(1, bisect_right(range(1, MOST_STEPS + 1), seconds, key=lambda steps: costs.seconds(steps, config.log)))
    warmup = min(config.optimizer.warmup_steps, int(WARMUP_SHARE * steps))
    return replace(config, optimizer=replace(config.optimizer, steps=steps, warmup_steps=warmup))


def fitted_to_budget(loop: Trainable, seconds: float) -> RunConfig:
    """Return the configuration of a run that has not begun, with the steps that fit into the seconds left.

    The steps taken to measure the speed are undone, so the run is the same as one that is given the fitted steps at first.
    """
    started = loop.clock()
    costs = measured(loop, seconds)
    config = fitted(loop.config, costs, seconds - (loop.clock() - started))
    if loop.is_main:
        print(f"a step takes {costs.step:.3g} s, so {config.optimizer.steps:,} steps fit into the time budget", flush=True)
    return config


def measured(loop: Trainable, seconds: float) -> Costs:
    """Measure the costs of a run that has not begun, and leave it as it was; of several processes, the slowest counts.

    Args:
        loop: prepared, at step 0.
        seconds: the time left in the budget.
    """
    undo = _snapshot(loop)
    device = loop.task.device

    def timed(do: Callable[[], object]) -> float:
        started = loop.clock()
        do()
        finish(device)
        return loop.clock() - started

    def steps(count: int) -> None:
        for _ in range(count):
            loop.train_step()

    def slowest(*costs: float) -> list[float]:
        found: Any = loop.task.accelerator.gather(torch.tensor([costs], device=device))  # (processes, costs)
        worst: list[float] = found.amax(0).tolist()
        return worst

    report_progress("taking a few steps")
    steps(UNTIMED)
    finish(device)
    spent, count = 0.0, 0
    while not count or spent < SHARE * seconds:
        [spent] = slowest(spent + timed(lambda: steps(TIMED_AT_ONCE)))
        count += TIMED_AT_ONCE
    report_progress("measuring the validation loss once")
    evaluation = timed(loop.evaluate) if loop.is_main else 0.0
    comparison = timed(loop.compare) if loop.is_main else 0.0
    report_progress("drawing the samples once")
    samples = timed(lambda: list(sample_grids(loop.task, loop.shown, 0))) if loop.is_main else 0.0
    undo()
    return Costs(*slowest(spent / count, evaluation, samples, timed(loop.save), comparison))


def _snapshot(loop: Trainable) -> Callable[[], None]:
    """Return a function that takes the loop back to its present state, in which no step has been taken yet."""
    networks = [learner.network for learner in loop.learners.values()] + list(loop.averages.by_prefix.values())
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    accelerator = loop.task.accelerator
    scale = scaler_state(accelerator)

    def undo() -> None:
        for network, tensors in zip(networks, before, strict=True):
            network.load_state_dict(tensors)
        restore_scaler(accelerator, scale)
        for learner in loop.learners.values():
            learner.optimizer.state.clear()
        loop.start_again()

    return undo
