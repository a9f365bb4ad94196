"""What a condition does: differences equal to those of two calls, attention that is shared out among the words."""

import numpy as np
import pytest
import torch

from pipelines.common.images import to_uint8
from pipelines.common.picture_metrics import difference_map
from pipelines.models.loading import load_model
from pipelines.sampling.influence import influence, words_of
from pipelines.sampling.origins import FROM_NOISE
from pipelines.sampling.prompts import condition_of
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import trajectory


@pytest.fixture(scope="module")
def text_model(text_run):
    return load_model(text_run, dtype=torch.float32)


def look(model, prompt, t=500.0, images=3):
    request = SamplingRequest(num_images=images, prompt=(prompt,))
    condition, _ = condition_of(model.config.condition, request, range(images))
    x = FROM_NOISE.start(model, request, range(request.num_images)).x
    return *influence(model, condition, x, t, words_of(model.config.condition, prompt)), condition, x


def test_attention_is_shared_out_among_the_words(text_model):
    for prompt in ("a photo of a circle", "an extraordinarily long-winded squareness"):
        _, attention, *_ = look(text_model, prompt)
        assert attention.shape == (3, len(prompt.split()) + 2, 8, 8)
        assert (attention >= 0).all()
        np.testing.assert_allclose(attention.astype(float).sum(1), 1, atol=5e-3)


def test_no_words_are_looked_at_where_there_are_none(text_model):
    change, attention, *_ = look(text_model, " ")
    assert attention.shape == (3, 0, 8, 8)
    assert not change.any()


def test_attention_moves_with_the_prompt_and_the_image(text_model):
    _, one, *_ = look(text_model, "a circle")
    _, two, *_ = look(text_model, "a square")
    assert np.abs(one - two).max() > 0
    assert np.abs(one[0] - one[1]).max() > 0


def test_the_change_is_that_between_two_calls(text_model):
    change, _, condition, x = look(text_model, "a circle")
    given, withheld = (text_model.denoiser(x, 500.0, asked) for asked in (condition, condition.null()))
    expected = difference_map(to_uint8(given), to_uint8(withheld))
    assert change.shape == (3, 8, 8, 1)
    assert np.abs(change.astype(int) - expected).max() <= 1
    assert change.max() > 0


def test_watching_leaves_no_trace(text_model):
    """Nothing of a look stays in the network, and the images are those of an ordinary sampling."""
    request = SamplingRequest(num_images=1, steps=4, prompt=("a circle",), guidance=2.0)
    way = trajectory(text_model, request, [0])
    expected = list(sample(text_model, request))
    assert np.array_equal(way.x, [to_uint8(step.x) for step in expected])
    assert way.nfe.tolist() == [step.nfe for step in expected]
    assert all(getattr(module, "maps", None) is None for module in text_model.denoiser.modules())


def test_a_trajectory_with_words(text_model):
    request = SamplingRequest(num_images=1, steps=4, prompt=("a circle",))
    way = trajectory(text_model, request, [0])
    assert way.words[1:-1] == ("a", "circle")
    assert way.attention.shape == (5, 1, 4, 8, 8)
    assert way.change.shape == (5, 1, 8, 8, 1)
    assert not way.change[-1].any()
    assert not way.attention[-1].any()
    shown = way.pictures()
    assert shown.shape == (5, 4, 8, 8, 3)
    assert shown[:, 3].max() > 200 > way.change.max()  # small changes are to be seen as well


def test_a_trajectory_with_a_class_and_one_without(class_run, tiny_run):
    model = load_model(class_run)
    request = SamplingRequest(num_images=1, steps=3, label="squares")
    way = trajectory(model, request)
    assert way.change[:-1].any()
    assert way.words == ()
    plain = SamplingRequest(num_images=1, steps=3)
    assert trajectory(load_model(tiny_run), plain).change is None
