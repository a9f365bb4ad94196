"""What holds for every network: shapes, precision, reproducible weights, independence of the batch."""

import pytest
import torch
from torch import nn

from diffusion_core.condition import Condition
from unets import NETWORKS, build_network
from unets.attention import AttentionUNet
from unets.baseline import BaselineUNet
from unets.blocks import SelfAttention

every_network = pytest.mark.parametrize("name", NETWORKS)
SMALL = {"image_channels": 2, "channels": (8, 16, 24), "blocks_per_level": 2, "embedding_dim": 20}

TOLD = {"class": {"num_classes": 4}, "text": {"text_dim": 6}, None: {}}  # what has no default


def build(name, **options):
    return build_network(name, **TOLD[NETWORKS[name].takes], **options)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def awake(name, seed=0, **options):
    """A network whose zero-initialised layers are random too, so that everything in it counts."""
    network = build(name, seed=seed, **options)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=generator)
    return network


def without_norms(network):
    """Group norm mixes far pixels through its statistics; without it only attention can."""
    for module in list(network.modules()):
        for key, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, key, nn.Identity())
    return network


@every_network
def test_the_number_of_calls_has_no_effect_at_first_and_must_be_told(name):
    plain, told = awake(name, **SMALL), build(name, **SMALL, calls=True)
    told.load_state_dict(told.state_dict() | plain.state_dict())
    x, calls = normal(3, 2, 8, 8), torch.full((3,), 4)
    for t in (torch.tensor([500]), torch.tensor([3, 500, 999])):
        for other in ({}, {"labels": torch.arange(3)}):
            condition = Condition(**other) if other else None
            assert torch.equal(plain(x, t, condition), told(x, t, Condition(calls=calls, **other)))
    torch.nn.init.normal_(told.calls.out.weight)
    four, five = (told(x, t, Condition(calls=each)) for each in (calls, calls + 1))
    assert not torch.equal(four, plain(x, t))
    assert not torch.equal(four, five)
    for absent in (None, Condition(labels=torch.arange(3))):
        with pytest.raises(ValueError, match="has to be told the number of calls"):
            told(x, t, absent)


# Each number once: the first and the last layer alone know the channels of the images, which the levels do not.
@pytest.mark.parametrize(
    ("channels", "image_channels"), [((8,), 1), ((30, 50), 2), ((50, 30), 5), ((64, 128, 128), 3), ((8, 8, 8, 8), 1)]
)
@every_network
def test_output_has_the_shape_of_the_input_in_float32(name, channels, image_channels):
    network = awake(name, image_channels=image_channels, channels=channels)
    side = network.downsampling
    assert side == 2 ** (len(channels) - 1)
    for batch, height, width in ((1, side, 2 * side), (2, 2 * side, 3 * side)):
        x = normal(batch, image_channels, height, width)
        for t in (torch.tensor([500]), torch.full((batch,), 3.5)):
            out = network(x, t)
            assert out.shape == x.shape
            assert out.dtype == torch.float32
            assert out.isfinite().all()
            assert out.std() > 0


@every_network
def test_bfloat16_changes_little_and_the_output_stays_float32(name):
    network, x = awake(name, **SMALL), normal(3, 2, 8, 12)
    wanted = network(x, torch.tensor([500]))
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = network(x, torch.tensor([500]))
    low = network.to(torch.bfloat16)
    for found in (under_autocast, low(x, torch.tensor([500])), low(x.bfloat16(), torch.arange(3) * 0 + 500)):
        assert found.dtype == torch.float32
        assert (found - wanted).square().mean() < 0.05**2 * wanted.square().mean()


@every_network
def test_the_last_layer_is_not_rounded_to_bfloat16(name):
    """Rounded to bfloat16 every output would survive another rounding."""
    network, x = awake(name, **SMALL).to(torch.bfloat16), normal(3, 2, 8, 12)
    out = network(x, torch.tensor([500]))
    assert (out.bfloat16().float() != out).float().mean() > 0.5


@every_network
def test_weights_depend_on_the_seed_alone(name):
    before = torch.get_rng_state()
    first, again, other = (build(name, seed=seed, **SMALL).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if first[key].std() > 0]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


@every_network
def test_a_network_without_a_seed_has_shapes_and_no_weights(name):
    network = build(name, seed=None, **SMALL)
    assert all(p.is_meta for p in network.parameters())
    filled = build(name, seed=0, **SMALL)
    network.load_state_dict(filled.state_dict(), assign=True)
    x, t = normal(2, 2, 8, 8), torch.tensor([3, 900])
    assert torch.equal(network(x, t), filled(x, t))


