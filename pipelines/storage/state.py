"""State for an exact resume, in one safetensors file: tensors, and progress as JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..common.json_files import parse_json
from ..common.reading import UnreadableError
from .weights import read_tensors, write_tensors

SLOTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of each parameter


class Learner(NamedTuple):
    """A network in training and its optimiser."""

    network: nn.Module
    optimizer: torch.optim.Optimizer


def save_state(path: Path, learners: Mapping[str, Learner], average: nn.Module, progress: dict[str, Any]) -> None:
    """Write weights, optimiser states, a moving average and ``progress`` (JSON), whole or not at all.

    Args:
        learners: networks and optimisers, by the prefix of their tensors' names.
        average: the moving average of the main network's weights.
    """
    tensors = {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}
    for prefix, (network, optimizer) in learners.items():
        tensors |= {f"{prefix}network.{name}": tensor for name, tensor in network.state_dict().items()}
        for name, parameter in network.named_parameters():
            for slot, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{prefix}optimizer.{slot}.{name}"] = value
    write_tensors(path, tensors, {"progress": json.dumps(progress)})


def read_progress(path: Path) -> dict[str, Any]:
    """Return the progress recorded in a saved state."""
    return parse_json(read_tensors(path)[1]["progress"], str(path))


def load_state(path: Path, learners: Mapping[str, Learner], average: nn.Module) -> dict[str, Any]:
    """Restore a saved state and return its progress; the arguments are those of :func:`save_state`.

    Raises:
        ValueError: the file is damaged, or from another program or network.
    """
    tensors, metadata = read_tensors(path)
    try:
        _load(average, "ema.", tensors)
        for prefix, learner in learners.items():
            _load(learner.network, f"{prefix}network.", tensors)
            _load_slots(learner, f"{prefix}optimizer.", tensors)
        return parse_json(metadata["progress"], str(path))
    except (KeyError, TypeError, RuntimeError, UnreadableError) as error:
        raise ValueError(f"{path} is not a saved state of this run: train a new run") from error


def _load(network: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    network.load_state_dict({key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)})


def _load_slots(learner: Learner, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    network, optimizer = learner
    for name, parameter in network.named_parameters():
        if f"{prefix}step.{name}" in tensors:
            step, *averages = (tensors[f"{prefix}{slot}.{name}"] for slot in SLOTS)
            if optimizer.param_groups[0].get("fused"):  # a fused optimiser counts on the device
                step = step.to(parameter.device)
            layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
            averages = [value.to(parameter.device).contiguous(memory_format=layout) for value in averages]
            optimizer.state[parameter] = dict(zip(SLOTS, (step, *averages), strict=True))
