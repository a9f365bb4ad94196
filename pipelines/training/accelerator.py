"""Accelerate, set up for a run: precision, accumulation, and a batch that can be divided; and its optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..common.devices import has_fast_bfloat16, process_state
from ..storage.config import OptimizerConfig, RunConfig
from .trackers import refuse_unusable


def make_accelerator(config: RunConfig, trackers: Sequence[str] = ()) -> Accelerator:
    """Return an Accelerator with the run's precision, after checking that the trackers can be used.

    Raises:
        ValueError: the hardware lacks the precision, a tracker cannot be used, or the batch cannot be divided equally.
    """
    refuse_unusable(trackers if process_state().is_main_process else ())
    precision = config.optimizer.precision
    device = process_state().device
    if precision == "auto":
        precision = "bf16" if has_fast_bfloat16(device) else "no"
    if precision == "fp16" and device.type not in ("cuda", "xpu"):  # whose gradients can be scaled
        raise ValueError(
            "precision=fp16 needs a GPU of NVIDIA, AMD or Intel, and this machine has none: choose bf16, no or auto"
        )
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=config.optimizer.accumulation,
    )
    parts = accelerator.num_processes * config.optimizer.accumulation
    if config.optimizer.batch_size % parts:
        raise ValueError(
            f"batch_size={config.optimizer.batch_size} cannot be split into {parts} equal parts "
            f"({accelerator.num_processes} processes, accumulation {config.optimizer.accumulation}): choose a multiple of "
            f"{parts}"
        )
    return accelerator


def own_parts(accelerator: Accelerator, config: OptimizerConfig) -> Iterator[slice]:
    """Yield the rows of a batch in each part of this process's share: ``config.accumulation`` parts of equal size."""
    count = config.accumulation
    size = config.batch_size // (accelerator.num_processes * count)
    first = accelerator.process_index * count
    yield from (slice(part * size, (part + 1) * size) for part in range(first, first + count))


def scaler_state(accelerator: Accelerator) -> dict[str, int | float] | None:
    """Return a copy of the state of the loss scaler of fp16; None without one."""
    return None if accelerator.scaler is None else dict(accelerator.scaler.state_dict())


def restore_scaler(accelerator: Accelerator, state: Mapping[str, int | float] | None) -> None:
    """Restore what :func:`scaler_state` has returned; with another precision than then, do nothing."""
    if accelerator.scaler is not None and state:
        accelerator.scaler.load_state_dict(dict(state))


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Return whether the flag is set in any process; all must leave a loop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum").item())


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return a run's optimiser of the network in training, which is on its device."""
    return adamw(network, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def adamw(network: nn.Module, **options: Any) -> torch.optim.AdamW:
    """Return AdamW with these options for the trainable parameters of a network on its device, fused where that is possible."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, fused=parameters[0].device.type in ("cpu", "cuda"), **options)
