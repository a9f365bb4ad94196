"""Gradients of the networks that come with Noisescope, in bfloat16 and compiled, on the accelerator."""

from __future__ import annotations

import pytest
import torch

from pipelines.common.devices import autocast
from unets.attention import AttentionUNet
from unets.baseline import BaselineUNet

pytestmark = pytest.mark.gpu

BATCH = 256
NETWORKS = {
    "baseline, 32×32": (BaselineUNet, (1, 32, 32), {}),
    "attention, 32×32": (AttentionUNet, (1, 32, 32), {}),
    "attention, 64×64 in patches": (
        AttentionUNet,
        (3, 64, 64),
        {"channels": (96, 128, 192), "attention_levels": (1, 2), "patch_size": 2},
    ),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_in_bfloat16_are_those_of_float32(accelerator_device, network, compiled):
    """Kernels are chosen by shape, so the shapes are those of real trainings."""
    kind, shape, options = NETWORKS[network]
    torch.manual_seed(0)
    model = kind(shape[0], **options)
    with torch.no_grad():
        for parameter in model.parameters():  # layers that start at zero would hide what is wrong behind them
            parameter.add_(0.02 * torch.randn_like(parameter))
    model = model.to(accelerator_device, memory_format=torch.channels_last)
    x, target = torch.randn(2, BATCH, *shape, device=accelerator_device)
    t = torch.linspace(0, 999, BATCH, device=accelerator_device)

    def gradients(call):
        model.zero_grad()
        (call(x, t).float() - target).square().mean().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected = gradients(model)
    with autocast(accelerator_device):
        found = gradients(torch.compile(model, dynamic=False) if compiled else model)
    wrong = {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}
    assert max(wrong.values()) < 0.1, sorted(wrong.items(), key=lambda item: -item[1])[:5]