@every_network
def test_a_fresh_network_outputs_zero(name):
    network = build(name, **SMALL)
    assert not network(normal(2, 2, 8, 8), torch.tensor([5, 900])).any()
    assert not network(normal(2, 2, 8, 8), torch.tensor([5])).any()


@every_network
def test_one_timestep_equals_the_same_one_for_every_image(name):
    network, x = awake(name, **SMALL), normal(3, 2, 8, 12)
    for t in (0.0, 0.5, 37.0, 999.0):
        shared, each = network(x, torch.tensor([t])), network(x, torch.full((3,), t))
        torch.testing.assert_close(shared, each, rtol=1e-4, atol=1e-5)


@every_network
def test_an_image_alone_equals_the_image_in_a_batch(name):
    network, x, t = awake(name, **SMALL), normal(4, 2, 8, 12), torch.tensor([0.0, 10.5, 500.0, 999.0])
    batch = network(x, t)
    for i in range(4):
        torch.testing.assert_close(network(x[i : i + 1], t[i : i + 1]), batch[i : i + 1], rtol=1e-4, atol=1e-5)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(network(x[order], t[order]), batch[order], rtol=1e-4, atol=1e-5)


@every_network
def test_the_memory_layout_of_the_images_does_not_matter(name):
    network, x, t = awake(name, **SMALL), normal(2, 2, 8, 12), torch.tensor([10, 900])
    torch.testing.assert_close(network(x.contiguous(memory_format=torch.channels_last), t), network(x, t), rtol=0, atol=0)


@every_network
def test_time_and_every_pixel_count(name):
    network, x = awake(name, **SMALL), normal(1, 2, 8, 8)
    assert (network(x, torch.tensor([10])) - network(x, torch.tensor([900]))).abs().max() > 1e-3
    pixel = x.clone().requires_grad_()
    network(pixel, torch.tensor([500])).square().sum().backward()
    assert (pixel.grad != 0).all()


@every_network
def test_gradients_reach_every_parameter(name):
    network = awake(name, **SMALL)
    for t in (torch.tensor([500]), torch.tensor([3, 500])):
        network.zero_grad(set_to_none=True)
        network(normal(2, 2, 8, 8), t).square().sum().backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any(), key


@every_network
def test_gradients_are_those_of_finite_differences(name, monkeypatch):
    network = awake(name, image_channels=1, channels=(4, 6)).double()
    finer = lambda x, head: head(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # noqa: E731
    monkeypatch.setattr("unets.baseline.read_out", finer)  # its float32 is too coarse here
    x = normal(2, 1, 4, 4).double().requires_grad_()
    for t in (torch.tensor([500]), torch.tensor([3, 500])):
        assert torch.autograd.gradcheck(lambda x, t=t: network(x, t), (x,), eps=1e-6, atol=1e-6)


@every_network
def test_a_fresh_network_learns(name):
    network = build(name, **SMALL)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, t, target = normal(2, 2, 4, 4), torch.tensor([10, 900]), normal(2, 2, 4, 4, seed=1)
    losses = []
    for _ in range(25):
        loss = (network(x, t) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]  # two images of noise can be learnt by heart


@every_network
def test_state_dicts_round_trip(name):
    first, second = awake(name, seed=0, **SMALL), awake(name, seed=1, **SMALL)
    x, t = normal(2, 2, 8, 8), torch.tensor([10, 900])
    assert not torch.equal(first(x, t), second(x, t))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, t), second(x, t))


@pytest.mark.parametrize(("channels", "multiple"), [((8, 8), 2), ((8, 8, 8), 4), ((8, 8, 8, 8), 8)])
@every_network
def test_sizes_that_cannot_be_halved_are_refused_with_the_multiple(name, channels, multiple):
    network = build(name, image_channels=1, channels=channels)
    for height, width in ((multiple + 1, multiple), (multiple, multiple // 2), (3 * multiple - 1, 2 * multiple), (0, multiple)):
        with pytest.raises(ValueError, match=rf"{height}×{width} pixels.*multiples of {multiple}$"):
            network(torch.zeros(1, 1, height, width), torch.tensor([0]))


@every_network
def test_a_patch_of_pixels_is_one_pixel_of_more_channels(name):
    """The same weights without patches, given the patches as channels, make the same of them, which are put back."""
    x, t = normal(2, 2, 24, 48), torch.tensor([10, 900])
    for side in (1, 2, 3):
        patched = awake(name, patch_size=side, **SMALL)
        plain = awake(name, **(SMALL | {"image_channels": 2 * side**2}))
        patches = torch.nn.functional.pixel_unshuffle(x, side)
        assert torch.equal(patched(x, t), torch.nn.functional.pixel_shuffle(plain(patches, t), side))
        assert patched.downsampling == 4 * side
    with pytest.raises(ValueError, match=r"28×48 pixels.*patches of 3×3 pixels and halves the side 2 times.*multiples of 12$"):
        patched(torch.zeros(1, 2, 28, 48), t)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 4, 8, 8), (3, 8, 8), (1, 1, 3, 8, 8), (8, 8), (8,)])
