"""Seeded noise depends on seed, image and draw, and on nothing else."""

import itertools
import math

import numpy as np
import pytest
import torch

from diffusion_core.noise import DrawnAhead, ForwardNoise, InterpolatedNoise, SeededNoise, slerp

SHAPE = (3, 16, 16)
DRAWS = {"initial": lambda noise: noise.initial(), "step 0": lambda noise: noise.at_step(0), "step 7": lambda n: n.at_step(7)}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("images", [[5], [5, 6], [0, 5, 1000], [1000, 5, 0], range(8), list(range(7, -1, -1)), [5, 5]])
def test_an_image_keeps_its_noise_in_any_batch(images, draw):
    alone = draw(SeededNoise(3, SHAPE, [5]))[0]
    batch = draw(SeededNoise(3, SHAPE, images))
    assert batch.shape == (len(images), *SHAPE)
    assert batch.dtype == torch.float32
    for row, image in enumerate(images):
        assert torch.equal(batch[row], alone) == (image == 5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 12])
def test_chunks_together_are_the_whole(chunk):
    whole = SeededNoise(0, SHAPE, range(12))
    chunks = [SeededNoise(0, SHAPE, range(start, min(start + chunk, 12))) for start in range(0, 12, chunk)]
    assert torch.equal(torch.cat([c.initial() for c in chunks]), whole.initial())
    assert torch.equal(torch.cat([c.at_step(4) for c in chunks]), whole.at_step(4))


def test_draws_do_not_depend_on_the_draws_before():
    first, second = (SeededNoise(1, SHAPE, range(3)) for _ in range(2))
    forwards = [first.initial(), *(first.at_step(i) for i in range(4))]
    backwards = [second.at_step(i) for i in (3, 2, 1, 0)] + [second.initial()]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first.initial(), forwards[0])


