"""What an autoencoder's training looks at beside pixels: features of a classifier, and a discriminator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from pipelines.common.images import as_input
from pipelines.storage.config import AutoencoderConfig
from pipelines.storage.layout import STATE
from pipelines.storage.publishing import model_card
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
from pipelines.storage.weights import read_tensors
from pipelines.training.critics import feature_distance, read_feature_network

BOTH = {"feature_weight": 0.1, "adversarial_weight": 0.5}


@pytest.fixture(scope="module")
def config(small_config):
    """An autoencoder of the shapes at 32×32, which the shipped classifier of photographs can look at."""
    return small_config(model="autoencoder", image_size=32, channels=(8, 8), batch_size=4, steps=6, held_out_images=4)


def with_(config, **changes):
    return replace(config, autoencoder=replace(config.autoencoder, **changes))


def test_without_weights_the_loss_is_the_squared_error_and_the_divergence_to_the_bit(make_trainer, config, tmp_path):
    trainer = make_trainer(tmp_path / "run", config)
    part = next(iter(trainer.batches()))
    back, posterior = trainer.network(*part)
    plain = (back - part.x).square().mean() + 1e-6 * (posterior.kl().mean() / part.x[0].numel())
    assert torch.equal(trainer.task.loss(trainer.model, part, trainer.step), plain)


def test_a_discriminator_changes_nothing_before_it_joins_in(train, config, tmp_path):
    plain = train(tmp_path / "plain", config)
    waiting = train(tmp_path / "waiting", with_(config, adversarial_weight=0.5, adversarial_start=6))
    joined = train(tmp_path / "joined", with_(config, adversarial_weight=0.5, adversarial_start=5))
    weights = [read_tensors(run.model_path)[0]["decoder.head.weight"] for run in (plain, waiting, joined)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_feature_distance_is_zero_for_equal_images_and_grows_with_blur(make_trainer, config, tmp_path):
    x = as_input(make_trainer(tmp_path / "run", config).task.data.images[:8])
    network = read_feature_network("tiny-imagenet", (3, 32, 32))
    blurred = [feature_distance(network, x, gaussian_blur(x, [9, 9], [sigma, sigma])) for sigma in (0.4, 0.8, 1.6, 3.2)]
    assert feature_distance(network, x, x).tolist() == [0] * 8
    steps = torch.stack(blurred).diff(dim=0)
    assert (blurred[0] > 0).all()
    assert (steps > 0).all()
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_an_autoencoder_with_critics_resumes_exactly_and_publishes_itself_alone(make_trainer, train, logged, tmp_path, config):
    config = with_(config, **BOTH, adversarial_start=2)
    whole = train(tmp_path / "whole", config)
    for _ in range(4):  # one step each; the discriminator has joined in after two
        make_trainer(tmp_path / "run", config).fit(time_limit=0)
    resumed = train(tmp_path / "run", config)
    assert logged(resumed.path) == logged(whole.path)
    assert resumed.fingerprint == whole.fingerprint
    states = [read_tensors(run.path / STATE)[0] for run in (resumed, whole)]
    assert any(name.startswith("adversary.optimizer.exp_avg_sq.") for name in states[0])
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    published = read_tensors(whole.model_path)[0]
    plain = make_trainer(tmp_path / "plain", with_(config, **dict.fromkeys(BOTH, 0.0)))
    assert published.keys() == plain.task.weights(plain.ema.network).keys()
    last = whole.metrics().iloc[-1]
    assert last["feature_distance"] > 0
    assert last["discriminator_margin"] != 0
    assert "a patch discriminator of weight 0.5 from step 2" in model_card(whole, "whole", 1)


def test_the_adversarial_gradient_has_its_weights_share_at_the_last_layer(make_trainer, config, tmp_path):
    trainer = make_trainer(tmp_path / "run", with_(config, adversarial_weight=0.5))
    part = next(iter(trainer.batches()))
    back, _ = trainer.network(*part)
    error, last = (back - part.x).square().mean(), trainer.network.last_layer
    adversarial = trainer.task.adversary.loss(back, error, last)
    theirs, ours = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, adversarial))
    assert ours.item() == pytest.approx(0.5 * theirs.item(), rel=1e-3)
    adversarial.backward()
    assert all(parameter.grad is None for parameter in trainer.task.adversary.network.parameters())


def test_a_discriminator_learns_to_tell_reconstructions_from_images(make_trainer, config, tmp_path):
    trainer = make_trainer(tmp_path / "run", with_(config, adversarial_weight=0.5))
    x = as_input(trainer.task.data.images[:4])
    pairs = [(x, gaussian_blur(x, [9, 9], [2.0, 2.0]))]
    before = trainer.task.adversary.margin(*pairs[0]).mean()
    for _ in range(10):
        trainer.task.adversary.learn(pairs, 3e-3)
    assert trainer.task.adversary.margin(*pairs[0]).mean() > before + 0.1


@pytest.mark.parametrize(
    ("shape", "name", "said"),
    [
        ((1, 32, 32), "tiny-imagenet", r"3×32×32 \(C×H×W\) or larger, and these are 1×32×32: choose another"),
        ((3, 16, 16), "tiny-imagenet", "these are 3×16×16"),
        ((3, 32, 32), "nobody", r"nobody\.safetensors"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(shape, name, said):
    with pytest.raises(ValueError, match=said):
        read_feature_network(name, shape)


def test_images_that_are_too_small_for_a_discriminator_are_refused(make_trainer, config, tmp_path):
    small = replace(config, data=replace(config.data, image_size=4))
    with pytest.raises(ValueError, match=r"4×4 pixels are too small.*choose 8 or more"):
        make_trainer(tmp_path / "run", with_(small, adversarial_weight=0.5))


@pytest.mark.parametrize("name", ["feature_weight", "adversarial_weight", "adversarial_start"])
def test_negative_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=-1: choose"):
        AutoencoderConfig(**{name: -1})


def test_the_autoencoder_from_before_the_critics_had_none():
    config = Run(PUBLISHED / "flowers-autoencoder").config.autoencoder
    assert (config.feature_weight, config.adversarial_weight) == (0, 0)
