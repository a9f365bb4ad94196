"""Distillation, for Gaussian data, whose optimal denoiser and exact samples have closed forms."""

import pytest
import torch
from torch import nn

from diffusion_core.denoiser import Denoiser
from diffusion_core.distillation import distillation_loss, teacher_timesteps
from diffusion_core.samplers import ddim, dpmpp_2m
from diffusion_core.schedules import SPACINGS, make_schedule, sampling_timesteps

SCHEDULE = make_schedule("cosine", 200)
NOISE = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
STEPS = sampling_timesteps(SCHEDULE, 3)


class Affine(nn.Module):
    """Predicts x0 = a·x + b for N(0.3, 0.2²), with the exact a and b of each timestep of a table, which can be trained."""

    def __init__(self):
        super().__init__()
        alpha, sigma = SCHEDULE.alpha, SCHEDULE.sigma
        gain = alpha * 0.04 / (alpha**2 * 0.04 + sigma**2)
        self.gain, self.shift = (nn.Parameter(table.float()) for table in (gain, 0.3 * (1 - alpha * gain)))

    def forward(self, x, t, condition=None):
        low, share = t.long().clamp(max=len(self.gain) - 2), t - t.long().clamp(max=len(self.gain) - 2)
        gain, shift = (torch.lerp(table[low], table[low + 1], share) for table in (self.gain, self.shift))
        return gain.view(-1, 1, 1, 1) * x + shift.view(-1, 1, 1, 1)


def denoiser(network=None):
    return Denoiser(network or Affine(), SCHEDULE, "x0", data_range=None)


def test_an_untrained_student_is_its_teacher_where_both_take_the_same_steps():
    losses = distillation_loss(denoiser(), denoiser(), NOISE, STEPS, teacher_steps=1)
    assert losses.shape == (64, 3)
    assert losses.abs().max() < 1e-6
    assert distillation_loss(denoiser(), denoiser(), NOISE, STEPS, teacher_steps=4).mean() > 1e-3


@pytest.mark.parametrize("spacing", [name for name in SPACINGS if name != "leading"])
def test_the_teachers_timesteps_join_the_students(spacing):
    own = sampling_timesteps(SCHEDULE, 4, spacing)
    parts = teacher_timesteps(own, 5)
    assert [part[0].item() for part in parts] == own.tolist()
    assert [part[-1].item() for part in parts[:-1]] == own[1:].tolist()
    whole = torch.cat([part[: -1 if number < 3 else None] for number, part in enumerate(parts)])
    assert (whole.diff() < 0).all()
    assert (whole >= 0).all()
    if spacing == "trailing":
        assert torch.equal(whole, sampling_timesteps(SCHEDULE, 20))


def test_a_student_learns_in_its_few_steps_what_takes_its_teacher_many():
    teacher, network = denoiser().requires_grad_(False), Affine()
    student = denoiser(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def distance():
        *_, fine = dpmpp_2m(teacher, NOISE, sampling_timesteps(SCHEDULE, 24), SCHEDULE)
        *_, coarse = ddim(student, NOISE, STEPS, SCHEDULE)
        return (fine.x - coarse.x).abs().mean()

    before = distance()
    for step in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 150)
        distillation_loss(student, teacher, NOISE, STEPS, teacher_steps=8).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert distance() < before / 10
    assert torch.equal(teacher.network.gain, Affine().gain)


def test_a_clipped_estimate_is_still_told_to_come_back():
    network = Affine()
    with torch.no_grad():
        network.shift += 3
    student = Denoiser(network, SCHEDULE, "x0")  # everything is clipped to 1
    losses = distillation_loss(student, denoiser().requires_grad_(False), NOISE, STEPS, teacher_steps=1)
    losses[:, -1].mean().backward()
    assert network.shift.grad.abs().max() > 0.1
