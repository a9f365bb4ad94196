"""Networks captured as CUDA graphs, or compiled; the same for our networks and for those of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3  # calls before a capture, in which libraries choose their kernels


@torch.no_grad()
def captured(network: nn.Module, x: Tensor) -> Callable[..., Any]:
    """Capture the network on states of the shape of ``x``; a replay launches all its kernels at once.

    Raises:
        ValueError: the device has no CUDA graphs.
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

    # The graph reads the weights by address. Without this reference they would be freed, and their memory reused.
    call.network = network  # type: ignore[attr-defined]
    return call


def compiled(network: nn.Module, mode: str = "reduce-overhead") -> nn.Module:
    """Compile the network in place, at its first call for each shape; by default also as a CUDA graph."""
    network.compile(mode=mode, dynamic=False)
    return network
