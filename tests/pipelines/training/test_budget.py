"""A time budget: the most steps that fit, with the schedule of the learning rate fitted to them, and nothing else changed."""

from __future__ import annotations

import random
import signal
from dataclasses import replace

import pytest
import torch

from pipelines.common.settings import seconds_in
from pipelines.storage.config import LogConfig, OptimizerConfig, RunConfig
from pipelines.storage.weights import read_tensors
from pipelines.training.budget import Costs, fitted
from pipelines.training.plan import learning_rate

COSTS = {"train_step": 0.25, "task.evaluate": 2.0, "task.draw": 1.5, "save": 0.5}  # two grids are drawn each time


@pytest.mark.parametrize("seed", range(20))
def test_as_many_steps_as_fit_and_no_more(seed):
    draw = random.Random(seed)
    costs = Costs(*(10 ** draw.uniform(-3, 1) for _ in range(4)))
    config = RunConfig(log=LogConfig(*(draw.randint(1, 500) for _ in range(4))))
    seconds = 10 ** draw.uniform(-1, 4)
    optimizer = fitted(config, costs, seconds).optimizer
    assert costs.seconds(optimizer.steps + 1, config.log) > seconds
    assert costs.seconds(optimizer.steps, config.log) <= seconds or optimizer.steps == 1
    # The rate grows, and is down at the end, however short the run is.
    rates = [learning_rate(optimizer, step) for step in (0, optimizer.warmup_steps, optimizer.steps - 1)]
    assert rates[1] == optimizer.lr
    assert optimizer.steps < 20 or max(rates[0], rates[2]) < optimizer.lr / 2


def test_costs_are_those_of_the_loop():
    """Steps 40, 80 and the last one are evaluated, say."""
    log = LogConfig(eval_every=40, sample_every=100, save_every=30)
    assert Costs(1, 1000, 0, 0).seconds(90, log) == 90 + 3 * 1000
    assert Costs(1, 1000, 0, 0).seconds(80, log) == 80 + 2 * 1000
    assert Costs(1, 0, 1000, 50).seconds(90, log) == 90 + 1000 + 3 * 50


def test_durations_are_read_and_others_refused(command, flags, tmp_path):
    assert [seconds_in(text) for text in ("90s", "8m", "1.5h", "0.5 m")] == [90, 480, 5400, 30]
    for text in ("8", "m", "-3m", "0s", "8 minutes", "1e3s", "nanm"):
        said = command("pipelines.train", *flags(), "--time-budget", text, "--out", tmp_path / "run").code
        assert said == 2
        with pytest.raises(ValueError, match="is not a duration: give a number with s, m or h"):
            OptimizerConfig(time_budget=text)


@pytest.fixture
def timed(make_trainer, monkeypatch):
    """Return a function that makes a loop whose clock is advanced by COSTS alone."""

    def make(out, config=None, **changes):
        loop = make_trainer(out, config, **changes)
        now = [100.0]
        loop.clock = lambda: now[0]

        def slow(owner, name, seconds):
            do = getattr(owner, name)

            def done(*arguments):
                now[0] += seconds
                return do(*arguments)

            monkeypatch.setattr(owner, name, done)

        for name, seconds in COSTS.items():
            slow(loop.task if "." in name else loop, name.removeprefix("task."), seconds)
        return loop, lambda: now[0] - 100.0

    return make


def test_a_budgeted_run_takes_its_time_and_equals_one_of_the_fitted_steps(timed, train, logged, tmp_path):
    settings = {"eval_every": 20, "sample_every": 40, "save_every": 10, "warmup_steps": 6, "weighting": "learned"}
    loop, elapsed = timed(tmp_path / "run", time_budget="0.5m", steps=999_999, **settings)
    assert loop.fit()
    config = loop.run.config
    assert 26 <= elapsed() <= 30  # one more evaluation or grid would not fit
    assert config.optimizer.steps == loop.step
    assert config.optimizer.warmup_steps == loop.step // 10
    same = train(tmp_path / "same", config=replace(config, optimizer=replace(config.optimizer, time_budget=None)))
    assert logged(same.path) == logged(loop.run.path)
    weights, others = (read_tensors(run.model_path)[0] for run in (loop.run, same))
    assert all(torch.equal(weights[name], others[name]) for name in others)

    again, _ = timed(tmp_path / "stopped", time_budget="0.5m", steps=999_999, **settings)
    step_once = again.train_step
    again.train_step = lambda: (step_once(), again.config.optimizer.steps < 999_999 and signal.raise_signal(signal.SIGTERM))
    assert not again.fit()
    assert again.step == 1
    resumed, _ = timed(again.run.path, again.run.config)
    assert resumed.fit()
    assert logged(resumed.run.path) == logged(loop.run.path)
