"""The parts of the networks, against plain implementations of what they claim to be."""

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn

from unets.blocks import (
    FEW_KEYS,
    GROUP_WIDTH,
    HEAD_WIDTH,
    Downsample,
    Dropout,
    GroupNorm,
    ResBlock,
    SelfAttention,
    TimestepEmbedding,
    Upsample,
    add_per_image,
    attend,
    equal_parts,
    initialise,
    zero_initialised,
)

LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
CHANNELS = (1, 2, 3, 5, 8, 30, 50, 64, 96, 128, 192)


def random_(module, seed=0):
    """Every parameter drawn from N(0, 0.3²), those that start at zero too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return module


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("width", [1, 2, 7, 32, 64])
def test_equal_parts_are_equal_wide_enough_and_as_many_as_possible(width):
    for channels in range(1, 300):
        parts = equal_parts(channels, width)
        assert parts >= 1
        assert channels % parts == 0
        assert parts == 1 or channels // parts >= width
        assert not any(channels % more == 0 and channels // more >= width for more in range(parts + 1, channels + 1))


@pytest.mark.parametrize("channels", CHANNELS)
@LAYOUTS
def test_add_per_image_is_a_broadcast_in_value_and_in_gradients(channels, layout):
    x = normal(3, channels, 4, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    shift = normal(3, channels, seed=1, dtype=torch.float64).requires_grad_()
    weight = normal(3, channels, 4, 6, seed=2, dtype=torch.float64)
    found, wanted = add_per_image(x, shift), x + shift[:, :, None, None]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)
    for one, other in zip(
        torch.autograd.grad((weight * found.sin()).sum(), (x, shift)),
        torch.autograd.grad((weight * wanted.sin()).sum(), (x, shift)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@LAYOUTS
def test_add_per_image_keeps_the_precision_of_the_image(layout):
    x = normal(2, 8, 4, 4).bfloat16().contiguous(memory_format=layout)
    shift = normal(2, 8, seed=1)
    found = add_per_image(x, shift)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), x.float() + shift[:, :, None, None], rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("channels", CHANNELS)
@LAYOUTS
def test_group_norm_gives_every_group_mean_0_and_deviation_1(channels, layout):
    norm = GroupNorm(channels)
    groups = norm.num_groups
    assert groups == 1 or channels // groups >= GROUP_WIDTH
    x = (5 + 3 * normal(3, channels, 8, 8)).contiguous(memory_format=layout)
    rows = norm(x).reshape(3, groups, -1)
    torch.testing.assert_close(rows.mean(2), torch.zeros(3, groups), rtol=0, atol=1e-5)
    torch.testing.assert_close(rows.var(2, unbiased=False), torch.ones(3, groups), rtol=0, atol=1e-4)
    random_(norm)
    wanted = F.group_norm(x, groups, norm.weight, norm.bias, 1e-5)
    torch.testing.assert_close(norm(x), wanted, rtol=1e-5, atol=1e-5)


def test_group_norm_keeps_bfloat16_under_autocast():
    x = normal(2, 64, 4, 4).bfloat16()
    norm = random_(GroupNorm(64))
    with torch.autocast("cpu", torch.bfloat16):
        found = norm(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm(x.float()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("channels", [1, 8, 30, 64, 96, 128, 192])
@LAYOUTS
def test_self_attention_is_pytorchs_multi_head_attention(channels, layout):
    attention = random_(SelfAttention(channels))
    assert attention.heads == 1 or channels // attention.heads >= HEAD_WIDTH
    reference = nn.MultiheadAttention(channels, attention.heads, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.qkv.weight)
        reference.in_proj_bias.copy_(attention.qkv.bias)
        reference.out_proj.weight.copy_(attention.out.weight)
        reference.out_proj.bias.copy_(attention.out.bias)
    attention, reference = attention.double(), reference.double()
    x = normal(2, channels, 4, 6, dtype=torch.float64).contiguous(memory_format=layout)
    pixels = attention.norm(x).flatten(2).transpose(1, 2)
    wanted = x + reference(pixels, pixels, pixels, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x), wanted, rtol=1e-10, atol=1e-10)


def test_self_attention_is_a_softmax_over_all_pixels():
    attention = random_(SelfAttention(8)).double()
    x = normal(1, 8, 3, 5, dtype=torch.float64)
    q, k, v = attention.qkv(attention.norm(x).flatten(2).transpose(1, 2)[0]).chunk(3, dim=1)
    rows = []
    for query in q:
        weights = torch.stack([(query @ key / math.sqrt(8)).exp() for key in k])
        rows.append((weights[:, None] * v).sum(0) / weights.sum())
    wanted = x + attention.out(torch.stack(rows)).T.reshape(x.shape)
    torch.testing.assert_close(attention(x), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("keys", [5, FEW_KEYS, FEW_KEYS + 1])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_trains_in_bfloat16_as_in_float32(keys, masked):
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(2, 1, 1, keys, generator=generator) < 0.7 if masked else None
    if masked:
        allowed[..., 0] = True
    qkv = [torch.randn(2, 3, size, 16, generator=generator) for size in (64, keys, keys)]
    direction = torch.randn(2, 3, 64, 16, generator=generator)
    results = {}
    for dtype in (torch.bfloat16, torch.float32):
        leaves = [part.to(torch.bfloat16).to(dtype).requires_grad_() for part in qkv]
        attended = attend(*leaves, allowed)
        attended.backward(direction.to(dtype))
        results[dtype] = [attended.detach(), *(leaf.grad for leaf in leaves)]
    for rough, exact in zip(*results.values(), strict=True):
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).norm() < 0.01 * exact.norm()


def test_self_attention_does_not_care_where_pixels_are():
    attention = random_(SelfAttention(16)).double()
    x = normal(2, 16, 4, 4, dtype=torch.float64)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    moved = x.flatten(2)[:, :, order].view(x.shape)
    torch.testing.assert_close(attention(moved), attention(x).flatten(2)[:, :, order].view(x.shape), rtol=0, atol=1e-12)


@LAYOUTS
def test_res_block_with_one_embedding_equals_one_for_every_image(layout):
    block = random_(ResBlock(30, 12))
    x = normal(3, 30, 6, 4).contiguous(memory_format=layout)
    shared = normal(1, 12, seed=1)
    torch.testing.assert_close(block(x, shared), block(x, shared.expand(3, -1)), rtol=1e-4, atol=1e-4)
    each = normal(3, 12, seed=2)
    apart = torch.cat([block(x[i : i + 1], each[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(block(x, each), apart, rtol=1e-4, atol=1e-4)


def test_res_block_is_its_formula():
    block = random_(ResBlock(8, 12)).double()
    x, embedding = normal(2, 8, 6, 4, dtype=torch.float64), normal(2, 12, seed=1, dtype=torch.float64)
    h = F.group_norm(x, 1, block.norm.weight, block.norm.bias, 1e-5)
    h = F.conv2d(h, block.conv_in.weight, block.conv_in.bias, padding=1)
    h = F.silu(h + F.linear(embedding, block.embed.weight, block.embed.bias)[:, :, None, None])
    wanted = x + F.conv2d(h, block.conv_out.weight, block.conv_out.bias, padding=1)
    torch.testing.assert_close(block(x, embedding), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", [lambda: ResBlock(8, 12), lambda: SelfAttention(8)])
def test_residual_branches_start_as_the_identity(make):
    block = make()
    initialise(block, torch.Generator().manual_seed(0))
    x = normal(2, 8, 4, 4)
    arguments = (x, normal(2, 12, seed=1)) if isinstance(block, ResBlock) else (x,)
    assert torch.equal(block(*arguments), x)


def test_dropout_drops_its_share_keeps_the_mean_and_draws_from_its_own_generator():
    dropout = Dropout(0.3)
    x = torch.ones(200, 500)
    results = []
    for _ in range(2):
        dropout.generator = torch.Generator().manual_seed(5)
        results.append(dropout(x))
    assert torch.equal(*results)
    assert (results[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert results[0].mean().item() == pytest.approx(1, abs=0.01)
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_impossible_dropout_is_refused(share):
    with pytest.raises(ValueError, match="dropout="):
        ResBlock(8, 12, share)


def test_timestep_embedding_begins_with_the_sinusoids_of_diffusers():
    embedding, seen = TimestepEmbedding(16), []
    embedding.hidden.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    t = torch.tensor([0.0, 0.5, 1.0, 37.25, 500.0, 999.0])
    out = embedding(t)
    assert out.shape == (6, 16)
    wanted = get_timestep_embedding(t, 128, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(seen[0], wanted, rtol=0, atol=1e-4)  # angles up to 999 in float32
    torch.testing.assert_close(out, embedding.out(F.silu(embedding.hidden(seen[0]))), rtol=0, atol=0)


def test_timestep_embedding_tells_all_timesteps_apart():
    embedding = random_(TimestepEmbedding(32))
    out = embedding(torch.arange(0, 1000, 0.5))
    distance = torch.cdist(out, out) + torch.eye(len(out)) * 1e9
    assert distance.min() > 1e-3
    assert torch.equal(embedding(torch.arange(1000)), embedding(torch.arange(1000.0)))


def test_down_and_upsampling_are_linear_in_patches():
    down, up = random_(Downsample(3, 5)).double(), random_(Upsample(5, 3)).double()
    x = normal(2, 3, 6, 4, dtype=torch.float64)
    half = down(x)
    assert half.shape == (2, 5, 3, 2)
    patch = x[:, :, 2:4, 0:2].flatten(1)
    torch.testing.assert_close(half[:, :, 1, 0], patch @ down.weight.flatten(1).T + down.bias, rtol=0, atol=1e-12)
    twice = up(half)
    assert twice.shape == x.shape
    mixed = torch.einsum("oi,bihw->bohw", up.weight[:, :, 0, 0], half) + up.bias[:, None, None]
    torch.testing.assert_close(twice, mixed.repeat_interleave(2, 2).repeat_interleave(2, 3), rtol=0, atol=1e-12)


def test_initial_weights_keep_the_variance_and_come_from_the_generator_alone():
    layers = nn.ModuleDict(
        {
            "linear": nn.Linear(300, 200),
            "conv": nn.Conv2d(32, 64, 3),
            "bare": nn.Conv2d(32, 64, 3, bias=False),
            "norm": GroupNorm(64),
            "last": zero_initialised(nn.Linear(300, 200)),
        }
    )
    random_(layers)
    before = torch.get_rng_state()
    initialise(layers, torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.get_rng_state())
    for name, fan_in in (("linear", 300), ("conv", 288), ("bare", 288)):
        weight = layers[name].weight
        n = weight.numel()
        assert abs(weight.mean()) < 5 / math.sqrt(fan_in * n)
        assert abs(weight.var() * fan_in - 1) < 5 * math.sqrt(2 / n)
    assert not layers["linear"].bias.any()
    assert not layers["conv"].bias.any()
    assert not layers["last"].weight.any()
    assert not layers["last"].bias.any()
    assert torch.equal(layers["norm"].weight, torch.ones(64))
    assert not layers["norm"].bias.any()
    first = {key: value.clone() for key, value in layers.state_dict().items()}
    initialise(layers, torch.Generator().manual_seed(5))
    assert all(torch.equal(value, first[key]) for key, value in layers.state_dict().items())
    initialise(layers, torch.Generator().manual_seed(6))
    assert not torch.equal(layers["conv"].weight, first["conv.weight"])
