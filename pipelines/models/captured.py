"""Network calls captured as CUDA graphs, whose kernels are launched all at once instead of one by one from Python.

The networks of this project are small, and a GPU computes their layers faster than Python can launch them. A capture takes
about as long as four calls. A network is therefore called eagerly :data:`CALLS_BEFORE` times with inputs of one kind before
that kind is captured, so that inputs that come a few times only, such as a last batch that is smaller than the others, never
cost more than twice their eager calls. At most :data:`MOST_GRAPHS` graphs and :data:`MOST_BYTES` of a device's memory are kept
(an eighth of the memory of smaller devices); the graphs used least recently go first, and all go before memory runs out.

The eager call is the truth: the first replay of a graph is compared with it, and what cannot be captured remains eager.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_core.condition import Condition
from unets.blocks import CrossAttention

from ..common.command_line import describe, out_of_memory
from ..common.devices import device_memory

CALLS_BEFORE = 4
MOST_GRAPHS = 16
MOST_BYTES = 2**30
CLOSE = {"rtol": 1e-2, "atol": 1e-2}  # a replay may take other kernels than the eager call

Owner = weakref.ref[nn.Module]
Inputs = tuple[Tensor, ...]


class Graph:
    """One call of a network, captured with memory of its own for its inputs, its layers and its output.

    Args:
        call: the network's eager call.
        stream: the stream on which to capture.
        x_t, t, condition: the inputs of this call; later ones must have the same shapes and types.

    Raises:
        RuntimeError: the network does what a graph cannot repeat, such as waiting for the device, or memory runs out.

    Attributes:
        nbytes: bytes of the device's memory that the graph holds.
    """

    def __init__(
        self, call: Callable[..., Tensor], stream: torch.cuda.Stream, x_t: Tensor, t: Tensor, condition: Condition | None
    ) -> None:
        device = x_t.device
        # Filled with zeros, so that a graph that kept values instead of reading its inputs would be found out.
        self._x_t, self._t = torch.zeros_like(x_t), torch.zeros_like(t, device=device)
        self._condition = None if condition is None else condition.map(torch.zeros_like)
        self._inputs = _tensors(self._x_t, self._t, self._condition)
        self._given: Condition | None = None  # whose tensors the inputs hold
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            pool = torch.cuda.graph_pool_handle()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # torch would not leave it after a capture that fails
                expected = call(x_t, t, condition)  # here, so that libraries take their workspaces outside the graph's memory
                torch.cuda.synchronize()
                torch.cuda.empty_cache()  # as a capture does, before the memory is counted
                before = torch.cuda.memory_reserved()
                with _given_up(pool, device), torch.cuda.graph(self._graph, pool, stream, capture_error_mode="thread_local"):
                    self._output = call(self._x_t, self._t, self._condition)
                layers = torch.cuda.memory_reserved() - before
        self.nbytes = layers + sum(part.nbytes for part in self._inputs)
        if not torch.allclose(self.replay(x_t, t, condition), expected, **CLOSE, equal_nan=True):
            raise RuntimeError("the captured call computes something else than the eager one")

    def replay(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        """Return the network's output for other inputs of the same kind."""
        same = condition is self._given  # in every step of a request
        for own, given in zip(self._inputs, _tensors(x_t, t, None if same else condition), strict=not same):
            own.copy_(given, non_blocking=True)
        self._given = condition
        self._graph.replay()
        return self._output.clone()  # the next replay overwrites it


class Graphs:
    """The graphs of all networks of this process, the one used last at the end.

    Attributes:
        lock: held while a graph is captured, found and replayed, because its inputs have only one place.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a network may be freed, and its graphs with it, while the lock is held
        self._kept: OrderedDict[tuple[Owner, Hashable], Graph] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the graphs hold."""
        return sum(graph.nbytes for graph in list(self._kept.values()))

    def find(self, owner: Owner, kind: Hashable) -> Graph | None:
        """Return the graph of a network for inputs of one kind, if it has been kept."""
        with self.lock:
            graph = self._kept.get((owner, kind))
            if graph is not None:
                self._kept.move_to_end((owner, kind))
            return graph

    def keep(self, owner: Owner, kind: Hashable, graph: Graph, most_bytes: int) -> bool:
        """Keep a graph, and drop those used least recently beyond the bounds; return False if it exceeds them by itself."""
        if graph.nbytes > most_bytes:
            return False
        with self.lock:
            self._kept[owner, kind] = graph
            while len(self) > MOST_GRAPHS or self.nbytes > most_bytes:
                self._kept.popitem(last=False)
        return True

    def forget(self, owner: Owner) -> None:
        """Drop the graphs of a network, which may be gone."""
        with self.lock:
            for key in [key for key in self._kept if key[0] is owner]:
                del self._kept[key]

    def clear(self) -> bool:
        """Drop all graphs, for other use of their memory; return whether there were any."""
        with self.lock:
            found = bool(self._kept)
            self._kept.clear()
            return found


GRAPHS = Graphs()


def capture_calls(network: nn.Module) -> None:
    """Let a network on a CUDA device, whose weights do not change, replay captured calls in place of its own."""
    network.forward = CapturedForward(network)


