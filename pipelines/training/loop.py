"""The training loop, built on Accelerate: steps, logs, sample grids and saved states for an exact resume."""

from __future__ import annotations

import importlib.util
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..common.command_line import describe
from ..common.devices import has_fast_bfloat16, keep_freed_memory, process_state
from ..common.images import enlarge, png_bytes
from ..common.reports import ProgressBar, report_progress
from ..storage.config import RunConfig
from ..storage.files import atomic, write_text
from ..storage.processes import claim
from ..storage.runs import PROCESS, SAMPLES, SKIPPED, STATE, Run
from ..storage.state import Learner, load_state, read_progress, save_state
from .ema import ExponentialMovingAverage
from .plan import learning_rate
from .task import Task


def make_accelerator(config: RunConfig, run: Run, trackers: Sequence[str]) -> Accelerator:
    """Return an Accelerator with the run's precision and trackers.

    Raises:
        ValueError: the hardware lacks the precision, a tracker is not installed, or the batch cannot be divided equally.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"--tracker {tracker} needs the package {tracker!r}: pip install {tracker}")
    precision = config.optimizer.precision
    device = process_state().device
    if precision == "auto":
        precision = "bf16" if has_fast_bfloat16(device) else "no"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision=fp16 needs a GPU, and this machine has none: choose bf16, no or auto")
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=config.optimizer.accumulation,
        log_with=list(trackers) or None,
        project_dir=run.path / "trackers" if trackers else None,
    )
    parts = accelerator.num_processes * config.optimizer.accumulation
    if config.optimizer.batch_size % parts:
        raise ValueError(
            f"batch_size={config.optimizer.batch_size} cannot be split into {parts} equal parts "
            f"({accelerator.num_processes} processes, accumulation {config.optimizer.accumulation})"
        )
    return accelerator


class TrainingLoop:
    """Trains a task and writes its run: log, sample grids, saved states and weights.

    Args:
        run: the folder to write; training resumes from its saved state, if there is one.
        task: what to train.
        trackers: "wandb", "tensorboard".
        accelerator: with the run's precision; by default made on first use.

    Attributes:
        step: optimiser steps done.
        seconds: training time so far.
        interrupted: whether SIGINT or SIGTERM ended :meth:`fit`.
        model: the task's network wrapped by Accelerate; like ``ema`` and ``optimizer``, available after :meth:`prepare`.
    """

    model: Any
    ema: ExponentialMovingAverage
    optimizer: torch.optim.Optimizer

    def __init__(
        self, run: Run | str | Path, task: Task[Any], trackers: Sequence[str] = (), accelerator: Accelerator | None = None
    ) -> None:
        self.run = run if isinstance(run, Run) else Run(run)
        self.task, self.trackers, self._accelerator = task, trackers, accelerator
        self.step = 0
        self.seconds = 0.0
        self.interrupted = False
        self._prepared = False
        self._losses: list[Tensor] = []  # of the steps since the last line of the log, on the device
        self._grad_norms: list[Tensor] = []

    def prepare(self) -> None:
        """Prepare to train: claim the folder, move the task to the device, restore any saved state and write config.json.

        :meth:`fit` calls it if necessary.

        Raises:
            ValueError: another process is training this run, the folder holds weights but no saved state, or the state is
                damaged or belongs to another network.
        """
        self.run.refuse_without_state()
        keep_freed_memory()
        task, optimizer = self.task, self.config.optimizer
        task.place(self.accelerator)
        self.ema = ExponentialMovingAverage(self.network, optimizer.ema_half_life, optimizer.ema_ramp_up)
        adamw = torch.optim.AdamW(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            lr=optimizer.lr,
            betas=optimizer.betas,
            weight_decay=optimizer.weight_decay,
            fused=task.device.type in ("cpu", "cuda"),
        )
        self.model, self.optimizer = self.accelerator.prepare(self.network, adamw)
        if self.is_main:
            claim(self.run.path / PROCESS, f"training {self.run.path}")
        try:
            self._restore()
        except BaseException:
            self._release()
            raise
        if self.is_main:
            self.run.write_config(self.config)
            if task.data.skipped:
                write_text(self.run.path / SKIPPED, "".join(f"{problem}\n" for problem in task.data.skipped))
            else:
                (self.run.path / SKIPPED).unlink(missing_ok=True)  # the images have been repaired since
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

    def weights(self) -> Mapping[str, Tensor]:
        """Return the averaged weights to publish."""
        return self.task.weights(self.ema.network)

    def batches(self) -> Iterator[Any]:
        """Yield this process's share of the current batch in ``accumulation`` parts."""
        return self.task.batches(self.step, self.parts(), self.accelerator.process_index)

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
        self.ema.update(self.network, self.images_seen, optimizer.batch_size)
        self._losses.append(torch.stack(losses).mean())
        self._grad_norms.append(torch.as_tensor(grad_norm, device=self.task.device).detach())

    def _collect(self) -> tuple[list[float], list[float]]:
        """Return the losses and gradient norms since the last line of the log, averaged over processes.

        Raises:
            ValueError: a loss is not finite.
        """
        if not self._losses:
            return [], []
        losses: Tensor = self.accelerator.reduce(torch.stack(self._losses).float(), "mean")
        numbers = losses.tolist()
        for step, loss in enumerate(numbers, start=self.step - len(numbers) + 1):
            if not math.isfinite(loss):
                raise self._diverged(f"the loss became {loss} at step {step}")
        return numbers, torch.stack(self._grad_norms).float().tolist()

    def _refuse_broken_weights(self) -> None:
        """Raise an error if a weight is not finite: the last step may have broken them after its loss was computed."""
        networks = [*(learner.network for learner in self.learners.values()), self.ema.network]
        tensors = [parameter for network in networks for parameter in network.parameters()]
        if not bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all()):
            raise self._diverged(f"the weights were no longer finite at step {self.step}")

    def _diverged(self, what: str) -> ValueError:
        if (self.run.path / STATE).is_file():
            step = read_progress(self.run.path / STATE)["step"]
            kept = f"the last good state, of step {step}, is kept in {self.run.path}"
        else:
            kept = f"nothing had been saved yet in {self.run.path}"
        return ValueError(
            f"{what}: training stopped, {kept}; "
            f"start again with a smaller --lr (it was {self.config.optimizer.lr:g}) or with --precision no"
        )

    def log(self, evaluate: bool) -> None:
        """Append one line to metrics.jsonl."""
        losses, grad_norms = self._collect()
        self._losses, self._grad_norms = [], []
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
            self.run.append_metrics(row)
            numbers = {key: value for key, value in row.items() if isinstance(value, float)}
            self.accelerator.log(numbers, step=self.step)

    def write_samples(self) -> None:
        """Write sample grids of the EMA weights and of the raw weights."""
        for suffix, network in (("", self.ema.network), ("-raw", self.network)):
            was_training = network.training
            with self.accelerator.autocast():
                grid = self.task.draw(network.eval())  # no dropout while sampling
            network.train(was_training)
            with atomic(self.run.path / SAMPLES / f"step-{self.step:08d}{suffix}.png") as temporary:
                temporary.write_bytes(png_bytes(grid, {"run": self.run.name, "step": self.step, "seed": 0}))
            for tracker in self.accelerator.trackers:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({f"samples{suffix}": enlarge(grid, 2)[None]}, step=self.step, **layout)

    def _release(self) -> None:
        if self.is_main:
            (self.run.path / PROCESS).unlink(missing_ok=True)

    def save(self) -> None:
        """Save the state, then the weights. If the process is killed meanwhile, the previous files remain intact."""
        losses, grad_norms = self._collect()
        if not self.is_main:
            return
        self._refuse_broken_weights()
        scaler = self.accelerator.scaler
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "losses": losses,
            "grad_norms": grad_norms,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        save_state(self.run.path / STATE, self.learners, self.ema.network, progress)
        self.run.write_model(self.weights(), self.config)

    def _restore(self) -> None:
        """Restore the last saved state, if there is one, and discard the log after it."""
        for leftover in self.run.path.rglob("*.tmp-*") if self.is_main else ():
            leftover.unlink()
        state = self.run.path / STATE
        if state.is_file():
            progress = load_state(state, self.learners, self.ema.network)
            self.step, self.seconds = progress["step"], progress["seconds"]
            self._losses = [torch.tensor(loss, device=self.task.device) for loss in progress["losses"]]
            self._grad_norms = [torch.tensor(norm, device=self.task.device) for norm in progress["grad_norms"]]
            if self.accelerator.scaler is not None and progress["scaler"]:
                self.accelerator.scaler.load_state_dict(progress["scaler"])
            if self.is_main:  # the process may have been killed after saving the state and before the weights
                self.run.write_model(self.weights(), self.config)
        if self.is_main:
            self.run.truncate_metrics(self.step)

    def _compile(self) -> None:
        """Compile the network for batches of this shape; if that fails, print why and train it uncompiled."""
        report_progress("compiling the network")
        eager, started = self.model, time.monotonic()
        self.model = torch.compile(eager, dynamic=False)
        try:
            for batch in self.batches():
                self.accelerator.backward(self.task.loss(self.model, batch, self.step))
            said = f"compiled the network in {time.monotonic() - started:.0f} seconds"
        except Exception as error:  # the compiler raises many kinds of errors
            self.model = eager
            said = f"the network could not be compiled and is trained without compilation: {describe(error)[:300]}"
        self.optimizer.zero_grad()
        if self.is_main:
            print(said, flush=True)

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
            disable=not self.is_main,
            smoothing=0.05,
        )
        with _signals() as caught, progress, ExitStack() as at_the_end:
            at_the_end.callback(self._release)
            if compiled:
                self._compile()
            while self.step < total:
                self.train_step()
                self.seconds = before + time.monotonic() - started
                progress.update(size)
                last = self.step == total
                evaluate = last or self.step % log.eval_every == 0
                if evaluate or self.step % log.log_every == 0:
                    if self.is_main:
                        progress.note(loss=f"{float(self._losses[-1]):.4f}")
                    self.log(evaluate)
                if self.is_main and (last or self.step % log.sample_every == 0):
                    self.write_samples()
                out_of_time = time_limit is not None and time.monotonic() - started > time_limit * 60
                stop = self._any(bool(caught) or out_of_time)
                if last or stop or self.step % log.save_every == 0:
                    self.save()
                if stop:
                    break
        self.interrupted = self._any(bool(caught))
        self.accelerator.end_training()
        return self.step >= total

    def _any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; all must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.task.device), "sum").item())


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Record SIGINT and SIGTERM in the list yielded; a second signal ends the process as usual."""
    caught: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    for stopping in (signal.SIGINT, signal.SIGTERM):
        previous[stopping] = signal.signal(stopping, note)
    try:
        yield caught
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
