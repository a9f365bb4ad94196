"""The training loop on Accelerate, and the state that makes a resume exact."""

from __future__ import annotations

import importlib.util
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor
from torchvision.transforms import v2
from tqdm import tqdm

from diffusion_core.condition import Condition
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import dpmpp_2m
from diffusion_core.schedules import sampling_timesteps
from unets.baseline import BaselineUNet
from unets.blocks import Dropout

from .augmentation import augmented, draw_augmentations
from .config import RunConfig
from .data import load_images, resolve
from .devices import has_fast_bfloat16, keep_freed_memory
from .ema import ExponentialMovingAverage
from .finetune import add_low_rank, adopt, load_initial, plain_weights
from .images import enlarge, montage, png_bytes, to_uint8
from .model import make_denoiser, make_loss, make_network
from .plan import Shuffle, learning_rate, stream_seed
from .processes import claim
from .runs import PROCESS, SAMPLES, STATE, Run, atomic
from .state import load_state, read_progress, save_state

TIMESTEP_BINS = 20  # of the validation loss by timestep
SAMPLE_GUIDANCE = 2.0  # of networks that are told something
SAMPLE_STEPS = 20  # of DPM-Solver++(2M), for the grids made while training


def make_accelerator(config: RunConfig, run: Run, trackers: Sequence[str]) -> Accelerator:
    """An Accelerator with the run's precision and trackers.

    Raises:
        ValueError: a precision that this hardware lacks, a tracker that is not installed, or a batch that the processes
            cannot share equally.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"--tracker {tracker} needs the package {tracker!r}: pip install {tracker}")
    precision = config.optimizer.precision
    device = PartialState().device
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


class Trainer:
    """One run being trained.

    Args:
        run: the folder to write; where it holds a saved state, training goes on from there.
        config: what to train. Open settings are filled in and the whole is written to the folder.
        trackers: "wandb", "tensorboard".

    Attributes:
        step: optimiser steps done.
        interrupted: whether SIGINT or SIGTERM ended :meth:`fit`.
    """

    def __init__(self, run: Run, config: RunConfig, trackers: Sequence[str] = ()) -> None:
        keep_freed_memory()
        self.accelerator = make_accelerator(config, run, trackers)
        self.run = run
        config = adopt(config)
        data = resolve(config.data)
        with self.accelerator.main_process_first():
            train, held_out = load_images(data, config.seed)
        if self.is_main:
            _report_skipped([*train.skipped, *held_out.skipped])
        channels, height, width = train.images.shape[1:]
        self.config = replace(
            config,
            data=data,
            image_shape=(channels, height, width),
            versions=config.versions
            or {name: version(name) for name in ("torch", "torchvision", "accelerate", "datasets", "numpy")},
        )
        self.device = self.accelerator.device
        self.conditions = self.held_out_conditions = None
        if config.network.conditional:
            from .conditioning import load_conditions

            with self.accelerator.main_process_first():
                condition, parts = load_conditions(self.config, (train, held_out))
            self.config = replace(self.config, condition=condition)
            self.conditions, self.held_out_conditions = (part.to(self.device) for part in parts)
        self.loss = make_loss(config.diffusion)
        network = self._initial_network().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._refuse_wrong_size(network)
        self.images = train.images.to(self.device)
        self.held_out = held_out.images.to(self.device)
        self.shuffle = Shuffle(len(self.images), config.seed)
        self.ema = ExponentialMovingAverage(network, config.optimizer.ema_half_life, config.optimizer.ema_ramp_up)
        self.network = network
        self.dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
        adamw = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=config.optimizer.lr,
            betas=config.optimizer.betas,
            weight_decay=config.optimizer.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.model, self.optimizer = self.accelerator.prepare(network, adamw)
        self.step = 0
        self.seconds = 0.0
        self.interrupted = False
        self._losses: list[Tensor] = []  # of the steps since the last logged line, on the device
        self._grad_norms: list[Tensor] = []
        if self.is_main:
            claim(run.path / PROCESS, f"training {run.path}")
        try:
            self._restore()
        except BaseException:
            self._release()
            raise
        if self.is_main:
            run.write_config(self.config)
        if trackers:
            self.accelerator.init_trackers("noisescope", config={"run": run.name}, init_kwargs={"wandb": {"dir": run.path}})

    def _initial_network(self) -> BaselineUNet:
        init = self.config.init
        network = make_network(self.config, self.config.seed)
        if init.init_from is not None and not (self.run.path / STATE).is_file():  # a saved state holds all weights
            load_initial(network, self.config)
        if init.lora_rank:
            add_low_rank(network, init.lora_rank, self.config.seed)
        return network

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.accelerator.is_main_process

    @property
    def images_seen(self) -> int:
        """Training images so far, repetitions counted."""
        return self.step * self.config.optimizer.batch_size

    def _release(self) -> None:
        if self.is_main:
            (self.run.path / PROCESS).unlink(missing_ok=True)

    def _refuse_wrong_size(self, network: torch.nn.Module) -> None:
        """Fail before the first step, not in it, where the network cannot take these images."""
        assert self.config.image_shape is not None
        with torch.no_grad():
            network(torch.zeros(1, *self.config.image_shape, device=self.device), torch.zeros(1, device=self.device))

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Condition | None]]:
        """This process's share of the current step, in ``accumulation`` parts: x0 in [−1, 1], noise, timesteps, condition.

        The whole batch is drawn everywhere and cut, so that its randomness does not depend on how it is split.
        """
        size = self.config.optimizer.batch_size
        seed = stream_seed(self.config.seed, 1, self.step)
        on_cpu, on_device = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        index = self.shuffle.batch(self.images_seen, size)
        t = self.loss.sample_timesteps(size, on_cpu)
        mirrored = torch.rand(size, generator=on_cpu) < 0.5 if self.config.data.flip else torch.zeros(size, dtype=torch.bool)
        noise = torch.randn(size, *self.images.shape[1:], generator=on_device, device=self.device)
        changes = draw_augmentations(size, self.config.data.augment, on_cpu) if self.config.data.augment else None
        for module in self.dropouts:
            module.generator = on_device
        condition = None
        if self.conditions is not None:
            choice, withheld = torch.rand(2, size, generator=on_cpu)
            dropped = withheld < self.config.condition.condition_dropout
            condition = self.conditions.of(index, choice).drop(dropped.to(self.device))
        parts = torch.arange(size).chunk(self.accelerator.num_processes)[self.accelerator.process_index]
        for part in parts.chunk(self.config.optimizer.accumulation):
            x0 = self.images[index[part].to(self.device)]
            flips = mirrored[part].to(self.device).view(-1, 1, 1, 1)
            x0 = torch.where(flips, v2.functional.horizontal_flip(x0), x0) if self.config.data.flip else x0
            x0 = x0.float() / 127.5 - 1
            on_here = part.to(self.device)
            own = None if condition is None else condition.select(on_here)
            if changes is not None:
                x0 = augmented(x0, changes[part])
                told = changes[part].to(self.device)
                own = Condition(augment=told) if own is None else replace(own, augment=told)
            yield x0, noise[on_here], t[part], own

    def train_step(self) -> None:
        """One optimiser step and one step of the moving average."""
        optimizer = self.config.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(optimizer, self.step)
        losses, grad_norm = [], None
        for x0, noise, t, condition in self._batches():
            with self.accelerator.accumulate(self.model):
                loss = self.loss(self.model, x0, noise, t, condition).mean()
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), optimizer.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        self.step += 1
        self.ema.update(self.network, self.images_seen, optimizer.batch_size)
        self._losses.append(torch.stack(losses).mean())
        self._grad_norms.append(torch.as_tensor(grad_norm, device=self.device).detach())

    def _collect(self) -> tuple[list[float], list[float]]:
        """Losses and gradient norms since the last logged line, the same in all processes.

        Raises:
            ValueError: one of the losses is not finite.
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
        """A loss is measured before its step: the step itself may have broken the weights."""
        tensors = [*self.network.parameters(), *self.ema.network.parameters()]
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
            f"start again with a smaller --lr (it was {self.config.optimizer.lr:g}) or --precision no"
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
                by_timestep = self.validation_loss()
                row |= {"val_loss": sum(by_timestep) / len(by_timestep), "loss_by_timestep": by_timestep}
                if self.conditions is not None:
                    without = self.validation_loss(withheld=True)
                    row["val_loss_unconditional"] = sum(without) / len(without)
            self.run.append_metrics(row)
            numbers = {key: value for key, value in row.items() if isinstance(value, float)}
            self.accelerator.log(numbers, step=self.step)

    @torch.no_grad()
    def validation_loss(self, withheld: bool = False) -> list[float]:
        """Mean loss of the EMA weights on the held-out images in each of TIMESTEP_BINS equal ranges of timesteps.

        Images, timesteps and noise are the same at every call.

        Args:
            withheld: leave the network without the images' conditions.
        """
        # Few images are used several times, so that every bin is measured.
        count = max(len(self.held_out), 4 * TIMESTEP_BINS)
        timesteps = self.loss.schedule.num_timesteps
        generator = torch.Generator().manual_seed(stream_seed(self.config.seed, 2))
        noise = torch.randn(count, *self.held_out.shape[1:], generator=generator)
        # Timesteps cover the schedule evenly, each bin by as many images as any other.
        t = ((torch.randperm(count, generator=generator) + 0.5) / count * timesteps).long()
        losses = []
        for part in torch.arange(count).split(256):
            images = part % len(self.held_out)
            x0 = self.held_out[images.to(self.device)].float() / 127.5 - 1
            known = self.held_out_conditions
            condition = None if known is None or withheld else known.of(images)
            with self.accelerator.autocast():
                values = self.loss(self.ema.network, x0, noise[part].to(self.device), t[part], condition)
            losses.append(values.float().cpu())
        values = torch.cat(losses).double()
        bin_count = min(TIMESTEP_BINS, timesteps)
        bins = t * bin_count // timesteps
        sums = torch.zeros(bin_count, dtype=torch.float64).index_add_(0, bins, values)
        return (sums / torch.bincount(bins, minlength=bin_count)).tolist()

    def write_samples(self) -> None:
        """Write sample grids of the EMA weights and of the raw ones, from the same noise at every call."""
        assert self.config.image_shape is not None
        numbers = range(self.config.log.sample_images)
        noise = SeededNoise(0, self.config.image_shape, numbers)
        condition = None
        if self.config.network.conditional:
            from .conditioning import in_turn

            condition = in_turn(self.config.condition, numbers).to(self.device)
        for suffix, network in (("", self.ema.network), ("-raw", self.network)):
            denoiser = make_denoiser(network, self.config.diffusion)
            guided = denoiser if condition is None else ClassifierFreeGuidance(denoiser, SAMPLE_GUIDANCE)
            timesteps = sampling_timesteps(denoiser.schedule, min(SAMPLE_STEPS, denoiser.schedule.num_timesteps))
            with self.accelerator.autocast():
                *_, last = dpmpp_2m(guided, noise.initial(self.device), timesteps, denoiser.schedule, condition)
            grid = montage(to_uint8(last.x))
            with atomic(self.run.path / SAMPLES / f"step-{self.step:08d}{suffix}.png") as temporary:
                temporary.write_bytes(png_bytes(grid, {"run": self.run.name, "step": self.step, "seed": 0}))
            for tracker in self.accelerator.trackers:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({f"samples{suffix}": enlarge(grid, 2)[None]}, step=self.step, **layout)

    def save(self) -> None:
        """Save the state, then the weights. A kill at any moment leaves the previous files whole."""
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
        save_state(self.run.path / STATE, self.network, self.ema.network, self.optimizer, progress)
        self._write_model()

    def _write_model(self) -> None:
        network = self.ema.network
        weights = plain_weights(network) if self.config.init.lora_rank else network.state_dict()
        self.run.write_model(weights, self.config)

    def _restore(self) -> None:
        """Go back to the last saved state, if there is one, and forget what was logged after it."""
        for leftover in self.run.path.rglob("*.tmp-*") if self.is_main else ():
            leftover.unlink()
        state = self.run.path / STATE
        if state.is_file():
            progress = load_state(state, self.network, self.ema.network, self.optimizer)
            self.step, self.seconds = progress["step"], progress["seconds"]
            self._losses = [torch.tensor(loss, device=self.device) for loss in progress["losses"]]
            self._grad_norms = [torch.tensor(norm, device=self.device) for norm in progress["grad_norms"]]
            if self.accelerator.scaler is not None and progress["scaler"]:
                self.accelerator.scaler.load_state_dict(progress["scaler"])
            if self.is_main:  # a kill may have come between the state and the weights
                self._write_model()
        if self.is_main:
            self.run.truncate_metrics(self.step)

    def fit(self, time_limit: float | None = None) -> bool:
        """Train until the configured number of steps, or until interrupted or out of time; save at the end.

        Args:
            time_limit: minutes, or None.

        Returns:
            Whether all steps are done.
        """
        log, total = self.config.log, self.config.optimizer.steps
        size = self.config.optimizer.batch_size
        started = time.monotonic()
        before = self.seconds
        progress = tqdm(
            total=total * size,
            initial=self.images_seen,
            unit="img",
            unit_scale=True,
            desc=self.run.name,
            disable=not self.is_main,
            smoothing=0.05,
        )
        with _signals() as caught, progress, ExitStack() as at_the_end:
            at_the_end.callback(self._release)
            while self.step < total:
                self.train_step()
                self.seconds = before + time.monotonic() - started
                progress.update(size)
                last = self.step == total
                evaluate = last or self.step % log.eval_every == 0
                if evaluate or self.step % log.log_every == 0:
                    if self.is_main:
                        progress.set_postfix(loss=f"{float(self._losses[-1]):.4f}", refresh=False)
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
        """Whether any process says so; all must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum").item())


def _report_skipped(skipped: list[str]) -> None:
    for problem in skipped:
        print(f"skipped {problem}")
    if skipped:
        print(f"skipped {len(skipped)} unreadable images in all")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals SIGINT and SIGTERM received meanwhile; a second one ends the process as usual."""
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
