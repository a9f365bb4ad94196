"""A device that only pretends to be one: its tensors say that they are on it and are computed on the CPU, by stricter rules.

As on Apple's GPUs, there is no float64. As on every accelerator, tensors of two devices do not meet, except single numbers of
the CPU; even those must not be float64 here, since some operations of MPS refuse them.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")  # what PyTorch's own code takes the device for: one that needs no hardware
MEMORY = 2**34  # bytes
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Pretended(torch.Tensor):
    """A tensor on the pretended device; its content is on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, content: torch.Tensor, where: torch.device) -> Pretended:
        if content.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"a tensor of {content.dtype} on {where}, which has no float64")
        layout = {"strides": content.stride(), "storage_offset": content.storage_offset(), "dtype": content.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, content.size(), device=META, requires_grad=False, **layout)
        made.content, made.where = content, where
        return made

    @property
    def device(self) -> torch.device:
        return self.where

    is_meta = False

    def __repr__(self) -> str:
        return f"Pretended({self.content!r}, {self.where})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise AssertionError(f"{operation} outside of the time in which the device is pretended")


def _each(change, value):
    """Change a value, or each of those in a list or tuple."""
    return type(value)(_each(change, part) for part in value) if type(value) in (list, tuple) else change(value)


class _Named(TorchFunctionMode):
    """Lets PyTorch take the device's name for that of one which it knows."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].content.tolist()

        def known(leaf):
            named = isinstance(leaf, torch.device) and leaf.type == self.device.type
            return META if named or (isinstance(leaf, str) and leaf == self.device.type) else leaf

        return function(*map(known, args), **{name: known(value) for name, value in (kwargs or {}).items()})


class _Computed(TorchDispatchMode):
    """Computes on the CPU what is asked of the device, after checking it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given: list[torch.Tensor] = []

        def content(value):
            if isinstance(value, torch.Tensor):
                given.append(value)
            return value.content if isinstance(value, Pretended) else value

        plain, options = _each(content, args), {name: _each(content, value) for name, value in kwargs.items()}
        there = any(isinstance(leaf, Pretended) for leaf in given)
        if there and operation not in MOVES:
            self._refuse_mixture(operation, given)
        if kwargs.get("device") is not None:
            there = kwargs["device"] == META
            options["device"] = torch.device("cpu")
        if operation is torch.ops.aten.copy_.default:
            there = isinstance(args[0], Pretended)
        contents = {id(leaf.content): leaf for leaf in given if isinstance(leaf, Pretended)}
        result = operation(*plain, **options)

        def placed(leaf):
            if not (there and isinstance(leaf, torch.Tensor)):
                return leaf
            return contents[id(leaf)] if id(leaf) in contents else Pretended(leaf, self.device)

        return _each(placed, result)

    def _refuse_mixture(self, operation, given) -> None:
        for leaf in given:
            if not isinstance(leaf, Pretended) and (leaf.ndim or leaf.dtype == torch.float64):
                raise RuntimeError(f"{operation} of a tensor on {self.device} and one of {leaf.dtype} on the CPU")


class _Generator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@contextmanager
def pretending(monkeypatch, kind: str):
    """Yield a device of a kind that this machine lacks; its random generators are the CPU's."""
    device = torch.device(kind)
    told = SimpleNamespace(get_device_name=lambda where: kind.upper(), max_memory_allocated=lambda where: MEMORY // 2)
    told.get_device_properties = lambda where: SimpleNamespace(total_memory=MEMORY)
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(torch, "get_device_module", lambda where: told)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: MEMORY)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: MEMORY // 2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: device)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda where: None)
    with _Named(device), _Computed(device):
        yield device
