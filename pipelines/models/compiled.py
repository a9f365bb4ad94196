"""Networks compiled for long work, with the uncompiled call as fallback.

Compilation takes up to a minute for each shape of input, and changes nothing but rounding. Only whole batches of sampling are
compiled, without guidance and with it, which asks for twice as many estimates. A last batch that is smaller stays uncompiled,
unless it is guided and exactly half as large.

On a CUDA device the compiled call is captured in place of the network's own (see :mod:`pipelines.models.captured`): it has
fewer kernels, but would launch them one by one, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from diffusion_core.condition import Condition

from ..common.command_line import describe
from ..common.devices import process_state
from ..common.reports import report_progress
from ..storage.cache import adopt_compiler_cache
from .captured import GRAPHS, CapturedForward, kind_of


def can_compile(attempt: Callable[[], object]) -> bool:
    """Make the first call of a compiled network, which compiles it; say in a line whether that worked, and return it."""
    adopt_compiler_cache()
    report_progress("compiling the network")
    started, works = time.monotonic(), True
    try:
        attempt()
        said = f"compiled the network in {time.monotonic() - started:.0f} seconds"
    except Exception as error:  # the compiler raises many kinds of errors
        said, works = f"the network could not be compiled and is used uncompiled: {describe(error)[:300]}", False
    if process_state().is_main_process:
        tqdm.write(said)  # above any progress bar
    return works


def compile_calls(network: nn.Module, batch_size: int) -> None:
    """Let a network whose weights do not change compile its calls for sampling in batches of this size."""
    GRAPHS.clear()  # they may hold kernels that are dropped in the next line
    torch.compiler.reset()  # the compiler has a limit, and what it made for another network would count towards it
    call = CompiledCall(type(network), batch_size)
    if isinstance(network.forward, CapturedForward):
        network.forward.call = call
    else:
        network.forward = MethodType(call, network)


def is_compiled(network: nn.Module) -> bool:
    """Return whether a network's calls are compiled, and could be so far."""
    forward: Any = network.forward
    call = forward.call if isinstance(forward, CapturedForward) else getattr(forward, "__func__", None)
    return isinstance(call, CompiledCall) and call.works


class CompiledCall:
    """The ``forward`` of a class of networks, compiled for whole batches.

    Args:
        network: the class.
        batch_size: images in a whole batch.

    Attributes:
        works: False once a compilation has failed; then nothing is compiled any more.
    """

    def __init__(self, network: type[nn.Module], batch_size: int) -> None:
        self.works = True
        self._plain: Callable[..., Tensor] = network.forward
        self._compiled = torch.compile(self._plain, dynamic=False)
        self._sizes = batch_size, 2 * batch_size
        self._kinds: set[Hashable] = set()

    def __call__(self, network: nn.Module, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Predict from x_t (B, C, H, W) at timesteps t, (B,) or (1,), as the network does."""
        if self.works and self._whole(x_t, t):
            kind = kind_of(network, x_t, t, condition), torch.is_grad_enabled()
            if kind not in self._kinds:
                self._kinds.add(kind)
                self.works = can_compile(lambda: self._compiled(network, x_t, t, condition))
            if self.works:
                return self._compiled(network, x_t, t, condition)
        return self._plain(network, x_t, t, condition)

    def _whole(self, x_t: Tensor, t: Tensor) -> bool:
        """Return whether a call is for a whole batch of sampling, with nothing that watches it, such as a count of memory."""
        return len(x_t) in self._sizes and len(t) == 1 and not torch._C._len_torch_dispatch_stack()
