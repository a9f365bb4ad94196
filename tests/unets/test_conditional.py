"""The conditional network: what is withheld leaves no trace, padding is inert, and attention can be looked at."""

import pytest
import torch

from diffusion_core.condition import Condition
from unets import build_network
from unets.conditional import attention_maps

SHAPE = (3, 2, 8, 8)  # of the images
KINDS = {"class": {"num_classes": 5}, "text": {"text_dim": 6}, "both": {"num_classes": 5, "text_dim": 6}}
every_kind = pytest.mark.parametrize("kind", KINDS)


def network_of(kind, **options):
    """A small network whose every layer does something, also those that start at zero."""
    name = "class" if kind == "class" else "text"
    network = build_network(name, image_channels=2, channels=(8, 16), embedding_dim=16, **KINDS[kind], **options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.requires_grad_(False)


def condition_of(kind, seed=0, batch=3, length=4):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (batch,), generator=generator) if kind != "text" else None
    tokens = torch.randn(batch, length, 6, generator=generator) if kind != "class" else None
    mask = torch.arange(length) < torch.tensor([[length], [2], [1]])[:batch] if kind != "class" else None
    return Condition(labels, tokens, mask)


def inputs():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)), torch.tensor([3.0, 500.0, 999.0])


@every_kind
def test_the_condition_changes_the_output(kind):
    network, (x, t) = network_of(kind), inputs()
    one, two = (network(x, t, condition_of(kind, seed)) for seed in (0, 3))
    assert ((one - two).abs().flatten(1).amax(1) > 1e-3).all()


@every_kind
def test_what_is_withheld_leaves_no_trace(kind):
    network, (x, t) = network_of(kind), inputs()
    one, two = (network(x, t, condition_of(kind, seed).null()) for seed in (0, 3))
    assert torch.equal(one, two)
    torch.testing.assert_close(network(x, t, None), one)


@every_kind
def test_each_image_has_its_own_condition(kind):
    network, (x, t), condition = network_of(kind), inputs(), condition_of(kind)
    mixed = network(x, t, condition.drop(torch.tensor([False, True, False])))
    full, none = network(x, t, condition), network(x, t, condition.null())
    torch.testing.assert_close(mixed, torch.stack([full[0], none[1], full[2]]))


@every_kind
def test_a_batch_gives_what_single_images_give(kind):
    network, (x, t), condition = network_of(kind), inputs(), condition_of(kind)
    together = network(x, t, condition)
    for i in range(3):
        alone = network(x[i : i + 1], t[i : i + 1], condition.map(lambda part, i=i: part[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


@every_kind
def test_one_timestep_for_all_is_the_same_as_many_equal_ones(kind):
    network, (x, _), condition = network_of(kind), inputs(), condition_of(kind)
    shared = network(x, torch.tensor([400.0]), condition)
    torch.testing.assert_close(shared, network(x, torch.full((3,), 400.0), condition), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["text", "both"])
def test_padding_changes_nothing(kind):
    network, (x, t), condition = network_of(kind), inputs(), condition_of(kind)
    noisy = condition.tokens + 100 * (~condition.mask)[..., None] * torch.randn(condition.tokens.shape)
    assert torch.equal(network(x, t, Condition(condition.labels, noisy, condition.mask)), network(x, t, condition))
    longer = torch.nn.functional.pad(condition.tokens, (0, 0, 0, 7), value=3.0)
    mask = torch.nn.functional.pad(condition.mask, (0, 7))
    torch.testing.assert_close(network(x, t, Condition(condition.labels, longer, mask)), network(x, t, condition))


@pytest.mark.parametrize("kind", ["text", "both"])
def test_to_say_everything_twice_changes_nothing(kind):
    network, (x, t), condition = network_of(kind), inputs(), condition_of(kind)
    twice = Condition(condition.labels, condition.tokens.repeat(1, 2, 1), condition.mask.repeat(1, 2))
    torch.testing.assert_close(network(x, t, twice), network(x, t, condition), rtol=1e-4, atol=1e-5)


def test_a_prompt_without_words_is_no_prompt():
    network, (x, t) = network_of("text"), inputs()
    empty = Condition(tokens=torch.randn(3, 4, 6), mask=torch.zeros(3, 4, dtype=torch.bool))
    assert torch.equal(network(x, t, empty), network(x, t, empty.null()))


def test_attention_sums_to_1_over_the_words_that_are_there():
    network, (x, t), condition = network_of("text"), inputs(), condition_of("text").drop(torch.tensor([False, False, True]))
    plain = network(x, t, condition)
    with attention_maps(network) as maps:
        assert torch.equal(network(x, t, condition), plain)
    assert len(maps) == 4  # encoder, two in the middle, decoder
    for weights in maps:
        assert weights.shape == (3, 4, 4, 5)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 4))
        assert (weights[0, ..., 1:] > 0).all()
        assert (weights[:2, ..., 0] == 0).all()  # the null word
        assert (weights[1, ..., 3:] == 0).all()  # padding
        assert (weights[2, ..., 0] == 1).all()  # withheld: nothing but the null word
    network(x, t, condition)
    assert len(maps) == 4  # no longer recorded
    patched = network_of("text", patch_size=2)
    with attention_maps(patched) as maps:
        patched(x, t, condition)
    assert {weights.shape for weights in maps} == {(3, 2, 2, 5)}


def test_attention_moves_with_the_prompt():
    network, (x, t) = network_of("text"), inputs()
    with attention_maps(network) as maps:
        network(x, t, condition_of("text", 0))
        network(x, t, condition_of("text", 3))
    assert (maps[0] - maps[4]).abs().max() > 1e-3


def test_gradients_reach_the_null_condition_where_it_is_used():
    network = build_network("text", image_channels=2, channels=(8, 16), embedding_dim=16, num_classes=5, text_dim=6)
    x, t = inputs()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05)
    condition = condition_of("both").drop(torch.tensor([True, False, False]))
    network(x, t, condition).square().sum().backward()
    assert network.class_embedding.weight.grad[5].abs().sum() > 0
    assert network.null_word.weight.grad.abs().sum() > 0


def test_without_classes_or_words_there_is_nothing_to_condition_on():
    with pytest.raises(ValueError, match="needs one of them above 0"):
        build_network("class")