class CapturedForward:
    """The ``forward`` of a network that captures its calls; hooks of the network itself run before and after it.

    Calls stay eager where a graph would leave something out: a gradient, what is recorded within the network (attention, tensor
    memory), autocast, training, and streams other than the usual one, which graphs would have to wait for.

    Attributes:
        call: the ``forward`` of the network's class, or its compiled form, called with the network first.
    """

    def __init__(self, network: nn.Module) -> None:
        self.call: Callable[..., Tensor] = type(network).forward
        self._owner = weakref.ref(network, GRAPHS.forget)  # no cycle, so that a dropped model is freed at once
        self._calls: Counter[Hashable] = Counter()
        self._never: set[Hashable] = set()
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Predict from x_t (B, C, H, W) at timesteps t, (B,) or (1,), as the network does."""
        network = self._owner()
        assert network is not None
        if torch.compiler.is_compiling() or not can_replay(x_t) or network.training or self._records():
            return self._eager(x_t, t, condition)
        kind = kind_of(network, x_t, t, condition)
        with GRAPHS.lock:
            graph = GRAPHS.find(self._owner, kind)
            if graph is None and self._pays(kind):
                graph = self._captured(kind, x_t, t, condition)
            if graph is not None:
                return graph.replay(x_t, t, condition)
        return self._eager(x_t, t, condition)

    def __deepcopy__(self, memo: dict[int, Any]) -> CapturedForward:
        """Return the ``forward`` of the copy of the network, which is being made."""
        return CapturedForward(memo[id(self._owner())])

    def _eager(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        try:
            return self._call(x_t, t, condition)
        except RuntimeError as error:
            if not out_of_memory(error) or not GRAPHS.clear():
                raise
        return self._call(x_t, t, condition)

    def _call(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        return self.call(self._owner(), x_t, t, condition)

    def _records(self) -> bool:
        return any(layer.maps is not None for layer in self._attending)

    @cached_property
    def _attending(self) -> list[CrossAttention]:
        network = self._owner()
        assert network is not None
        return [layer for layer in network.modules() if isinstance(layer, CrossAttention)]

    def _pays(self, kind: Hashable) -> bool:
        """Count a call without a graph, and return whether there have been enough to capture the next."""
        if kind in self._never:
            return False
        self._calls[kind] += 1
        return self._calls[kind] > CALLS_BEFORE

    def _captured(self, kind: Hashable, x_t: Tensor, t: Tensor, condition: Condition | None) -> Graph | None:
        """Capture a call; None, with a line in the log, where that fails."""
        del self._calls[kind]  # an evicted graph is not captured anew until that pays
        most_bytes = min(MOST_BYTES, device_memory(x_t.device) // 8)
        try:
            if self._stream is None:
                self._stream = new_stream(x_t.device)
            graph = Graph(self._call, self._stream, x_t, t, condition)
        except Exception as error:  # a network of another library may do anything, and drivers raise many kinds of errors
            self._stream = None  # whose state after a failed capture is not known
            told = describe(error.__context__ or error)  # an error that ends a capture does not say what happened in it
            if out_of_memory(error):
                GRAPHS.clear()
        else:
            if GRAPHS.keep(self._owner, kind, graph, most_bytes):
                return graph
            told = f"its graph takes {graph.nbytes >> 20:,} MiB, and {most_bytes >> 20:,} MiB are allowed"
        self._never.add(kind)
        logging.getLogger(__name__).warning("a network is called without a CUDA graph for %s: %s", tuple(x_t.shape), told)
        return None


@contextmanager
def _given_up(pool: tuple[int, int], device: torch.device) -> Iterator[None]:
    """Let a capture that fails give up its pool of memory, which torch leaves open, so that its memory would never be freed."""
    try:
        yield
    except BaseException:
        with suppress(RuntimeError):  # it may have failed before the pool was opened, or after it was closed
            torch._C._cuda_endAllocateToPool(device.index, pool)
            torch._C._cuda_releasePool(device.index, pool)
        raise


def new_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a stream on which to capture."""
    return torch.cuda.Stream(device)


def can_replay(x_t: Tensor) -> bool:
    """Return whether the current call may be a replay: on a CUDA device's usual stream, with nothing that watches it."""
    return (
        x_t.is_cuda
        and not torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cuda")
        and not torch._C._len_torch_dispatch_stack()  # which counts memory, say
        and torch.cuda.current_stream(x_t.device) == torch.cuda.default_stream(x_t.device)
    )


def kind_of(network: nn.Module, x_t: Tensor, t: Tensor, condition: Condition | None) -> Hashable:
    """Return what a graph or a compiled call is for: which inputs, of which shapes and types, and where the weights are."""
    parts = (
        ()
        if condition is None
        else tuple(None if part is None else (part.shape, part.dtype) for part in vars(condition).values())
    )
    return x_t.device, x_t.shape, x_t.dtype, t.shape, t.dtype, parts, next(network.parameters()).data_ptr()


def _tensors(x_t: Tensor, t: Tensor, condition: Condition | None) -> Inputs:
    parts = () if condition is None else vars(condition).values()
    return (x_t, t, *(part for part in parts if part is not None))
