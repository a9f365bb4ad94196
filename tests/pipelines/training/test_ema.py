"""The moving average of the weights: its half-life counts images, and early averages follow quickly."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.storage.catalogue import read_catalogue
from pipelines.storage.publishing import publish
from pipelines.storage.weights import read_tensors
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


def test_several_lengths_kept_at_once_equal_runs_of_one_each(train, make_trainer, logged, tmp_path):
    """To the byte of the file, after a stop and a resume too; the shorter one can be sampled, evaluated and published."""
    alone = train(tmp_path / "alone", ema_half_life=16)
    loop = make_trainer(tmp_path / "both", ema_half_life=40, ema_also=(16, 1000))
    step_once = loop.train_step
    loop.train_step = lambda: (step_once(), loop.step == 7 and signal.raise_signal(signal.SIGTERM))
    assert not loop.fit()
    both = train(loop.run.path, config=loop.run.config)
    shorter = both.average(16)
    assert shorter.model_path.read_bytes() == alone.model_path.read_bytes()
    assert both.average(40) == both.average(None) == both
    assert both.model_path.read_bytes() != both.average(1000).model_path.read_bytes()
    assert shorter.name == "both-ema-16"
    with pytest.raises(ValueError, match=r"ema=17: both has averages of 40, 16, 1000 images"):
        both.average(17)
    losses = [[row["val_loss"] for row in logged(alone.path) if "val_loss" in row]]
    losses.append([row["val_loss_ema_16"] for row in logged(both.path) if "val_loss" in row])
    assert losses[0] == losses[1]
    published = publish(both, tmp_path / "published", ema=16)
    everything = publish(both, tmp_path / "everything", averages=True)
    assert everything.half_lives == [40, 16, 1000]
    listed = read_catalogue(tmp_path).models_and_averages(lambda config: True)
    for average, own in zip(everything.averages, both.averages, strict=True):
        weights, original = read_tensors(average.model_path)[0], read_tensors(own.model_path)[0]
        assert all(torch.equal(weights[name], original[name].bfloat16()) for name in original)
        assert listed[average.name].run == average
    everything.averages[0].model_path.write_bytes(b"damaged")
    listed = read_catalogue(tmp_path).models_and_averages(lambda config: True)
    assert {"everything", "everything-ema-1000"} <= set(listed), "each is used without the other"
    assert "everything-ema-16" not in listed
    own = replace(alone.config, data=replace(alone.config.data, data=published.config.data.data))  # without the folder
    assert published.config == own
    assert f"validation loss {losses[0][-1]:.4f}" in (published.path / "README.md").read_text()


def test_an_average_that_is_named_twice_is_refused(small_config):
    for also in ((40,), (16, 16)):
        with pytest.raises(ValueError, match="name each half-life once"):
            small_config(ema_half_life=40, ema_also=also)


def test_the_average_is_another_network_without_gradients():
    network = _network(1.0).train()
    average = ExponentialMovingAverage(network, 10, 0.05)
    average.update(_network(5.0), 8, 8)
    assert (_values(network) == 1).all()
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
