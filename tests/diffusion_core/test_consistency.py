"""Consistency tuning, with networks whose consistency is known."""

import pytest
import torch
from torch import nn

from diffusion_core.consistency import LOUDEST, ConsistencyLoss, earlier_level
from diffusion_core.denoiser import Denoiser
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import ddim
from diffusion_core.schedules import SCHEDULES, make_schedule, sampling_timesteps

IMAGE = torch.tensor([0.5, -0.25, 0.0, 1.0]).view(1, 1, 2, 2)
NOISE = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))


class Constant(nn.Module):
    """Predicts x0 = a·image + b·x_t, by default the only image there is; with a factor, it is not consistent."""

    def __init__(self, factor=0.0):
        super().__init__()
        self.scale, self.factor, self.calls = nn.Parameter(torch.ones(())), factor, []

    def forward(self, x_t, t, condition=None):
        self.calls.append(t)
        return self.scale * IMAGE + self.factor * x_t


def drawn(loss, count=64):
    return loss.sample_timesteps(count, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stage", [1, 4, 8])
def test_the_denoiser_of_a_single_image_is_consistent(name, stage):
    schedule = make_schedule(name, 200)
    loss = ConsistencyLoss(schedule)
    t, images = drawn(loss), IMAGE.expand(64, -1, -1, -1)
    assert loss(Denoiser(Constant(), schedule, "x0"), images, NOISE, t, stage=stage).abs().max() < 1e-6
    assert loss(Denoiser(Constant(0.1), schedule, "x0"), images, NOISE, t, stage=stage).mean() > 1e-2


def test_estimates_beyond_the_data_range_are_consistent_as_well():
    """Clipping only one of the two would make a difference of them, divided by t − r."""
    schedule = make_schedule("cosine", 200)
    loss, network = ConsistencyLoss(schedule), Constant()
    with torch.no_grad():
        network.scale.fill_(3)
    t, images = torch.full((64,), 150), IMAGE.expand(64, -1, -1, -1)
    assert loss(Denoiser(network, schedule, "x0"), images, NOISE, t, stage=8).abs().max() < 1e-6


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_levels_of_a_pair_come_closer_from_stage_to_stage(name):
    schedule = make_schedule(name)
    loss = ConsistencyLoss(schedule)
    t = torch.arange(1, 1000)
    before = None
    for stage in range(1, 13):
        earlier, r, gap = loss.pair(t, stage)
        alpha, sigma = schedule.at(earlier)
        inside = (r > 0) & (loss.levels[t] < LOUDEST)
        assert torch.allclose((sigma / alpha)[inside], r[inside], rtol=1e-6), "the timestep is that of the level"
        assert torch.allclose(loss.levels[t] - r, gap)
        assert (gap > 0).all()
        assert before is None or (gap <= before).all()
        before = gap
    assert (gap / loss.levels[t]).max() < 0.01


def test_the_stages_are_those_of_the_paper():
    """r/t = 1 − n(t)/q^stage with n(t) = 1 + 8/(1 + e^t), q = 2; where that is negative, r = 0."""
    level = torch.tensor([1e-3, 1.0, 80.0], dtype=torch.float64)
    n = 1 + 8 / (1 + level.exp())
    for stage in (1, 3, 8):
        assert torch.allclose(earlier_level(level, stage), (level * (1 - n / 2**stage)).clamp(min=0))
    assert earlier_level(level, 1)[0] == 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_pure_noise_is_seen_in_training(name):
    loss = ConsistencyLoss(make_schedule(name))
    assert loss.probabilities.sum().item() == pytest.approx(1)
    assert loss.probabilities[-1] > 1e-3
    level = loss.levels[drawn(loss, 20000)].log()
    assert level.median().item() == pytest.approx(0, abs=0.1)


def test_where_there_is_no_noise_left_the_target_is_the_image():
    schedule = make_schedule("flow", 200)
    loss = ConsistencyLoss(schedule)
    network = Constant()
    t, images = torch.full((64,), 20), torch.zeros(64, 1, 2, 2)
    error = loss(Denoiser(network, schedule, "x0"), images, NOISE, t, stage=1)
    assert len(network.calls) == 1
    c = 0.00054 * 2
    expected = ((IMAGE.square().sum() + c**2).sqrt() - c) / loss.levels[20]
    assert torch.allclose(error, expected.float().expand(64))


def test_no_gradient_flows_through_the_estimate_at_less_noise():
    """With both estimates equal to scale·image + factor·state, only the one at more noise moves the scale."""
    schedule = make_schedule("cosine", 200)
    loss = ConsistencyLoss(schedule)
    network = Constant(0.1)
    t, images = torch.full((64,), 150), IMAGE.expand(64, -1, -1, -1)
    student = Denoiser(network, schedule, "x0", data_range=None)
    loss(student, images, NOISE, t, stage=8).mean().backward()
    assert len(network.calls) == 2
    assert network.scale.grad.abs() > 1e-3  # it would cancel exactly


def test_both_sides_draw_the_same_dropout_masks():
    class Masked(nn.Module):
        masks, seen = torch.Generator().manual_seed(3), []

        def forward(self, x_t, t, condition=None):
            self.seen.append(torch.rand(x_t.shape, generator=self.masks) >= 0.5)
            return x_t * self.seen[-1]

    schedule = make_schedule("cosine", 200)
    loss, network = ConsistencyLoss(schedule), Masked()
    student = Denoiser(network, schedule, "x0")
    for _ in range(2):
        loss(student, IMAGE.expand(64, -1, -1, -1), NOISE, torch.full((64,), 150), stage=8, masks=network.masks)
    first, second, third, fourth = network.seen
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert not torch.equal(first, third), "the next step draws others"


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_calls_are_those_of_consistency_models(name):
    """Estimate, add fresh noise, estimate again; DDIM keeps no more of the old noise than the share of its documentation."""
    schedule, noise = make_schedule(name), SeededNoise(0, (1, 2, 2), range(64))
    student = Denoiser(Constant(0.3), schedule, "x0")
    times = sampling_timesteps(schedule, 2)
    *_, last = ddim(student, noise.initial(), times, schedule, noise=noise, eta=1.0)
    (alpha_1, alpha_2), (sigma_1, sigma_2) = schedule.at(times)
    once = student(noise.initial(), times[0])
    again = student((alpha_2 * once + sigma_2 * noise.at_step(0)).float(), times[1])
    kept = (alpha_1 * sigma_2 / (alpha_2 * sigma_1)).item()
    assert kept == 0 if name == "flow" else kept < 0.03
    assert (last.x - again).abs().max() <= 1e-6 + 2 * kept


def test_a_network_learns_to_be_consistent():
    """Data N(0.3, 0.5²): the paths of the ODE end at 0.3 + 0.5·(x − 0.3·alpha)/sqrt(alpha²·0.5² + sigma²).

    The stages are as many as a network of 50 timesteps can tell apart.
    """
    schedule = make_schedule("cosine", 50)
    loss = ConsistencyLoss(schedule)

    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            gain = schedule.alpha * 0.25 / (schedule.alpha**2 * 0.25 + schedule.sigma**2)
            self.gain, self.shift = (nn.Parameter(p.float()) for p in (gain, 0.3 * (1 - schedule.alpha * gain)))

        def forward(self, x, t, condition=None):
            low = t.long().clamp(max=48)
            gain, shift = (torch.lerp(p[low], p[low + 1], (t - low).float()) for p in (self.gain, self.shift))
            return gain.view(-1, 1, 1, 1) * x + shift.view(-1, 1, 1, 1)

    network, generator = Affine(), torch.Generator().manual_seed(0)
    student = Denoiser(network, schedule, "x0", data_range=None)
    exact = 0.3 + 0.5 * NOISE

    def error():
        with torch.no_grad():
            return (student(NOISE, 49) - exact).abs().mean()

    before = error()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(1200):
        images = 0.3 + 0.5 * torch.randn(256, 1, 2, 2, generator=generator)
        noise = torch.randn(256, 1, 2, 2, generator=generator)
        t = loss.sample_timesteps(256, generator)
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 1200)
        loss(student, images, noise, t, stage=1 + step * 5 // 1200).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert error() < before / 4
