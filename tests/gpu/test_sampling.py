"""Sampling on the accelerator: the CPU's noise to the last bit, and its images within a hundredth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_core.noise import InterpolatedNoise, SeededNoise
from diffusion_core.samplers import SAMPLERS
from pipelines.common.images import png_bytes
from pipelines.models.loading import load_model
from pipelines.sampling.origins import FROM_NOISE, BetweenPictures, BetweenSeeds, FromInversion, FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import trajectory

pytestmark = pytest.mark.gpu
CLOSE = {"rtol": 0, "atol": 1e-2}
TEXT = SamplingRequest(num_images=3, seed=3, steps=8, prompt=("a red cat", "a wild dog"))
CLASS = SamplingRequest(num_images=3, seed=3, steps=8, label="all")

Y, X = np.mgrid[0:30, 0:50]
PICTURE = png_bytes(np.stack([X * 5, Y * 8, (X + Y) * 3], axis=-1).astype(np.uint8))
OTHER = png_bytes(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
MASK = png_bytes(np.where(X < 25, 255, 0).astype(np.uint8)[..., None].repeat(3, -1))

REQUESTS = {sampler: replace(TEXT, sampler=sampler) for sampler in SAMPLERS} | {
    "ddim with fresh noise": replace(TEXT, sampler="ddim", eta=0.7),
    "guidance": replace(TEXT, guidance=3.0, negative_prompt="blue", guidance_interval=(0.1, 0.9), guidance_rescale=0.5),
}
ORIGINS = {
    "between seeds": BetweenSeeds(8, (0.0, 0.5, 1.0)),
    "a picture": FromPicture(PICTURE, 0.6),
    "inpainting": FromPicture(PICTURE, 1.0, MASK),
    "reconstruction guidance": FromPicture(PICTURE, 1.0, MASK, guided=True),
    "RePaint": FromPicture(PICTURE, 0.8, MASK, resamplings=3),
    "an inversion": FromInversion(PICTURE, prompt="a red cat"),
    "between pictures": BetweenPictures(PICTURE, OTHER, (0.0, 0.5, 1.0)),
}


@pytest.fixture(scope="module")
def text(twins, lively_text_run):
    return twins(lively_text_run)


@pytest.fixture(scope="module")
def latent(twins, lively_latent_run):
    return twins(lively_latent_run)


def assert_same_way(pair, request, origin=FROM_NOISE):
    """Every state and estimate is the CPU's, and so are the images."""
    own, expected = (list(sample(model, request, origin=origin)) for model in (pair.on_device, pair.on_cpu))
    assert own[0].x.device.type == pair.on_device.device.type
    for step, other in zip(own, expected, strict=True):
        assert (step.index, step.timestep, step.nfe) == (other.index, other.timestep, other.nfe)
        torch.testing.assert_close(step.x.cpu(), other.x, **CLOSE)
        torch.testing.assert_close(step.x0.cpu(), other.x0, **CLOSE)
    images = origin.images(pair.on_device, own[-1].x)
    torch.testing.assert_close(images.cpu(), origin.images(pair.on_cpu, expected[-1].x), **CLOSE)


def test_the_noise_is_the_cpu_s_to_the_last_bit(accelerator_device):
    numbers = [5, 0, 2**32 - 1, 7]
    noises = [SeededNoise(seed, (3, 16, 24), numbers) for seed in (0, 2**32 - 1)]
    for noise in (*noises, InterpolatedNoise(*noises, (0.0, 0.3, 0.7, 1.0))):
        for draw in (lambda device, noise=noise: noise.initial(device), lambda device, noise=noise: noise.at_step(9, device)):
            on_device = draw(accelerator_device)
            assert on_device.device.type == accelerator_device.type
            assert torch.equal(on_device.cpu(), draw("cpu"))


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_samples_are_the_cpu_s(text, request_):
    assert_same_way(text, request_)


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS.keys())
def test_samples_from_elsewhere_are_the_cpu_s(text, origin):
    assert_same_way(text, TEXT, origin)


@pytest.mark.parametrize("origin", [FROM_NOISE, FromPicture(PICTURE, 0.8, MASK)], ids=["noise", "inpainting"])
def test_samples_of_latents_are_the_cpu_s(latent, origin):
    assert_same_way(latent, replace(CLASS, guidance=2.5), origin)


def test_what_is_compared_depends_on_the_prompt_the_class_and_guidance(text, latent):
    """Samples that were all alike would equal the CPU's whatever the accelerator made of the request."""

    def made(pair, request):
        *_, step = sample(pair.on_device, request)
        return step.x

    for pair, requests in (
        (text, [TEXT, replace(TEXT, prompt=("blue",)), replace(TEXT, guidance=3.0), replace(TEXT, seed=4)]),
        (latent, [replace(CLASS, label="0"), replace(CLASS, label="1"), replace(CLASS, label="1", guidance=2.5)]),
    ):
        images = [made(pair, request) for request in requests]
        for number, one in enumerate(images):
            assert all((one - other).abs().max() > 10 * CLOSE["atol"] for other in images[:number])


def test_streams_of_one_model_do_not_disturb_each_other(text):
    """Of other sizes, in turn, one given up half-way: what a step has given stays, whatever is computed after it."""
    requests = [TEXT, replace(TEXT, seed=9), replace(TEXT, num_images=5, guidance=2.0)]
    alone = [[(step.x.cpu(), step.x0.cpu()) for step in sample(text.on_device, request)] for request in requests]
    given_up = sample(text.on_device, replace(TEXT, seed=77))
    streams = [sample(text.on_device, request) for request in requests]
    together = [[] for _ in requests]
    for turn in range(TEXT.steps + 1):
        for steps, stream in zip(together, streams, strict=True):
            steps.append(next(stream))
        if turn < 3:
            next(given_up)
    given_up.close()
    for steps, expected in zip(together, alone, strict=True):
        for step, (x, x0) in zip(steps, expected, strict=True):
            torch.testing.assert_close(step.x.cpu(), x, rtol=0, atol=1e-4)
            torch.testing.assert_close(step.x0.cpu(), x0, rtol=0, atol=1e-4)


def test_attention_and_the_change_by_the_prompt_are_the_cpu_s(text):
    request = replace(TEXT, num_images=2, prompt=("a red cat",))
    own, expected = (trajectory(model, request) for model in (text.on_device, text.on_cpu))
    assert own.words == expected.words
    np.testing.assert_allclose(own.attention, expected.attention, rtol=0, atol=1e-2)
    assert np.ptp(own.attention[:-1].astype(np.float32)) > 0.1
    assert np.abs(own.change.astype(int) - expected.change).max() <= 3


def test_the_fastest_precision_makes_nearly_the_same(text):
    """What pages sample in: 16 bits where the hardware has them."""
    model = load_model(text.on_device.run)
    *_, own = sample(model, replace(TEXT, guidance=3.0))
    *_, expected = sample(text.on_cpu, replace(TEXT, guidance=3.0))
    assert own.x.dtype == torch.float32
    torch.testing.assert_close(own.x.cpu(), expected.x, rtol=0, atol=0.1)