def test_every_stream_is_standard_normal_and_uncorrelated_with_every_other():
    """Kinds, seeds, images and draws that differ by one or by a swap: 4,096 numbers each, limits at 5 standard errors."""
    streams = []
    for kind, seed, image in itertools.product((SeededNoise, ForwardNoise), (0, 1, 2), (0, 1, 2)):
        noise = kind(seed, (1, 64, 64), [image])
        streams += [noise.initial(), noise.at_step(0), noise.at_step(1)]
    rows = torch.cat(streams).flatten(1).double()
    n = rows.shape[1]
    assert rows.mean(1).abs().max() < 5 / math.sqrt(n)
    assert (rows.var(1) - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert rows.pow(3).mean(1).abs().max() < 5 * math.sqrt(15 / n)
    assert (rows.pow(4).mean(1) - 3).abs().max() < 5 * math.sqrt(96 / n)
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 5 / math.sqrt(n)


def test_the_noise_of_samples_stays_what_it_has_always_been():
    """Samples are found again by their seed: the streams of SeededNoise are keyed by these three numbers for ever."""
    rng = np.random.default_rng((3, 5, 0))
    assert np.array_equal(SeededNoise(3, SHAPE, [5]).initial()[0], rng.standard_normal(SHAPE, dtype=np.float32))


@pytest.mark.parametrize(("seed", "images"), [(2**32, [5]), (0, [2**32]), (-1, [0]), (0, [1, -1])])
def test_numbers_that_do_not_fit_32_bits_are_refused(seed, images):
    """NumPy splits larger numbers into words of 32 bits: seed 2³², image 5 would meet seed 0, image 1, step 4."""
    with pytest.raises(ValueError, match="from 0 to 4294967295"):
        SeededNoise(seed, SHAPE, images)
    SeededNoise(2**32 - 1, SHAPE, [2**32 - 1]).initial()


def test_the_global_random_states_are_neither_read_nor_written():
    first = SeededNoise(0, SHAPE, range(2)).initial()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        before = torch.get_rng_state()
        again = SeededNoise(0, SHAPE, range(2))
        assert torch.equal(again.initial(), first)
        again.at_step(3)
        assert torch.equal(before, torch.get_rng_state())


# --- between two seeds


def _directions(shape=(4, 3, 16, 16)):
    first, second = (SeededNoise(seed, shape[1:], range(shape[0])).initial() for seed in (1, 2))
    return first, second


def test_both_ends_of_the_arc_are_exact():
    first, second = _directions()
    assert torch.equal(slerp(first, second, [0.0] * 4), first)
    assert torch.equal(slerp(first, second, [1.0] * 4), second)


@pytest.mark.parametrize("weight", [0.1, 0.25, 0.5, 0.9])
def test_the_arc_keeps_the_length_and_divides_the_angle(weight):
    first, second = (part / part.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for part in _directions())
    between = slerp(first, second, [weight] * 4)
    assert torch.allclose(between.flatten(1).norm(dim=1), torch.ones(4), atol=1e-6)
    angle = torch.cosine_similarity(first.flatten(1), second.flatten(1)).acos()
    part = torch.cosine_similarity(first.flatten(1), between.flatten(1)).acos()
    assert torch.allclose(part, weight * angle, atol=1e-3)


def test_the_middle_stays_standard_normal_where_a_straight_line_would_shrink():
    first, second = _directions((8, 3, 32, 32))
    assert slerp(first, second, [0.5] * 8).std().item() == pytest.approx(1, abs=0.02)
    assert ((first + second) / 2).std().item() == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_images_have_weights_of_their_own():
    first, second = _directions((3, 3, 8, 8))
    mixed = slerp(first, second, [0.0, 0.5, 1.0])
    assert torch.equal(mixed[0], first[0])
    assert torch.equal(mixed[2], second[2])
    assert torch.equal(mixed[1:2], slerp(first[1:2], second[1:2], [0.5]))


def test_the_same_and_the_opposite_direction_are_finite():
    first, _ = _directions()
    assert torch.equal(slerp(first, first, [0.3] * 4), first)
    assert torch.allclose(slerp(first, -first, [0.25] * 4), 0.5 * first)
    assert slerp(first, 0 * first, [0.5] * 4).isfinite().all()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_interpolated_noise_is_each_seeds_own_at_the_ends(draw):
    first, second = (SeededNoise(seed, SHAPE, [5, 5, 5]) for seed in (3, 4))
    found = draw(InterpolatedNoise(first, second, [0.0, 0.5, 1.0]))
    assert torch.equal(found[0], draw(first)[0])
    assert torch.equal(found[2], draw(second)[2])
    assert found.dtype == torch.float32
    assert not torch.equal(found[1], found[0])


def test_threads_beside_an_accelerator_draw_the_same(monkeypatch):
    """A meta tensor has no numbers, so they are taken where threads have drawn them."""
    noise, drawn = SeededNoise(3, SHAPE, range(100, 121)), {}
    fill = SeededNoise._fill

    def kept(self, rows, draw, first):
        fill(self, rows, draw, first)
        drawn[first] = rows

    monkeypatch.setattr(SeededNoise, "_fill", kept)
    assert noise.at_step(5, "meta").shape == (21, *SHAPE)
    assert len(drawn) == 3
    parts = [drawn[first] for first in sorted(drawn)]
    monkeypatch.undo()
    assert torch.equal(torch.cat(parts), noise.at_step(5))


def test_noise_drawn_ahead_is_the_same_in_any_order(monkeypatch):
    noise, begun = SeededNoise(1, SHAPE, range(3)), []
    ahead, begin = DrawnAhead(noise), SeededNoise.begin

    def counted(self, draw, device):
        begun.append(draw - 1)
        return begin(self, draw, device)

    monkeypatch.setattr(SeededNoise, "begin", counted)
    drawn = {index: ahead.at_step(index) for index in (0, 1, 2, 7, 8, 3)}
    assert begun == [0, 1, 2, 3, 7, 8, 9, 3, 4]
    monkeypatch.undo()
    assert all(torch.equal(rows, noise.at_step(index)) for index, rows in drawn.items())
    assert torch.equal(ahead.initial(), noise.initial())


def test_an_error_while_drawing_ahead_is_raised(monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(SeededNoise, "_fill", fails)
    with pytest.raises(MemoryError):
        SeededNoise(1, SHAPE, range(3)).at_step(0, "meta")
