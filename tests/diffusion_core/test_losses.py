"""The training objective: perfect networks lose nothing, weights have their closed forms, timesteps are uniform."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from diffusion_core.losses import NORMS, WEIGHTINGS, DenoisingLoss, Uncertainty
from diffusion_core.process import PREDICTIONS, noise_from_x0, prediction_target
from diffusion_core.schedules import SCHEDULES, make_schedule

POSSIBLE = [
    (name, zero, prediction)
    for name in SCHEDULES
    for zero in (False, True)
    for prediction in PREDICTIONS
    if not (prediction == "epsilon" and (zero or name == "flow"))  # epsilon cannot start from pure noise
]
TIMESTEPS = torch.tensor([0, 1, 30, 250, 500, 750, 990, 999])


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(len(TIMESTEPS), 3, 4, 4, generator=generator, dtype=dtype) * 2 - 1
    return x0, torch.randn(x0.shape, generator=generator, dtype=dtype)


def network_that_believes(x0_estimate, schedule, prediction):
    """A network whose output stands for this x0 estimate, whatever the prediction."""

    def network(x_t, t, condition):
        alpha, sigma = schedule.at(TIMESTEPS)
        if PREDICTIONS[prediction].scales_input:
            x_t = x_t * (sigma**2 + (0.5 * alpha) ** 2).sqrt().view(-1, 1, 1, 1)
        return prediction_target(prediction, x0_estimate, noise_from_x0(x0_estimate, x_t, alpha, sigma), alpha, sigma)

    return network


@pytest.mark.parametrize(("name", "zero", "prediction"), POSSIBLE)
def test_a_perfect_network_loses_nothing_and_any_other_something(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = batch()
    target = prediction_target(prediction, x0, noise, *schedule.at(TIMESTEPS))
    for norm, weighting in product(NORMS, WEIGHTINGS):
        loss = DenoisingLoss(schedule, prediction, norm, weighting)
        perfect = loss(network_that_believes(x0, schedule, prediction), x0, noise, TIMESTEPS)
        assert perfect.shape == (len(TIMESTEPS),)
        assert perfect.dtype == torch.float32
        # Outputs are compared in float32; "l1" sees one rounding, the others its square.
        assert perfect.max() <= 1e-6, (norm, weighting)
        wrong = loss(lambda x_t, t, c: target + 0.1, x0, noise, TIMESTEPS)
        seen = loss.weights(TIMESTEPS) > 0
        assert (wrong[seen] > 0).all(), (norm, weighting)
        assert seen.sum() >= len(TIMESTEPS) - 1  # only pure noise has a weight of 0, and only with min-SNR


@pytest.mark.parametrize("norm", NORMS)
def test_norms_are_averaged_over_each_image_alone(norm):
    loss = DenoisingLoss(make_schedule("linear"), "epsilon", norm)
    x0, noise = batch()
    error = torch.linspace(-3, 3, noise.numel(), dtype=torch.float64).view(noise.shape)
    found = loss(lambda x_t, t, c: noise + error, x0, noise, TIMESTEPS)
    each = {"mse": error**2, "l1": error.abs(), "huber": torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)}
    torch.testing.assert_close(found.double(), each[norm].mean(dim=(1, 2, 3)), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "zero", "prediction"), [p for p in POSSIBLE if p[0] != "flow" and p[2] != "flow"])
def test_min_snr_weights_have_their_closed_forms(name, zero, prediction):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    c_out = (1 - schedule.alphas_cumprod) * 0.25 / (1 - 0.75 * schedule.alphas_cumprod)  # squared, of EDM
    for gamma in (1.0, 5.0, 20.0):
        loss = DenoisingLoss(schedule, prediction, weighting="min_snr", min_snr_gamma=gamma)
        capped = snr.clamp(max=gamma)
        wanted = {"epsilon": capped / snr, "v": capped / (snr + 1), "x0": capped, "edm": capped * c_out}[prediction]
        # 1 − ᾱ loses digits near t = 0, where it is 1e-4 or less.
        torch.testing.assert_close(loss.weights(torch.arange(1000)), wanted, rtol=1e-9, atol=1e-15)


def test_uniform_weights_are_one():
    weights = DenoisingLoss(make_schedule("linear")).weights(TIMESTEPS)
    assert torch.equal(weights, torch.ones(len(TIMESTEPS), dtype=torch.float64))


@pytest.mark.parametrize(("name", "zero"), [(name, zero) for name in SCHEDULES for zero in (False, True)])
def test_min_snr_gives_one_loss_for_one_x0_estimate_whatever_is_predicted(name, zero):
    schedule = make_schedule(name, zero_terminal_snr=zero)
    x0, noise = batch()
    estimate = x0 + 0.3 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wanted = schedule.snr[TIMESTEPS].clamp(max=5.0) * (estimate - x0).square().mean(dim=(1, 2, 3))
    for prediction in [p for n, z, p in POSSIBLE if (n, z) == (name, zero)]:
        loss = DenoisingLoss(schedule, prediction, weighting="min_snr")
        found = loss(network_that_believes(estimate, schedule, prediction), x0, noise, TIMESTEPS).double()
        # Outputs are rounded to float32 before they are compared: near t = 0 that is 6e-8 of an error of sigma/alpha = 1e-3.
        torch.testing.assert_close(found, wanted, rtol=2e-4, atol=1e-12)


def test_the_network_sees_the_noised_images_their_timesteps_and_the_condition():
    schedule = make_schedule("cosine")
    x0, noise = batch()
    condition = object()

    def network(x_t, t, given):
        alpha, sigma = (schedule.at(TIMESTEPS)[i].view(-1, 1, 1, 1) for i in (0, 1))
        torch.testing.assert_close(x_t, alpha * x0 + sigma * noise, rtol=0, atol=1e-14)
        assert torch.equal(t, TIMESTEPS)
        assert given is condition
        return x_t

    DenoisingLoss(schedule)(network, x0, noise, TIMESTEPS, condition)


def test_gradients_reach_the_network_and_scale_with_the_weight():
    schedule = make_schedule("linear")
    x0, noise = batch(torch.float32)
    for weighting in WEIGHTINGS:
        loss = DenoisingLoss(schedule, "epsilon", weighting=weighting)
        bias = torch.zeros(len(TIMESTEPS), 1, 1, 1, requires_grad=True)
        loss(lambda x_t, t, c, bias=bias: noise + 1.0 + bias, x0, noise, TIMESTEPS).sum().backward()
        torch.testing.assert_close(bias.grad.flatten().double(), 2 * loss.weights(TIMESTEPS), rtol=1e-5, atol=1e-9)


def test_losses_are_float32_for_a_bfloat16_network():
    x0, noise = batch(torch.float32)
    loss = DenoisingLoss(make_schedule("linear"), "epsilon")
    found = loss(lambda x_t, t, c: noise.bfloat16(), x0, noise, TIMESTEPS)
    assert found.dtype == torch.float32
    wanted = F.mse_loss(noise.bfloat16().float(), noise, reduction="none").mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_timesteps_are_uniform_over_the_whole_schedule_and_reproducible():
    loss = DenoisingLoss(make_schedule("linear", 50))
    drawn = loss.sample_timesteps(100_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64
    assert drawn.shape == (100_000,)
    counts = torch.bincount(drawn, minlength=50)
    assert len(counts) == 50
    chi_square = ((counts - 2000).double().square() / 2000).sum()
    assert 15 < chi_square < 98  # 49 degrees of freedom: mean 49, standard deviation 9.9; 15 and 98 have odds below 1e-4
    assert torch.equal(drawn, loss.sample_timesteps(100_000, torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, loss.sample_timesteps(100_000, torch.Generator().manual_seed(1)))


def test_the_uniform_density_draws_what_runs_have_always_drawn():
    """To the last bit: the timesteps of older runs depend on it when they are resumed."""
    for name in SCHEDULES:
        drawn = DenoisingLoss(make_schedule(name)).sample_timesteps(64, torch.Generator().manual_seed(3))
        assert torch.equal(drawn, torch.randint(1000, (64,), generator=torch.Generator().manual_seed(3)))


def test_learned_weights_find_the_error_of_each_noise_level():
    """exp(u) = E[error], at which every level contributes 1 to the objective, whatever the error."""
    network = Uncertainty()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    levels = torch.linspace(-10, 10, 41)

    def mean_error(log_snr):
        return 0.05 + torch.sigmoid(log_snr / 2)

    assert torch.equal(network.objective(mean_error(levels), network(levels)), mean_error(levels))  # nothing is learned yet
    for step in range(1000):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 1000)
        log_snr = torch.rand(256, generator=generator) * 20 - 10
        error = mean_error(log_snr) * (0.5 + torch.rand(256, generator=generator))
        network.objective(error, network(log_snr)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        weighted = mean_error(levels) * torch.exp(-network(levels))
        assert network(torch.tensor([-torch.inf])).isfinite().all()
    torch.testing.assert_close(weighted, torch.ones(41), rtol=0.1, atol=0)


def test_a_generator_keeps_the_global_random_state_as_it_was():
    before = torch.get_rng_state()
    DenoisingLoss(make_schedule("linear")).sample_timesteps(16, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "eps"}, r"'eps'.*flow, v, epsilon, x0"),
        ({"norm": "l2"}, r"'l2'.*mse, l1, huber"),
        ({"weighting": "snr"}, r"'snr'.*uniform, min_snr"),
        ({"min_snr_gamma": 0.0}, r"min_snr_gamma=0\.0.*positive"),
        ({"density": "cubic"}, r"'cubic'.*uniform, logit_normal, log_normal"),
        ({"density": "log_normal", "density_std": 0.0}, r"density_std=0\.0.*positive"),
        ({"min_snr_gamma": -5.0}, r"min_snr_gamma=-5\.0.*positive"),
    ],
)
def test_impossible_settings_are_refused_with_the_possible_ones(options, message):
    with pytest.raises(ValueError, match=message):
        DenoisingLoss(make_schedule("linear"), **options)


@pytest.mark.parametrize(("name", "zero"), [("linear", True), ("cosine", True), ("sigmoid", True), ("flow", False)])
def test_epsilon_is_refused_on_a_schedule_that_ends_in_pure_noise(name, zero):
    with pytest.raises(ValueError, match="epsilon-prediction"):
        DenoisingLoss(make_schedule(name, zero_terminal_snr=zero), "epsilon")
