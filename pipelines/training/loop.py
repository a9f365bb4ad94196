"""The training loop, built on Accelerate: steps, logs, sample grids and saved states for an exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..common.devices import keep_freed_memory
from ..common.finite import NotFiniteError
from ..common.reports import ProgressBar
from ..common.settings import seconds_in
from ..common.signals import caught_signals
from ..models.compiled import can_compile
from ..storage.changes import recorded
from ..storage.claim import RunClaim
from ..storage.config import RunConfig
from ..storage.layout import STATE
from ..storage.run import Run
from ..storage.state import Learner, ResumePoint, load_state, save_state, state_tensors
from .accelerator import any_process, make_accelerator, make_optimizer, own_parts, restore_scaler, scaler_state
from .budget import fitted_to_budget
from .divergence import Divergence
from .ema import ExponentialMovingAverage, Model, MovingAverages
from .grids import write_grids
from .plan import learning_rate
from .recent import RecentLosses
from .task import Task
from .trackers import finish_trackers, start_trackers, track_numbers
from .trial import refuse_too_large_batch


class TrainingLoop:
    """Trains a task and writes its run: log, sample grids, saved states and weights.

    Args:
        run: the folder to write, or this process's claim to it; training resumes from its saved state, if there is one.
        task: what to train.
        trackers: names of trackers (see :mod:`pipelines.training.trackers`).
        accelerator: with the run's precision; by default made on first use.

    Attributes:
        step: optimiser steps done.
        seconds: training time so far.
        interrupted: whether SIGINT or SIGTERM ended :meth:`fit`.
        clock: returns the time in seconds.
        model: the task's network wrapped by Accelerate; like ``averages`` and ``optimizer``, available after :meth:`prepare`.
    """

    model: Any
    averages: MovingAverages
    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        run: RunClaim | Run | str | Path,
        task: Task[Any],
        trackers: Sequence[str] = (),
        accelerator: Accelerator | None = None,
    ) -> None:
        self.claim = run if isinstance(run, RunClaim) else RunClaim(run)
        self.run = self.claim.run
        self.task, self.trackers, self._accelerator = task, trackers, accelerator
        self.step, self.seconds = 0, 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.interrupted = self._prepared = False
        self._recent = RecentLosses()
        self._divergence = Divergence(self.run, self.config)

    def prepare(self) -> None:
        """Prepare to train: claim the folder, move the task to the device, restore any saved state and write config.json.

        :meth:`fit` calls it if necessary.

        Raises:
            ValueError: another process is training this run, the folder holds weights but no saved state, has been removed or
                replaced, the state is damaged or belongs to another network, or an accelerator's memory does not hold a batch.
        """
        self.run.refuse_without_state()
        keep_freed_memory()
        task, optimizer = self.task, self.config.optimizer
        task.place(self.accelerator)
        self.averages = MovingAverages(self.network, optimizer)
        self.model, self.optimizer = self.accelerator.prepare(self.network, make_optimizer(self.network, optimizer))
        if self.task.device.type != "cpu":  # there, a step that is too large would not raise an error, but end the process
            refuse_too_large_batch(task, resumed=(self.run.path / STATE).is_file())
        if self.is_main:
            self.claim.take()
        try:
            self._restore()
            start_trackers(self.accelerator, self.trackers, self.run, self.config, resumed=self.step > 0)
            if self.is_main:
                self.claim.describe(self.config, task.data.report)
        except BaseException:
            self.claim.release()
            raise
        self._prepared = True

    @property
    def accelerator(self) -> Accelerator:
        """Accelerate's processes, devices and precision."""
        if self._accelerator is None:
            self._accelerator = make_accelerator(self.config, self.trackers)
        return self._accelerator

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.task.config

    @property
    def network(self) -> nn.Module:
        """The network in training."""
        return self.task.network

    @property
    def ema(self) -> ExponentialMovingAverage:
        """The average that is evaluated, sampled from and written to model.safetensors."""
        return self.averages.usual

    @property
    def learners(self) -> dict[str, Learner]:
        """Networks and optimisers in the saved state, by the prefix of their tensors."""
        return {"": Learner(self.network, self.optimizer), **self.task.other_learners}

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.accelerator.is_main_process

    @property
    def images_seen(self) -> int:
        """Number of training images seen so far, including repetitions."""
        return self.step * self.config.optimizer.batch_size

    def batches(self) -> Iterator[Any]:
        """Yield this process's share of the current batch in ``accumulation`` parts."""
        return self.task.batches(self.step, own_parts(self.accelerator, self.config.optimizer), self.accelerator.process_index)

    def _backward(self, model: nn.Module) -> None:
        """Add the gradients of the current batch."""
        for batch in self.batches():
            self.accelerator.backward(self.task.loss(model, batch, self.step))

    def train_step(self) -> None:
        """Take one optimiser step and update the moving average."""
        optimizer = self.config.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(optimizer, self.step)
        losses, grad_norm = [], None
        for batch in self.batches():
            with self.accelerator.accumulate(self.model):
                loss = self.task.loss(self.model, batch, self.step)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), optimizer.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        self.task.end_step(self.step)
        self.step += 1
        self.averages.update(self.network, self.images_seen, optimizer.batch_size)
        self._recent.add(torch.stack(losses).mean(), torch.as_tensor(grad_norm, device=self.task.device).detach())

    def log(self, evaluate: bool) -> None:
        """Append one line to metrics.jsonl."""
        losses, grad_norms = self._recent.numbers(self.accelerator)
        self._divergence.refuse_losses(losses, self.step)
        self._recent.clear()
        row: dict[str, Any] = {
            "step": self.step,
            "images_seen": self.images_seen,
            "seconds": round(self.seconds, 3),
            "loss": sum(losses) / len(losses),
            "lr": learning_rate(self.config.optimizer, self.step - 1),
            "grad_norm": sum(grad_norms) / len(grad_norms),
        }
        if self.is_main:
            if evaluate:
                row |= self.evaluate() | self.compare()
                self._divergence.refuse_losses([row["val_loss"]], self.step, "the loss on held-out images")
            self.claim.check()
            self.run.append_metrics(row)
            track_numbers(self.accelerator, row, self.step, self.config.diffusion.timesteps)

    def evaluate(self) -> dict[str, Any]:
        """Evaluate every average on the held-out images; only the losses of the others than the usual one are kept."""
        losses = {name: self.task.evaluate(network)["val_loss"] for name, network in self.averages.by_loss.items()}
        return self.task.evaluate(self.ema.network) | losses

    def compare(self) -> dict[str, float]:
        """Compare samples of the usual average with real images (see :meth:`Task.compare`); nothing of a diverged network."""
        try:
            return self.task.compare(self.ema.network)
        except NotFiniteError as error:
            print(f"samples of step {self.step} are not compared: {error}", flush=True)
            return {}

    @property
    def shown(self) -> dict[str, nn.Module]:
        """The networks whose samples are shown, by the suffix of their grids: the EMA weights and the raw weights."""
        return {"": self.ema.network, "-raw": self.network}

    def write_samples(self) -> None:
        """Write sample grids."""
        write_grids(self.task, self.claim, self.shown, self.step)

    def save(self) -> None:
        """Save the state, then the weights. If the process is killed meanwhile, the previous files remain intact."""
        losses, grad_norms = self._recent.numbers(self.accelerator)
        self._divergence.refuse_losses(losses, self.step)
        if not self.is_main:
            return
        point = ResumePoint(self.step, self.seconds, losses, grad_norms, scaler_state(self.accelerator))
        tensors, models = state_tensors(self.learners, self.averages.by_prefix), self._models()
        self._divergence.refuse_tensors(tensors, self.step)
        self.claim.check()
        save_state(self.run.path / STATE, tensors, point)
        self._write(models)

    def _models(self) -> list[Model]:
        """Return the models to write, whose weights are finite."""
        models = self.averages.models(self.run, self.config, self.task.weights)
        for _, _, weights in models:
            self._divergence.refuse_tensors(weights, self.step)
        return models

    def _write(self, models: Sequence[Model]) -> None:
        self.claim.check()
        for run, config, weights in models:
            run.write_model(weights, config)

    def _restore(self) -> None:
        """Restore the last saved state, if there is one, and discard the log after it."""
        state = self.run.path / STATE
        if state.is_file():
            point = load_state(state, self.learners, self.averages.by_prefix, self.run.instead_of_resuming)
            self.step, self.seconds = point.step, point.seconds
            self._recent.restore(point.losses, point.grad_norms, self.task.device)
            self.task.config = recorded(self.run.config, self.config, self.step)
            restore_scaler(self.accelerator, point.scaler)
            if self.is_main:  # the process may have been killed after saving the state and before the weights
                self._write(self._models())
        if self.is_main:
            self.run.truncate_metrics(self.step)

    def start_again(self) -> None:
        """Count from 0 again, once networks and optimisers are as they were before the first step."""
        self.step = 0
        self._recent.clear()

    def fit(self, time_limit: float | None = None, compiled: bool = False) -> bool:
        """Train for the configured number of steps, or until interrupted or out of time; save at the end.

        Args:
            time_limit: minutes, or None.
            compiled: compile the network first. The losses are the same up to rounding.

        Returns:
            Whether all steps are done.
        """
        if not self._prepared:
            self.prepare()
        log, budget = self.config.log, self.config.optimizer.time_budget
        size = self.config.optimizer.batch_size
        started = self.clock()
        before = self.seconds
        with caught_signals() as caught, ExitStack() as shown, ExitStack() as at_the_end:
            at_the_end.callback(self.claim.release)
            at_the_end.callback(finish_trackers, self.accelerator)
            if compiled:
                model: Any = torch.compile(self.model, dynamic=False)
                if can_compile(partial(self._backward, model)):
                    self.model = model
                self.optimizer.zero_grad()
            if budget is not None and self.step == 0:
                self.task.config = fitted_to_budget(self, seconds_in(budget) - (self.clock() - started))
                if self.is_main:
                    self.claim.describe(self.config, self.task.data.report)
            total = self.config.optimizer.steps
            shown_as = f"training {self.run.name}"
            bar = ProgressBar(shown_as, total * size, "img", done=self.images_seen, unit_scale=True, smoothing=0.05)
            progress = shown.enter_context(bar)
            while self.step < total:
                self.train_step()
                if self.is_main:
                    self.claim.check()  # before anything else is written to it, such as the progress
                self.seconds = before + self.clock() - started
                progress.update(size)
                last = self.step == total
                evaluate = last or self.step % log.eval_every == 0
                if evaluate or self.step % log.log_every == 0:
                    if self.is_main:
                        progress.note(loss=f"{self._recent.last:.4f}")
                    self.log(evaluate)
                if self.is_main and (last or self.step % log.sample_every == 0):
                    self.write_samples()
                out_of_time = time_limit is not None and self.clock() - started > time_limit * 60
                stop = any_process(self.accelerator, bool(caught) or out_of_time)
                if last or stop or self.step % log.save_every == 0:
                    self.save()
                if stop:
                    break
        self.interrupted = any_process(self.accelerator, bool(caught))
        self.accelerator.end_training()
        return self.step >= total
