"""The moving average of the weights: its half-life counts images, and early averages follow quickly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipelines.training.ema import ExponentialMovingAverage


def _network(value: float) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


def _values(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_constant_weights_stay():
    network = _network(0.3)
    average = ExponentialMovingAverage(network, half_life=100, ramp_up=0.05)
    for step in range(1, 50):
        average.update(network, step * 8, 8)
    torch.testing.assert_close(_values(average.network), _values(network), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("half_life", "batch_size"), [(1000, 1), (1000, 10), (512, 64), (64, 64)])
def test_a_step_is_half_followed_after_the_half_life(half_life, batch_size):
    average = ExponentialMovingAverage(_network(0.0), half_life, ramp_up=1e9)
    moved = _network(1.0)
    for step in range(1, half_life // batch_size + 1):
        average.update(moved, step * batch_size, batch_size)
    torch.testing.assert_close(_values(average.network), torch.full_like(_values(moved), 0.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("ramp_up", [0.05, 0.5])
def test_the_half_life_is_at_most_the_share_of_images_seen(ramp_up):
    average = ExponentialMovingAverage(_network(0.0), half_life=100_000, ramp_up=ramp_up)
    for images in (64, 640, 64_000):
        assert average.decay(images, 64) == pytest.approx(0.5 ** (64 / (ramp_up * images)))
    late = 100_000 / ramp_up * 10
    assert average.decay(int(late), 64) == pytest.approx(0.5 ** (64 / 100_000))
    decays = [average.decay(images, 64) for images in range(64, 200_000, 640)]
    assert decays == sorted(decays)
    assert all(0 <= decay < 1 for decay in decays)


def test_the_first_average_all_but_forgets_the_initial_weights():
    average = ExponentialMovingAverage(_network(0.0), half_life=100_000, ramp_up=0.05)
    average.update(_network(1.0), images_seen=64, batch_size=64)
    assert (_values(average.network) > 0.999).all()


def test_the_average_is_another_network_without_gradients():
    network = _network(1.0).train()
    average = ExponentialMovingAverage(network, 10, 0.05)
    average.update(_network(5.0), 8, 8)
    assert (_values(network) == 1).all()
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
