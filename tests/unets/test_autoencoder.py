"""The autoencoder: its shapes, its divergence against torch's, and that images do not influence each other."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unets import build_autoencoder
from unets.autoencoder import Autoencoder, DiagonalGaussian


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def network():
    made = build_autoencoder(channels=(32, 32, 64)).eval()
    made.latent_scale.fill_(0.25)
    return made


@pytest.mark.parametrize(("channels", "downsampling"), [((32,), 1), ((32, 64), 2), ((32, 32, 64, 64), 8)])
def test_latents_are_smaller_by_the_downsampling(channels, downsampling):
    network = build_autoencoder(image_channels=1, latent_channels=3, channels=channels)
    x = normal(2, 1, 16, 24)
    posterior = network.posterior(x)
    assert network.downsampling == downsampling
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 3, 16 // downsampling, 24 // downsampling)
    assert network.decode(posterior.mean).shape == x.shape


def test_the_divergence_is_that_of_torch():
    mean, log_variance = normal(2, 3, 4, 5, 6, dtype=torch.float64)
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(DiagonalGaussian(mean, log_variance).kl(), theirs)


def test_the_standard_normal_distribution_diverges_from_itself_by_nothing():
    zeros = torch.zeros(2, 3, 4, 4)
    assert DiagonalGaussian(zeros, zeros).kl().tolist() == [0, 0]


def test_samples_have_the_mean_and_the_variance_they_should():
    gaussian = DiagonalGaussian(torch.tensor(3.0), torch.tensor(4.0).log())
    draws = gaussian.sample(normal(100_000))
    assert draws.mean().item() == pytest.approx(3, abs=0.03)
    assert draws.std().item() == pytest.approx(2, abs=0.02)


def test_scaling_is_undone_on_the_way_back(network):
    x = normal(2, 3, 16, 16)
    mean = network.posterior(x).mean
    torch.testing.assert_close(network.encode(x), mean / 4)
    torch.testing.assert_close(network.decode(network.encode(x)), network.reconstruct(mean))


def test_without_noise_an_image_passes_through_the_mean(network):
    x = normal(2, 3, 16, 16)
    back, posterior = network(x, torch.zeros_like(network.posterior(x).mean))
    torch.testing.assert_close(back, network.decode(network.encode(x)))
    assert posterior.kl().shape == (2,)


def test_images_do_not_influence_each_other(network):
    x = normal(3, 3, 16, 16)
    torch.testing.assert_close(network.encode(x)[1:2], network.encode(x[1:2]), atol=1e-5, rtol=1e-5)


def test_a_fresh_network_keeps_the_variance_of_what_it_is_given():
    latents = build_autoencoder(channels=(64, 128, 128)).posterior(normal(8, 3, 32, 32)).mean
    assert 0.3 < latents.std().item() < 3


def test_the_same_seed_gives_the_same_weights_and_no_seed_none():
    one, other, third = (build_autoencoder(seed=seed, channels=(32, 32)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not torch.equal(one.encoder.stem.weight, third.encoder.stem.weight)
    assert one.latent_scale.item() == 1
    assert all(tensor.is_meta for tensor in build_autoencoder(seed=None).state_dict().values())


@pytest.mark.parametrize("wrong", [{"channels": ()}, {"channels": (0, 32)}, {"latent_channels": 0}, {"blocks_per_level": 0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*1 or greater"):
        Autoencoder(**wrong)
