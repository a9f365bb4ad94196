"""State for an exact resume, in one safetensors file: tensors, and the point reached as JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from ..common.json_files import parse_json
from .weights import first_not_finite, open_tensors, read_tensors, write_tensors

SLOTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of each parameter
POINT = "progress"  # the key in the header


class Learner(NamedTuple):
    """A network in training and its optimiser."""

    network: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class ResumePoint:
    """The point of a training at which its state was saved.

    Attributes:
        step: optimiser steps done.
        seconds: training time so far.
        losses, grad_norms: of the steps since the last line of the log.
        scaler: state of the loss scaler of fp16; None without one.
    """

    step: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    losses: list[Annotated[float, Field(allow_inf_nan=False)]]
    grad_norms: list[float]
    scaler: dict[str, int | float] | None = None  # torch refuses a growth interval of 2000.0


_POINT = TypeAdapter(ResumePoint)


def state_tensors(learners: Mapping[str, Learner], averages: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the tensors of a state by name.

    Args:
        learners: networks and optimisers, by the prefix of their tensors' names.
        averages: moving averages of the main network's weights, likewise.
    """
    tensors = {f"{prefix}{name}": value for prefix, part in averages.items() for name, value in part.state_dict().items()}
    for prefix, (network, optimizer) in learners.items():
        tensors |= {f"{prefix}network.{name}": tensor for name, tensor in network.state_dict().items()}
        for name, parameter in network.named_parameters():
            for slot, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{prefix}optimizer.{slot}.{name}"] = value
    return tensors


def save_state(path: Path, tensors: Mapping[str, Tensor], point: ResumePoint) -> None:
    """Write the tensors of :func:`state_tensors` and the point reached, whole or not at all."""
    write_tensors(path, tensors, {POINT: json.dumps(asdict(point))})


def read_resume_point(path: Path) -> ResumePoint:
    """Return the point recorded in a saved state.

    Raises:
        ValueError: the file is damaged, or from another program.
    """
    return _parse_point(read_tensors(path)[1])


def refuse_damaged(path: Path, instead: str) -> None:
    """Raise ValueError if a saved state is plainly damaged, as its header and its size tell; see :func:`load_state`."""
    try:
        with open_tensors(path, "numpy") as file:
            _parse_point(file.metadata() or {})
    except ValueError as error:
        raise ValueError(f"{path} cannot be resumed from: {error}; {instead}") from error


def load_state(path: Path, learners: Mapping[str, Learner], averages: Mapping[str, nn.Module], instead: str) -> ResumePoint:
    """Restore a saved state and return the point at which it was saved; a state that does not fit leaves everything as it was.

    Args:
        path: the file.
        learners, averages: as for :func:`state_tensors`.
        instead: what to do if the state cannot be restored, for the error message.

    Raises:
        ValueError: the file is damaged, from another program or network, or contains numbers that are not finite.
    """
    try:
        tensors, metadata = read_tensors(path)
        _refuse_misfits(tensors, learners, averages)
        point = _parse_point(metadata)
    except ValueError as error:
        raise ValueError(f"{path} cannot be resumed from: {error}; {instead}") from error
    for prefix, average in averages.items():
        _load(average, prefix, tensors)
    for prefix, learner in learners.items():
        _load(learner.network, f"{prefix}network.", tensors)
        _load_slots(learner, f"{prefix}optimizer.", tensors)
    return point


def _parse_point(metadata: Mapping[str, str]) -> ResumePoint:
    if POINT not in metadata:
        raise ValueError("it is another program's file")
    try:
        return _POINT.validate_python(parse_json(metadata[POINT]))
    except ValueError as error:
        raise ValueError("the step and the losses in its header are damaged") from error


def _refuse_misfits(tensors: Mapping[str, Tensor], learners: Mapping[str, Learner], averages: Mapping[str, nn.Module]) -> None:
    """Raise ValueError if a tensor is missing, unexpected, of another shape or type, or not finite."""
    expected = dict(_expected(tensors, learners, averages))
    found = {name: _kind(tensor) for name, tensor in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(f"{name} should be {expected.get(name, 'absent')} and is {found.get(name, 'absent')}")
    if broken := first_not_finite(tensors):
        raise ValueError(f"{broken} contains NaN or infinite numbers")


def _kind(tensor: Tensor) -> str:
    """Return the shape and the type of a tensor, for comparisons and messages."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _expected(
    tensors: Mapping[str, Tensor], learners: Mapping[str, Learner], averages: Mapping[str, nn.Module]
) -> Iterator[tuple[str, str]]:
    """Yield the name and the kind of each tensor of a state that fits; a parameter has all its averages or none."""
    for prefix, average in averages.items():
        yield from ((f"{prefix}{name}", _kind(tensor)) for name, tensor in average.state_dict().items())
    for prefix, (network, _) in learners.items():
        yield from ((f"{prefix}network.{name}", _kind(tensor)) for name, tensor in network.state_dict().items())
        for name, parameter in network.named_parameters():
            slots = [f"{prefix}optimizer.{slot}.{name}" for slot in SLOTS]
            if parameter.requires_grad and any(slot in tensors for slot in slots):
                kinds = (_kind(torch.zeros(())), _kind(parameter), _kind(parameter))
                yield from zip(slots, kinds, strict=True)


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
