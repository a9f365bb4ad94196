"""Guidance and conditions: linear, batched, and exactly the conditional call at scale 1."""

import pytest
import torch
from torch import nn

from diffusion_core.condition import Condition
from diffusion_core.denoiser import Denoiser
from diffusion_core.guidance import ClassifierFreeGuidance
from diffusion_core.noise import SeededNoise
from diffusion_core.process import prediction_target, x0_from_prediction
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SCHEDULES, make_schedule, sampling_timesteps

SPREAD = 0.3


class GaussianClasses(nn.Module):
    """The optimal network for pixels of class k ~ N(means[k], SPREAD²), and of the null class ~ N(0, 1); counts its calls."""

    means = torch.tensor([-0.5, 0.0, 0.4])

    def __init__(self, schedule, prediction="v"):
        super().__init__()
        self.schedule, self.prediction = schedule, prediction
        self.calls = []

    def forward(self, x_t, t, condition):
        self.calls.append(len(x_t))
        mean = torch.where(condition.dropped, 0.0, self.means[condition.labels]).view(-1, 1, 1, 1).double()
        variance = torch.where(condition.dropped, 1.0, SPREAD**2).view(-1, 1, 1, 1).double()
        alpha, sigma = self.schedule.at(t.double())
        alpha, sigma = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
        total = alpha**2 * variance + sigma**2
        x0 = mean + alpha * variance / total * (x_t.double() - alpha * mean)
        noise = (x_t.double() - alpha * x0) / sigma
        return prediction_target(self.prediction, x0, noise, *self.schedule.at(t.double())).float()


def setting(schedule="cosine", data_range=None):
    table = make_schedule(schedule)
    network = GaussianClasses(table)
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Denoiser(network, table, "v", data_range), network, x, Condition(labels=torch.tensor([0, 2, 1]))


@pytest.mark.parametrize("t", [1, 250.5, 998])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_scale_1_is_the_conditional_call_and_scale_0_the_unconditional_one(schedule, t):
    denoiser, network, x, condition = setting(schedule)
    assert torch.equal(ClassifierFreeGuidance(denoiser, 1.0)(x, t, condition), denoiser(x, t, condition))
    assert network.calls == [3, 3]
    unconditional = ClassifierFreeGuidance(denoiser, 0.0)(x, t, condition)
    torch.testing.assert_close(unconditional, denoiser(x, t, condition.null()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.5])
def test_guidance_is_linear_in_the_scale(scale):
    denoiser, _, x, condition = setting()
    null, full, guided = (ClassifierFreeGuidance(denoiser, s)(x, 400, condition) for s in (0.0, 1.0, scale))
    torch.testing.assert_close(guided, null + scale * (full - null), rtol=1e-5, atol=1e-5)


def test_both_estimates_come_from_one_call_on_twice_the_batch():
    denoiser, network, x, condition = setting()
    ClassifierFreeGuidance(denoiser, 3.0)(x, 400, condition)
    assert network.calls == [6]


def test_estimates_are_combined_before_they_are_clipped():
    free, _, x, condition = setting()
    clipped = setting(data_range=(-1.0, 1.0))[0]
    expected = ClassifierFreeGuidance(free, 4.0)(3 * x, 100, condition).clamp(-1, 1)
    assert torch.equal(ClassifierFreeGuidance(clipped, 4.0)(3 * x, 100, condition), expected)


def test_a_negative_condition_takes_the_place_of_the_null_one():
    denoiser, _, x, condition = setting()
    away = Condition(labels=torch.tensor([1]))
    of_all = away.map(lambda part: part.repeat(3))
    guided = ClassifierFreeGuidance(denoiser, 2.0, negative=away)(x, 400, condition)
    base = denoiser(x, 400, of_all)
    torch.testing.assert_close(guided, base + 2 * (denoiser(x, 400, condition) - base))


def test_outside_its_interval_guidance_is_the_plain_conditional_call():
    denoiser, network, x, condition = setting()
    guided = ClassifierFreeGuidance(denoiser, 3.0, interval=(0.2, 0.6))
    for t, calls in [(0, 1), (199, 1), (200, 2), (599, 2), (600, 1), (999, 1)]:
        network.calls.clear()
        assert torch.equal(guided(x, t, condition), denoiser(x, t, condition)) == (calls == 1)
        assert guided.calls_at(t) == calls
        assert network.calls[0] == 3 * calls


@pytest.mark.parametrize(("interval", "t"), [((0.0, 0.5), 0), ((0.5, 1.0), 999), ((0.0, 0.0), 0), ((1.0, 1.0), 999)])
def test_both_ends_of_the_interval_are_guided(interval, t):
    assert ClassifierFreeGuidance(setting()[0], 3.0, interval=interval).scale_at(t) == 3.0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_count_what_guidance_costs(sampler):
    for scale, interval in ((1.0, (0, 1)), (3.0, (0, 1)), (3.0, (0.3, 0.7))):
        denoiser, network, _, condition = setting()
        guided = ClassifierFreeGuidance(denoiser, scale, interval=interval)
        noise = SeededNoise(0, (1, 4, 4), range(3))
        timesteps = sampling_timesteps(denoiser.schedule, 12)
        for step in SAMPLERS[sampler](guided, noise.initial(), timesteps, denoiser.schedule, condition, noise=noise):
            assert 3 * step.nfe == sum(network.calls)


