"""Inpainting: what is known stays, and the rest follows it as the data would."""

import math

import pytest
import torch

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.inpainting import KnownPixels, ReconstructionGuidance, repaint
from diffusion_core.noise import SeededNoise
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SCHEDULES, make_schedule, sampling_timesteps

CORRELATION, SEEN = 0.9, 1.0
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def denoiser_of_pairs(schedule):
    """The best one for images of two pixels, both N(0, 1), with CORRELATION: a·Σ·(a²·Σ + σ²)⁻¹·x_t."""
    covariance = torch.tensor([[1, CORRELATION], [CORRELATION, 1]], dtype=torch.float64)

    def denoise(x, t, condition=None):
        alpha, sigma = (level.item() for level in schedule.at(t))
        gain = alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64))
        return (x.double() @ gain.T).to(x.dtype)

    return denoise


@pytest.fixture
def pairs():
    """Images of 1000 pairs, side by side, whose first pixel is known to be SEEN; their noise, and the schedule."""
    schedule = make_schedule("cosine", 100)
    known, mask = torch.tensor([SEEN, 0.0]).view(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    noise = SeededNoise(0, (1, 1000, 2), range(4))
    return KnownPixels(denoiser_of_pairs(schedule), known, mask), noise, schedule


def second_pixels(pairs, resamplings, steps=100):
    denoise, noise, schedule = pairs
    timesteps = sampling_timesteps(schedule, steps)
    *_, last = repaint(denoise, noise.initial(), timesteps, schedule, noise=noise, resamplings=resamplings)
    assert (last.x[..., 0] == SEEN).all()
    return last.x[..., 1].flatten()


def test_resampling_leads_to_the_conditional_distribution(pairs):
    """The other pixel is N(ρ·seen, 1 − ρ²); one pass falls short of that mean."""
    once, often = second_pixels(pairs, 1), second_pixels(pairs, 10)
    expected = CORRELATION * SEEN
    assert abs(often.mean().item() - expected) < 0.04
    assert abs(often.mean().item() - expected) < 0.3 * abs(once.mean().item() - expected)
    assert often.std().item() == pytest.approx(math.sqrt(1 - CORRELATION**2), abs=0.06)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_reconstruction_guidance_leads_to_the_conditional_distribution(sampler):
    """It is exact for known pixels of equal variance, for any schedule; those only put in place leave the mean far too low."""
    known, mask = torch.tensor([SEEN, 0.0]).view(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    noise = SeededNoise(0, (1, 2000, 2), range(1))
    expected, spread = CORRELATION * SEEN, math.sqrt(1 - CORRELATION**2)
    for schedule in (make_schedule("flow"), make_schedule("linear")):
        denoise, timesteps = denoiser_of_pairs(schedule), sampling_timesteps(schedule, 25)
        guided = ReconstructionGuidance(denoise, known, mask, data_range=None)
        second = {}
        for kind in (denoise, guided):
            *_, last = sampler(KnownPixels(kind, known, mask), noise.initial(), timesteps, schedule, noise=noise)
            assert (last.x[..., 0] == SEEN).all()
            second[kind] = last.x[..., 1]
        assert abs(second[guided].mean().item() - expected) < 0.04  # 4 standard errors
        assert second[guided].std().item() == pytest.approx(spread, abs=0.1)
        assert second[denoise].mean().item() < 0.75 * expected


def test_reconstruction_guidance_is_one_step_of_conjugate_gradients():
    """Against the conditional mean of Gaussian images of 6 pixels, 3 of them known: nearer than without, exact along v."""
    factor = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data, (alpha, sigma) = factor @ factor.T / 6, (0.6, 0.8)
    gain = alpha * data @ torch.linalg.inv(alpha**2 * data + sigma**2 * torch.eye(6, dtype=torch.float64))
    covariance = sigma**2 / alpha * gain
    x, known = (torch.randn(2, 1, 1, 6, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (1, 2))
    mask = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64).view(1, 1, 1, 6)
    found = ReconstructionGuidance(lambda x, t, condition: x @ gain.T, known, mask, data_range=None)(x, 5.0)
    plain, missing = x @ gain.T, mask * (known - x @ gain.T)
    torch.testing.assert_close(
        ((known - found) * missing).sum(-1), torch.zeros(2, 1, 1, dtype=torch.float64), rtol=0, atol=1e-12
    )
    solved = torch.linalg.solve(covariance[:3, :3], missing[..., :3].mT).mT
    exact = plain + solved @ covariance[:3]
    metric = torch.linalg.inv(covariance)  # conjugate gradients reduce the error in this norm
    error, before = (((e - exact) @ metric * (e - exact)).sum(-1) for e in (found, plain))
    assert (error < before).all()


def test_reconstruction_guidance_lets_the_condition_through():
    """Around guidance of a conditional network, under a sampler, which turns gradients off; weights get no gradient."""
    schedule, seen = make_schedule("flow", 50), []

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(0.7))

        def forward(self, x, t, condition):
            seen.append(len(condition))
            return self.weight * x - 2 * condition.labels.view(-1, 1, 1, 1)

    network = Network()
    guided = ClassifierFreeGuidance(Denoiser(network, schedule, "flow"), 2.0)
    known, mask = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    whole = KnownPixels(ReconstructionGuidance(guided, known, mask), known, mask)
    noise, condition = SeededNoise(0, (1, 4, 4), range(3)), Condition(labels=torch.tensor([0, 1, 0]))
    timesteps = sampling_timesteps(schedule, 5)
    *_, last = SAMPLERS["dpmpp_2m"](whole, noise.initial(), timesteps, schedule, condition, noise=noise)
    assert last.nfe == 2 * len(seen) == 10
    assert not last.x.requires_grad
    assert network.weight.grad is None
    *_, alone = SAMPLERS["dpmpp_2m"](whole, noise.initial()[1:2], timesteps, schedule, condition.select(slice(1, 2)))
    torch.testing.assert_close(alone.x, last.x[1:2], rtol=0, atol=1e-5)


def test_reconstruction_guidance_clips_to_the_data_range():
    far, mask = torch.full((1, 1, 2, 2), 1.5), torch.ones(1, 1, 2, 2)  # the estimate x/2 is led to 1.5 in one step
    for data_range, expected in ((None, 1.5), ((-1.0, 1.0), 1.0)):
        guided = ReconstructionGuidance(lambda x, t, condition: x / 2, far, mask, data_range)
        torch.testing.assert_close(guided(torch.rand(3, 1, 2, 2), 5.0), torch.full((3, 1, 2, 2), expected))


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_keeps_what_is_known(pairs, sampler):
    denoise, noise, schedule = pairs
    *_, last = sampler(denoise, noise.initial(), sampling_timesteps(schedule, 10), schedule, noise=noise)
    assert (last.x[..., 0] == SEEN).all()
    assert last.x[..., 1].std() > 0.1


@every_schedule
@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m"])
def test_without_fresh_noise_the_known_part_is_noised_with_what_it_started_from(name, sampler):
    schedule = make_schedule(name, 50)
    known, mask = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.ones(1, 1, 4, 4)
    denoise = KnownPixels(lambda x, t, condition: torch.tanh(x), known, mask)
    noise = SeededNoise(0, (1, 4, 4), range(3)).initial()
    timesteps = sampling_timesteps(schedule, 8, "linspace")
    alpha, sigma = (level.item() for level in schedule.at(timesteps[0]))
    for step in SAMPLERS[sampler](denoise, alpha * known + sigma * noise, timesteps, schedule):
        alpha, sigma = (1.0, 0.0) if step.index == 8 else (level.item() for level in schedule.at(step.timestep))
        torch.testing.assert_close(step.x, (alpha * known + sigma * noise).expand_as(step.x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("resamplings", [1, 3])
def test_steps_are_those_of_a_sampler_and_all_calls_are_counted(pairs, resamplings):
    denoise, noise, schedule = pairs
    timesteps = sampling_timesteps(schedule, 5)
    steps = list(repaint(denoise, noise.initial(), timesteps, schedule, noise=noise, resamplings=resamplings))
    assert [step.index for step in steps] == list(range(6))
    assert [step.timestep for step in steps] == [*timesteps.tolist(), 0.0]
    shown = [(index + 1) * resamplings for index in range(4)]  # of each step the last turn, after all its calls
    assert [step.nfe for step in steps] == [*shown, shown[-1] + 1, shown[-1] + 1]
    assert torch.equal(steps[-1].x, steps[-1].x0)


def test_one_resampling_is_ancestral_sampling(pairs):
    """In distribution; its draws have other numbers."""
    denoise, noise, schedule = pairs
    ours = second_pixels(pairs, 1)
    *_, last = SAMPLERS["ddpm"](denoise, noise.initial(), sampling_timesteps(schedule, 100), schedule, noise=noise)
    theirs = last.x[..., 1].flatten()
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.05)
    assert ours.std().item() == pytest.approx(theirs.std().item(), abs=0.05)


def test_an_image_does_not_depend_on_the_others(pairs):
    denoise, _, schedule = pairs
    results = []
    for images in ([0, 1, 2], [1]):
        noise = SeededNoise(3, (1, 5, 2), images)
        *_, last = repaint(denoise, noise.initial(), sampling_timesteps(schedule, 6), schedule, noise=noise, resamplings=2)
        results.append(last.x)
    assert torch.equal(results[0][1:2], results[1])


def test_half_known_pixels_are_halfway():
    known, mask = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.25)
    denoise = KnownPixels(lambda x, t, condition: torch.zeros_like(x), known, mask)
    assert torch.equal(denoise(torch.rand(3, 1, 2, 2), 5.0), torch.full((3, 1, 2, 2), 0.25))


def test_what_guidance_costs_is_still_counted():
    guided = ClassifierFreeGuidance.__new__(ClassifierFreeGuidance)
    torch.nn.Module.__init__(guided)
    guided.scale, guided.interval, guided.denoiser = 3.0, (0.0, 1.0), torch.nn.Module()
    guided.denoiser.schedule = make_schedule("cosine", 10)
    assert KnownPixels(guided, torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).calls_at(5.0) == 2


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.ones(1, 1, 3, 3), "for images of .* pixels: give one channel of the same size"),
        (torch.ones(1, 2, 2, 2), "for images of .* pixels: give one channel of the same size"),
        (torch.full((1, 1, 2, 2), 1.5), "from 0"),
        (torch.full((1, 1, 2, 2), math.nan), "from 0"),
    ],
)
def test_an_impossible_mask_is_refused(mask, sentence):
    for kind in (KnownPixels, ReconstructionGuidance):
        with pytest.raises(ValueError, match=sentence):
            kind(lambda x, t, condition: x, torch.ones(1, 3, 2, 2), mask)


def test_no_resampling_is_refused(pairs):
    denoise, noise, schedule = pairs
    with pytest.raises(ValueError, match="resamplings=0"):
        next(repaint(denoise, noise.initial(), sampling_timesteps(schedule, 5), schedule, noise=noise, resamplings=0))
