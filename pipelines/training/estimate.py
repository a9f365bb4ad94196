"""Estimates of what a training takes, and the process that makes them from a few real steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from ..common.machine import in_words
from ..common.reports import RESULT, Progress, read_progress, read_typed
from ..common.text import counted, duration
from ..datasets.sources import locate
from ..storage.config import LogConfig, OptimizerConfig, RunConfig
from ..storage.locations import with_settled_paths
from ..storage.processes import at_work, ending, launch, stop
from ..storage.runs import PRIVATE, Run

FOLDER, LOCK = ".estimate", ".estimate.lock"  # in the user's folder of runs
LOADING = Progress("Loading")


@dataclass(frozen=True)
class Costs:
    """Seconds that a step, a measurement of the validation loss, the sample grids and a save take."""

    step: float
    evaluation: float
    samples: float
    saving: float

    def seconds(self, steps: int, log: LogConfig) -> float:
        """Return the duration of a run of ``steps`` steps; the last one is always evaluated, sampled and saved."""
        often = ((self.evaluation, log.eval_every), (self.samples, log.sample_every), (self.saving, log.save_every))
        return steps * self.step + sum(cost * -(-steps // every) for cost, every in often)


@dataclass(frozen=True)
class Estimate:
    """What a training takes, measured on a few real steps.

    Attributes:
        start: seconds until the first step, in which the images are read.
        costs: of its parts.
        memory: largest number of bytes that it used: of the device, or else of the process.
    """

    start: float
    costs: Costs
    memory: int

    def seconds(self, config: RunConfig) -> float:
        """Return the duration of a run with these or with other steps and intervals."""
        return self.start + self.costs.seconds(config.optimizer.steps, config.log)

    def about(self, config: RunConfig) -> str:
        """Return the duration of a run, what it is made of, and its memory, in one line."""
        steps, log = config.optimizer.steps, config.log
        evaluations, grids = (-(-steps // every) for every in (log.eval_every, log.sample_every))
        return (
            f"about {duration(self.seconds(config))} for {counted(steps, 'step')} of {self.costs.step:.2g} s, "
            f"{counted(evaluations, 'evaluation')} of {self.costs.evaluation:.2g} s and {counted(grids, 'sample grid')} of "
            f"{self.costs.samples:.2g} s; {in_words(self.memory)} of memory"
        )


@dataclass(frozen=True)
class EstimateJob:
    """The process that makes an estimate, at most one at a time.

    Args:
        root: folder of its files; that of the user's runs by default.
    """

    root: Path = PRIVATE

    @property
    def _record(self) -> Path:
        return self.root / FOLDER / "process.json"

    @property
    def _run(self) -> Run:
        return Run(self.root / FOLDER / "run")  # holds the configuration alone

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return at_work(self._record)

    @property
    def progress(self) -> Progress:
        """Its current progress."""
        return read_progress(self._record.parent) or LOADING

    def start(self, config: RunConfig) -> None:
        """Begin to estimate what a training takes, and return at once.

        Raises:
            ValueError: the dataset is unknown, or another estimate is being made.
        """
        locate(config.data.data)
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / LOCK, timeout=30):
            if self.running:
                raise ValueError("another estimate is being made: wait for it, or cancel it first")
            self._run.write_config(with_settled_paths(config))
            launch("pipelines.train", ["--resume", str(self._run.path.resolve()), "--estimate", "True"], self._record)

    def stop(self) -> None:
        """Cancel it."""
        stop(self._record)

    def error(self, config: RunConfig) -> str:
        """Return one sentence on why the last estimate failed, if it was of such a run; else an empty text."""
        ended = ending(self._record)
        return ended.error if ended is not None and self._is_of(config) else ""

    def found(self, config: RunConfig) -> Estimate | None:
        """Return the last estimate if it is of a run like this, but for its steps and intervals; else None."""
        return read_typed(self._record.parent / RESULT, Estimate) if self._is_of(config) else None

    def _is_of(self, config: RunConfig) -> bool:
        try:
            return _per_step(self._run.config) == _per_step(with_settled_paths(config))
        except (ValueError, OSError):
            return False


def _per_step(config: RunConfig) -> RunConfig:
    """Return the configuration without what the cost of a single step does not depend on."""
    usual = OptimizerConfig()
    optimizer = replace(config.optimizer, steps=usual.steps, warmup_steps=usual.warmup_steps, lr=usual.lr, time_budget=None)
    return replace(config, optimizer=optimizer, log=LogConfig(sample_images=config.log.sample_images), seed=0)
