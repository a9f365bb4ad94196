"""Devices: which there are, what they are called, and their fastest precision."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .extras import missing_extra, require_extra
from .machine import machine_memory
from .text import counted, shorten

if TYPE_CHECKING:
    from accelerate import PartialState

# Parameters of glibc's mallopt (malloc.h), and the largest value it accepts.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = 2**31 - 1
WITH_MEMORY = ("cuda", "xpu")  # kinds of devices whose memory is their own


def finish(device: torch.device) -> None:
    """Wait until an accelerator has done its queued work, which it computes while Python goes on."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to ``device``; a copy to a CUDA GPU does not wait for the work queued there."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def best_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def device_called(name: str | None) -> torch.device:
    """Return the device with a name such as cpu or cuda:1; the best one for None.

    Raises:
        ValueError: this machine has no such device.
    """
    best = best_device()
    if name is None:
        return best
    with suppress(RuntimeError, AssertionError, NotImplementedError):
        device = torch.empty(0, device=name).device
        if device.type in ("cpu", best.type):  # others exist, such as "meta", but not to compute
            return device
    there = " or ".join(dict.fromkeys(["cpu", best.type]))
    raise ValueError(f"device={shorten(repr(name), 60)}: this machine has no such device; choose {there}")


@dataclass(frozen=True)
class OnlyProcess:
    """The state of a process that no other was launched with, as :class:`accelerate.PartialState` has it."""

    device: torch.device
    process_index: int = 0
    num_processes: int = 1
    is_main_process: bool = True

    def main_process_first(self) -> AbstractContextManager[None]:
        """Return a context that waits for nothing."""
        return nullcontext()


def process_state() -> PartialState | OnlyProcess:
    """Return this process's rank among those launched together, and its device; the first call joins it to the others.

    Accelerate joins CPU processes only if it is told to use the CPU. Otherwise each would take itself for the only one, and all
    would write the same files.

    Raises:
        ValueError: there are others, and Accelerate is not installed.
    """
    if missing_extra("train") and os.environ.get("WORLD_SIZE", "1") == "1":
        return OnlyProcess(best_device())
    require_extra("train")
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or best_device().type == "cpu")


def hardware(device: torch.device) -> str:
    """Return the name of a device's hardware, without which measured times mean nothing."""
    if device.type in WITH_MEMORY:
        return torch.get_device_module(device).get_device_name(device)
    return f"{processor()}, {counted(torch.get_num_threads(), 'thread') if device.type == 'cpu' else device.type}"


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory that a device has; Apple's GPUs may use a part of the machine's, and the CPU all of it."""
    if device.type in WITH_MEMORY:
        return torch.get_device_module(device).get_device_properties(device).total_memory
    return torch.mps.recommended_max_memory() if device.type == "mps" else machine_memory()


def peak_device_memory(device: torch.device) -> int:
    """Return the largest number of bytes of a device's memory in use so far, as far as it says; 0 if it says nothing."""
    if device.type in WITH_MEMORY:
        return torch.get_device_module(device).max_memory_allocated(device)
    return torch.mps.driver_allocated_memory() if device.type == "mps" else 0  # which keeps what was freed


def processor() -> str:
    """Return the processor's name, or its architecture if it has none."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware computes bfloat16 natively, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Processors without these instructions emulate bfloat16, several times slower than float32.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the precision of sampling: bfloat16 on CPUs that compute it fast, else float32.

    On a GPU float32 gives the CPU's images; bfloat16 saves 9 to 21 % of the time of replayed networks and none call by call
    (``benchmarks/README.md``).
    """
    return torch.bfloat16 if device.type == "cpu" and has_fast_bfloat16(device) else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Return a context of mixed bfloat16, disabled where the hardware has none, because torch would warn."""
    fast = has_fast_bfloat16(device)
    return torch.autocast(device.type, dtype=torch.bfloat16 if fast else torch.float32, enabled=fast)


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for later ones.

    By default glibc returns large blocks to the system as soon as they are free, and the next layer's blocks must be mapped in
    again page by page. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; on Windows there is no library without a name
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, NEVER)
