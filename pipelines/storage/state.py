"""What an exact resume needs, as one file: tensors in safetensors, the few numbers beside them as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .weights import read_tensors, write_tensors

SLOTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW, for each parameter


def save_state(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write weights, their moving average, the optimiser's slots and ``progress`` (JSON), whole or not at all."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{slot}.{name}"] = value
    write_tensors(path, tensors, {"progress": json.dumps(progress)})


def read_progress(path: Path) -> dict[str, Any]:
    """The numbers of a saved state."""
    return json.loads(read_tensors(path)[1]["progress"])


def load_state(path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a saved state back in place and return its numbers.

    Raises:
        ValueError: the file is damaged, another program's, or of another network.
    """
    tensors, metadata = read_tensors(path)
    try:
        for prefix, target in (("network.", network), ("ema.", average)):
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            target.load_state_dict(own)
        for name, parameter in network.named_parameters():
            if f"optimizer.step.{name}" in tensors:
                step, *averages = (tensors[f"optimizer.{slot}.{name}"] for slot in SLOTS)
                if optimizer.param_groups[0].get("fused"):  # it counts where it works
                    step = step.to(parameter.device)
                layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
                averages = [value.to(parameter.device).contiguous(memory_format=layout) for value in averages]
                optimizer.state[parameter] = dict(zip(SLOTS, (step, *averages), strict=True))
        return json.loads(metadata["progress"])
    except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a saved state of this run: train a new run") from error