@every_network
def test_images_of_the_wrong_shape_are_refused_with_the_right_one(name, shape):
    network = build(name, image_channels=3, channels=(8, 8))
    with pytest.raises(ValueError, match=r"this network takes \(B, 3, height, width\)"):
        network(torch.zeros(shape), torch.tensor([0]))


@pytest.mark.parametrize(
    "options", [{"image_channels": 0}, {"channels": ()}, {"channels": (8, 0)}, {"blocks_per_level": 0}, {"patch_size": 0}]
)
@every_network
def test_impossible_sizes_are_refused(name, options):
    with pytest.raises(ValueError, match="1 or greater, with at least one level"):
        build(name, **options)


def test_unknown_networks_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'unet'.*baseline, attention"):
        build_network("unet")


def test_the_baseline_has_no_attention():
    assert not any(isinstance(m, SelfAttention | nn.MultiheadAttention) for m in build_network("baseline").modules())


@pytest.mark.parametrize(("levels", "stages"), [(None, 2 + 2 * 2), ((0,), 2 * 2), ((0, 2), 2 * 2 + 2 + 2 * 2), ((), 0)])
def test_attention_is_on_the_levels_asked_for(levels, stages):
    """blocks_per_level on each side, and the middle's two with the coarsest level."""
    network = build_network("attention", attention_levels=levels, **SMALL)
    assert sum(isinstance(m, SelfAttention) for m in network.modules()) == stages


@pytest.mark.parametrize("levels", [(3,), (0, 5), (-1,)])
def test_attention_on_levels_that_are_not_there_is_refused(levels):
    with pytest.raises(ValueError, match=r"attention_levels=.*levels 0 … 2"):
        AttentionUNet(channels=(8, 8, 8), attention_levels=levels)


def test_attention_without_levels_is_the_baseline():
    attention, baseline = awake("attention", attention_levels=(), **SMALL), awake("baseline", **SMALL)
    x, t = normal(2, 2, 8, 8), torch.tensor([10, 900])
    assert isinstance(attention, BaselineUNet)
    assert torch.equal(attention(x, t), baseline(x, t))


@pytest.mark.parametrize(("name", "mixes"), [("baseline", False), ("attention", True)])
def test_only_attention_lets_far_pixels_see_each_other(name, mixes):
    """One level: 4 blocks of two 3×3 convolutions and the stem see 9 pixels to each side, and no further."""
    network = without_norms(awake(name, image_channels=1, channels=(8,)))
    assert not any(isinstance(m, nn.GroupNorm) for m in network.modules())
    x = normal(1, 1, 24, 24)
    changed = x.clone()
    changed[0, 0, 0, 0] += 5.0
    with torch.no_grad():
        difference = (network(changed, torch.tensor([500])) - network(x, torch.tensor([500]))).abs()[0, 0]
    far = torch.ones(24, 24, dtype=torch.bool)
    far[:10, :10] = False
    assert difference[:10, :10].max() > 1e-3
    assert (difference[far] > 0).float().mean() > 0.99 if mixes else difference[far].max() == 0


@every_network
def test_being_told_of_no_augmentation_is_being_told_nothing(name):
    network = awake(name, **SMALL, augment_dim=3).eval()
    x, t = normal(2, 2, 8, 8), torch.tensor([3.0, 500.0])
    told = {"class": {"labels": torch.tensor([1, 2])}, "text": {"tokens": normal(2, 3, 6), "mask": torch.ones(2, 3).bool()}}
    some = told.get(name, {})
    with torch.no_grad():
        nothing = network(x, t, Condition(**some) if some else None)
        zeros = network(x, t, Condition(**some, augment=torch.zeros(2, 3)))
        turned = network(x, t, Condition(**some, augment=normal(2, 3)))
    assert torch.equal(nothing, zeros)
    assert (nothing - turned).abs().max() > 1e-3


@every_network
def test_dropout_matters_while_training_alone(name):
    x, t = normal(2, 2, 8, 8), torch.tensor([3.0, 500.0])
    plain, dropping = awake(name, **SMALL), awake(name, **SMALL, dropout=0.5)
    with torch.no_grad():
        assert torch.equal(plain(x, t), dropping.eval()(x, t))
        assert not torch.equal(plain(x, t), dropping.train()(x, t))
