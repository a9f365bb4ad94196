"""Accelerate, set up for a run: precision, accumulation, trackers, and a batch that can be divided; and its optimiser."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn

from ..common.devices import has_fast_bfloat16, process_state
from ..common.images import Pixels
from ..storage.config import OptimizerConfig, RunConfig
from ..storage.runs import Run


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


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Return whether the flag is set in any process; all must leave a loop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum").item())


def track_image(accelerator: Accelerator, name: str, image: Pixels, step: int) -> None:
    """Send an image to the trackers, if there are any."""
    for tracker in accelerator.trackers:
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: image[None]}, step=step, **layout)


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return AdamW for the trainable parameters of a network that is on its device."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        parameters,
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=parameters[0].device.type in ("cpu", "cuda"),
    )
