"""The training loop, built on Accelerate: steps, logs, sample grids and saved states for an exact resume."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..common.devices import keep_freed_memory
from ..common.finite import NotFiniteError
from ..common.images import enlarge, png_bytes
from ..common.reports import ProgressBar
from ..common.signals import caught_signals
from ..storage.changes import recorded
from ..storage.claim import RunClaim
from ..storage.config import RunConfig
from ..storage.files import atomic
from ..storage.runs import AVERAGES, SAMPLES, STATE, Run
from ..storage.state import Learner, ResumePoint, load_state, save_state, state_tensors
from .accelerator import any_process, make_accelerator, track_image
from .compilation import compile_network
from .divergence import Divergence
from .ema import ExponentialMovingAverage
from .plan import learning_rate
from .recent import RecentLosses
from .task import Task


class TrainingLoop:
    """Trains a task and writes its run: log, sample grids, saved states and weights.

    Args:
        run: the folder to write, or this process's claim to it; training resumes from its saved state, if there is one.
        task: what to train.
        trackers: "wandb", "tensorboard".
        accelerator: with the run's precision; by default made on first use.

    Attributes:
        step: optimiser steps done.
        seconds: training time so far.
        interrupted: whether SIGINT or SIGTERM ended :meth:`fit`.
        model: the task's network wrapped by Accelerate; like ``emas`` and ``optimizer``, available after :meth:`prepare`.
    """

    model: Any
    emas: dict[int, ExponentialMovingAverage]  # by half-life, the usual one first
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
        self.interrupted = self._prepared = False
        self._recent = RecentLosses()
        self._divergence = Divergence(self.run, self.config)

    def prepare(self) -> None:
        """Prepare to train: claim the folder, move the task to the device, restore any saved state and write config.json.

        :meth:`fit` calls it if necessary.

        Raises:
            ValueError: another process is training this run, the folder holds weights but no saved state, has been removed or
                replaced, or the state is damaged or belongs to another network.
        """
        self.run.refuse_without_state()
        keep_freed_memory()
        task, optimizer = self.task, self.config.optimizer
        task.place(self.accelerator)
        self.emas = {
            half_life: ExponentialMovingAverage(self.network, half_life, optimizer.ema_ramp_up)
            for half_life in (optimizer.ema_half_life, *optimizer.ema_also)
        }
        adamw = torch.optim.AdamW(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            lr=optimizer.lr,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            fused=task.device.type in ("cpu", "cuda"),
        )
        self.model, self.optimizer = self.accelerator.prepare(self.network, adamw)
        if self.is_main:
            self.claim.take()
        try:
            self._restore()
            if self.is_main:
                self.claim.describe(self.config, task.data.skipped)
        except BaseException:
            self.claim.release()
            raise
        if self.trackers:
            wandb = {"wandb": {"dir": self.run.path}}
            self.accelerator.init_trackers("noisescope", config={"run": self.run.name}, init_kwargs=wandb)
        self._prepared = True

    @property
    def accelerator(self) -> Accelerator:
        """Accelerate's processes, devices and precision."""
        if self._accelerator is None:
            self._accelerator = make_accelerator(self.config, self.run, self.trackers)
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
        return self.emas[self.config.optimizer.ema_half_life]

    @property
    def averages(self) -> dict[str, nn.Module]:
        """All averages, by the prefix of their tensors in the saved state."""
        return {"ema." if ema is self.ema else f"ema-{half_life}.": ema.network for half_life, ema in self.emas.items()}

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

    def parts(self) -> Iterator[slice]:
        """Yield the rows of the current batch in each part of this process's share."""
        count = self.config.optimizer.accumulation
        size = self.config.optimizer.batch_size // (self.accelerator.num_processes * count)
        first = self.accelerator.process_index * count
        yield from (slice(part * size, (part + 1) * size) for part in range(first, first + count))

    def batches(self) -> Iterator[Any]:
        """Yield this process's share of the current batch in ``accumulation`` parts."""
        return self.task.batches(self.step, self.parts(), self.accelerator.process_index)

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
        for ema in self.emas.values():
            ema.update(self.network, self.images_seen, optimizer.batch_size)
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
                row |= self.task.evaluate(self.ema.network)
                others = {half_life: ema for half_life, ema in self.emas.items() if ema is not self.ema}
                for half_life, ema in others.items():
                    row[f"val_loss_ema_{half_life}"] = self.task.evaluate(ema.network)["val_loss"]
                self._divergence.refuse_losses([row["val_loss"]], self.step, "the loss on held-out images")
            self.claim.check()
            self.run.append_metrics(row)
            numbers = {key: value for key, value in row.items() if isinstance(value, float)}
            self.accelerator.log(numbers, step=self.step)

    def write_samples(self) -> None:
        """Write sample grids of the EMA weights and of the raw weights."""
        for suffix, network in (("", self.ema.network), ("-raw", self.network)):
            was_training = network.training
            try:
                with self.accelerator.autocast():
                    grid = self.task.draw(network.eval())  # no dropout while sampling
            except NotFiniteError as error:  # the loss and the weights decide whether training goes on
                print(f"no samples of step {self.step}: {error}", flush=True)
                continue
            finally:
                network.train(was_training)
            self.claim.check()
            with atomic(self.run.path / SAMPLES / f"step-{self.step:08d}{suffix}.png") as temporary:
                temporary.write_bytes(png_bytes(grid, {"run": self.run.name, "step": self.step, "seed": 0}))
            track_image(self.accelerator, f"samples{suffix}", enlarge(grid, 2), self.step)

    def save(self) -> None:
        """Save the state, then the weights. If the process is killed meanwhile, the previous files remain intact."""
        losses, grad_norms = self._recent.numbers(self.accelerator)
        self._divergence.refuse_losses(losses, self.step)
        if not self.is_main:
            return
        scaler = self.accelerator.scaler
        point = ResumePoint(self.step, self.seconds, losses, grad_norms, None if scaler is None else scaler.state_dict())
        tensors, weights = state_tensors(self.learners, self.averages), self._finite_weights()
        self._divergence.refuse_tensors(tensors, self.step)
        self.claim.check()
        save_state(self.run.path / STATE, tensors, point)
        self._write_models(weights)

    def _finite_weights(self) -> dict[int, Mapping[str, Tensor]]:
        """Return the weights to write of every average, by half-life."""
        weights = {half_life: self.task.weights(ema.network) for half_life, ema in self.emas.items()}
        for each in weights.values():
            self._divergence.refuse_tensors(each, self.step)
        return weights

    def _write_models(self, weights: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Write the usual average to model.safetensors, and each other one as a run that keeps it alone would write it."""
        self.claim.check()
        for half_life, each in weights.items():
            usual = half_life == self.config.optimizer.ema_half_life
            run = self.run if usual else Run(self.run.path / AVERAGES / f"{half_life}.safetensors")
            optimizer = self.config.optimizer if usual else self.config.optimizer.with_average(half_life)
            run.write_model(each, replace(self.config, optimizer=optimizer))

    def _restore(self) -> None:
        """Restore the last saved state, if there is one, and discard the log after it."""
        state = self.run.path / STATE
        if state.is_file():
            point = load_state(state, self.learners, self.averages, self.run.instead_of_resuming)
            self.step, self.seconds = point.step, point.seconds
            self._recent.restore(point.losses, point.grad_norms, self.task.device)
            self.task.config = recorded(self.run.config, self.config, self.step)
            if self.accelerator.scaler is not None and point.scaler:
                self.accelerator.scaler.load_state_dict(point.scaler)
            if self.is_main:  # the process may have been killed after saving the state and before the weights
                self._write_models(self._finite_weights())
        if self.is_main:
            self.run.truncate_metrics(self.step)

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
        log, total = self.config.log, self.config.optimizer.steps
        size = self.config.optimizer.batch_size
        started = time.monotonic()
        before = self.seconds
        progress = ProgressBar(
            f"training {self.run.name}",
            total * size,
            "img",
            done=self.images_seen,
            unit_scale=True,
            smoothing=0.05,
        )
        with caught_signals() as caught, progress, ExitStack() as at_the_end:
            at_the_end.callback(self.claim.release)
            if compiled:
                self.model, said = compile_network(self.model, self._backward)
                self.optimizer.zero_grad()
                if self.is_main:
                    print(said, flush=True)
            while self.step < total:
                self.train_step()
                if self.is_main:
                    self.claim.check()  # before anything else is written to it, such as the progress
                self.seconds = before + time.monotonic() - started
                progress.update(size)
                last = self.step == total
                evaluate = last or self.step % log.eval_every == 0
                if evaluate or self.step % log.log_every == 0:
                    if self.is_main:
                        progress.note(loss=f"{self._recent.last:.4f}")
                    self.log(evaluate)
                if self.is_main and (last or self.step % log.sample_every == 0):
                    self.write_samples()
                out_of_time = time_limit is not None and time.monotonic() - started > time_limit * 60
                stop = any_process(self.accelerator, bool(caught) or out_of_time)
                if last or stop or self.step % log.save_every == 0:
                    self.save()
                if stop:
                    break
        self.interrupted = any_process(self.accelerator, bool(caught))
        self.accelerator.end_training()
        return self.step >= total
