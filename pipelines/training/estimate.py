"""Estimates of what a training takes, and the process that makes them from a few real steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..common.machine import in_words
from ..common.reports import RESULT, Progress, read_typed
from ..common.text import counted, duration, rough_duration
from ..datasets.sources import locate
from ..storage.config import LogConfig, OptimizerConfig, RunConfig
from ..storage.locations import with_settled_paths
from ..storage.processes import ending, launch
from ..storage.run import Run
from ..storage.single_job import SingleJob

BUSY = 0.2  # share of the processor that other programs take above which it is told
NOTHING = 1e-3  # seconds of a comparison that is none
FOLDER = ".estimate"  # in the user's folder of runs


@dataclass(frozen=True)
class Costs:
    """Seconds that a step, a measurement of the validation loss, the sample grids, a save, and a comparison of samples take."""

    step: float
    evaluation: float
    samples: float
    saving: float
    comparison: float = 0.0

    def seconds(self, steps: int, log: LogConfig) -> float:
        """Return the duration of a run of ``steps`` steps; the last one is always evaluated, sampled and saved."""
        often = (
            (self.evaluation + self.comparison, log.eval_every),
            (self.samples, log.sample_every),
            (self.saving, log.save_every),
        )
        return steps * self.step + sum(cost * -(-steps // every) for cost, every in often)


@dataclass(frozen=True)
class Estimate:
    """What a training takes, measured on a few real steps.

    Attributes:
        start: seconds until the first step, in which the images are read.
        costs: of its parts.
        memory: largest number of bytes that it used: of the device, or else of the process.
        others: share of the processor that other programs took meanwhile, 0 to 1, if it is what trains.
    """

    start: float
    costs: Costs
    memory: int
    others: float = 0.0

    def seconds(self, config: RunConfig) -> float:
        """Return the duration of a run with these or with other steps and intervals."""
        return self.start + self.costs.seconds(config.optimizer.steps, config.log)

    def about(self, config: RunConfig) -> str:
        """Return the duration of a run, what it is made of, and its memory, in one line.

        If other programs took part of the processor, it also says how long the run might take without them: at best their share
        less.
        """
        steps, log = config.optimizer.steps, config.log
        evaluations, grids = (-(-steps // every) for every in (log.eval_every, log.sample_every))
        compared = self.costs.comparison
        more = f" (and {_short(compared)} to compare samples with training images)" * (compared > NOTHING)
        whole = self.seconds(config)
        told = f"about {duration(whole)} for"
        if self.others >= BUSY:
            alone = rough_duration((1 - self.others) * whole)
            told = f"about {duration(whole)} while other programs take {100 * self.others:.0f} % of the processor"
            told += f", and perhaps {alone} without them, for"
        return (
            f"{told} {counted(steps, 'step')} of {_short(self.costs.step)}, "
            f"{counted(evaluations, 'evaluation')} of {_short(self.costs.evaluation)}{more} and "
            f"{counted(grids, 'sample grid')} of {_short(self.costs.samples)}; {in_words(self.memory)} of memory"
        )


def _short(seconds: float) -> str:
    """Return a duration, which may be much less than a second."""
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


class EstimateJob(SingleJob):
    """The process that makes an estimate."""

    FOLDER, LOADING = FOLDER, Progress("Loading")

    @property
    def _run(self) -> Run:
        return Run(self.record.with_name("run"))  # holds the configuration alone

    def start(self, config: RunConfig) -> None:
        """Begin to estimate what a training takes, and return at once.

        Raises:
            ValueError: the dataset is unknown, or another estimate is being made.
        """
        locate(config.data.data)
        with self.starting("another estimate is being made: wait for it, or cancel it first"):
            self._run.write_config(with_settled_paths(config))
            launch("pipelines.train", ["--resume", str(self._run.path.resolve()), "--estimate", "True"], self.record)

    def error(self, config: RunConfig) -> str:
        """Return one sentence on why the last estimate failed, if it was of such a run; else an empty text."""
        ended = ending(self.record)
        return ended.error if ended is not None and self.is_of(config) else ""

    def found(self, config: RunConfig) -> Estimate | None:
        """Return the last estimate if it is of a run like this, but for its steps and intervals; else None."""
        return read_typed(self.record.parent / RESULT, Estimate) if self.is_of(config) else None

    def is_of(self, config: RunConfig) -> bool:
        """Return whether the last estimate is of a run like this, but for its steps and intervals."""
        try:
            return _per_step(self._run.config) == _per_step(with_settled_paths(config))
        except (ValueError, OSError):
            return False


def _per_step(config: RunConfig) -> RunConfig:
    """Return the configuration without what the cost of a single step does not depend on."""
    usual = OptimizerConfig()
    optimizer = replace(config.optimizer, steps=usual.steps, warmup_steps=usual.warmup_steps, lr=usual.lr, time_budget=None)
    return replace(
        config,
        optimizer=optimizer,
        log=LogConfig(sample_images=config.log.sample_images, compared_samples=config.log.compared_samples),
        seed=0,
    )