def test_guided_samples_go_further_towards_their_class():
    denoiser, _, _, _ = setting()
    noise = SeededNoise(0, (1, 8, 8), range(64))
    condition = Condition(labels=torch.full((64,), 2))
    timesteps = sampling_timesteps(denoiser.schedule, 50)
    means = []
    for scale in (1.0, 2.0):
        guided = ClassifierFreeGuidance(denoiser, scale)
        *_, last = SAMPLERS["ddim"](guided, noise.initial(), timesteps, denoiser.schedule, condition)
        means.append(last.x.mean().item())
    assert means[0] == pytest.approx(0.4, abs=0.02)
    assert means[1] > 1.1 * means[0]


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0", "flow"])
@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_rescaling_is_that_of_diffusers_on_the_prediction(prediction, rescale):
    """Lin et al. 2024, equations 15 and 16, on what the network outputs; it used to be done on x0."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg  # takes a second

    table = make_schedule("cosine")
    network = GaussianClasses(table, prediction)
    _, _, x, condition = setting()
    conditional, unconditional = (network(x, torch.full((3,), 400), part) for part in (condition, condition.null()))
    guided = rescale_noise_cfg(unconditional + 5.0 * (conditional - unconditional), conditional, rescale)
    wanted = x0_from_prediction(prediction, guided, x, *table.at(400.0))
    found = ClassifierFreeGuidance(Denoiser(network, table, prediction, None), 5.0, rescale=rescale)(x, 400, condition)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-5)


class _Estimates:
    """A denoiser whose estimates are given, conditional and unconditional ones."""

    prediction = "x0"

    def __init__(self, conditional, unconditional):
        self.estimates, self.schedule = torch.cat([conditional, unconditional]), make_schedule("cosine")

    def unclipped(self, x_t, t, condition):
        return self.estimates

    def clip(self, x0):
        return x0


def test_rescaling_multiplies_all_channels_of_an_image_by_one_number():
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = torch.randn(2, 3, 4, 8, 8, generator=generator) * torch.tensor([1, 2, 4, 8]).view(4, 1, 1)
    denoiser, condition = _Estimates(conditional, unconditional), Condition(labels=torch.arange(3))
    plain, full = (ClassifierFreeGuidance(denoiser, 5.0, rescale=share)(conditional, 400, condition) for share in (0, 1))
    torch.testing.assert_close(full.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))
    ratio = (full / plain).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_rescaling_is_safe_where_a_prediction_is_flat():
    denoiser, _, _, condition = setting()
    flat = torch.full((3, 1, 4, 4), 0.3)
    guided = ClassifierFreeGuidance(denoiser, 5.0, rescale=1.0)(flat, 400, condition)
    torch.testing.assert_close(guided, ClassifierFreeGuidance(denoiser, 5.0)(flat, 400, condition))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scale": -1.0}, "guidance scale -1.0: choose 0 or more"),
        ({"scale": float("nan")}, "guidance scale nan"),
        ({"scale": 2.0, "interval": (0.7, 0.2)}, "guidance interval"),
        ({"scale": 2.0, "rescale": 1.5}, "guidance rescale 1.5"),
    ],
)
def test_impossible_settings_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClassifierFreeGuidance(setting()[0], **arguments)


def test_a_condition_is_dropped_where_asked_and_stays_dropped():
    condition = Condition(labels=torch.arange(4)).drop(torch.tensor([True, False, False, False]))
    twice = condition.drop(torch.tensor([False, False, True, False]))
    assert condition.dropped.tolist() == [True, False, False, False]
    assert twice.dropped.tolist() == [True, False, True, False]
    assert twice.null().dropped.all()
    assert torch.equal(twice.labels, condition.labels)


def test_conditions_side_by_side_and_mapped():
    one = Condition(tokens=torch.ones(2, 5, 3), mask=torch.ones(2, 5, dtype=torch.bool))
    both = one.beside(one.null())
    assert len(both) == 4
    assert both.tokens.shape == (4, 5, 3)
    assert both.dropped.tolist() == [False, False, True, True]
    assert len(both.map(lambda part: part[1:2])) == 1


@pytest.mark.parametrize(
    "other",
    [
        Condition(labels=torch.zeros(2, dtype=torch.long)),
        Condition(tokens=torch.ones(2, 6, 3), mask=torch.ones(2, 6, dtype=torch.bool)),
        Condition(tokens=torch.ones(2, 5, 4), mask=torch.ones(2, 5, dtype=torch.bool)),
    ],
)
def test_conditions_of_different_kinds_share_no_batch(other):
    one = Condition(tokens=torch.ones(2, 5, 3), mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="cannot share a batch"):
        one.beside(other)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({}, "empty condition"),
        ({"tokens": torch.ones(2, 5, 3)}, "belong together"),
        ({"labels": torch.zeros(2), "dropped": torch.zeros(3, dtype=torch.bool)}, "batch sizes"),
    ],
)
def test_malformed_conditions_are_refused(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        Condition(**parts)
