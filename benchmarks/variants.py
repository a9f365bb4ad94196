"""Other ways to run a network than call by call: captured as a CUDA graph, and compiled; the same for ours and for others'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3  # calls before a capture: libraries choose their kernels then


@torch.no_grad()
def captured(network: nn.Module, x: Tensor) -> Callable[..., Any]:
    """The network captured on states of the shape of ``x``; replaying launches all its kernels at once.

    Raises:
        ValueError: a device that has no graphs.
    """
    if x.device.type != "cuda":
        raise ValueError(f"a network on {x.device.type} cannot be captured: CUDA graphs need a CUDA device")
    x_t, t = x.clone(), torch.zeros(1, device=x.device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            network(x_t, t)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = network(x_t, t)

    def call(x: Tensor, timestep: Tensor, condition: None = None) -> Any:
        x_t.copy_(x)
        t.copy_(timestep)
        graph.replay()
        return output  # both samplers compute with it before the next call

    # A graph knows the addresses of the weights, not the network: without it they would be freed, and other tensors read.
    call.network = network  # type: ignore[attr-defined]
    return call


def compiled(network: nn.Module, mode: str = "reduce-overhead") -> nn.Module:
    """The network, compiled in place at its first call for each shape; by default as a CUDA graph too."""
    network.compile(mode=mode, dynamic=False)
    return network
