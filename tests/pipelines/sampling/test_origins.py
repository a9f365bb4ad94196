"""Origins: exact ends, strength as a distance from the picture, known parts that stay, inversions that come back."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from made_pictures import ADOBE_RGB, flat, icc_profile, saved
from PIL import Image

from diffusion_core.noise import ForwardNoise
from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SPACINGS
from pipelines.common.images import place_on_canvas, png_bytes, to_uint8
from pipelines.common.machine import TooLarge
from pipelines.models.loading import load_model
from pipelines.sampling.fitting import colour_note, fit_mask, fit_picture, fit_to_model
from pipelines.sampling.origins import FROM_NOISE, BetweenPictures, BetweenSeeds, FromInversion, FromPicture
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import metadata_of, sample
from pipelines.sampling.trajectory import trajectory
from pipelines.storage.config import DataConfig, RunConfig

REQUEST = SamplingRequest(num_images=4, seed=3, steps=6)
DDIM = SamplingRequest(num_images=3, steps=20, sampler="ddim", spacing="linspace")


@pytest.fixture(scope="module")
def model(tiny_run):
    """In float32, where the sums of a batch differ least."""
    return load_model(tiny_run, dtype=torch.float32)


@pytest.fixture(scope="module")
def picture():
    """A colourful image with structure, larger than the model's and not square."""
    y, x = np.mgrid[0:30, 0:50]
    return png_bytes(np.stack([x * 5, y * 8, (x + y) * 3], axis=-1).astype(np.uint8))


@pytest.fixture(scope="module")
def other():
    """Another picture."""
    return png_bytes(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))


def _rms(a, b) -> float:
    return float((a - b).square().mean().sqrt())


def _sampled(model, request, origin, images=None):
    *_, step = sample(model, request, images, origin)
    return step


# --- between two seeds


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])  # ddpm adds noise on the way, which must be interpolated as well
def test_weights_0_and_1_are_the_seeds_themselves(model, sampler):
    first, second = (SamplingRequest(3, seed, sampler, steps=6) for seed in (3, 8))
    between = BetweenSeeds(8, (0.0, 0.5, 1.0), image=5)
    start = between.start(model, first, range(3))
    assert torch.equal(start.x[[0]], FROM_NOISE.start(model, first, [5]).x)
    assert torch.equal(start.x[[2]], FROM_NOISE.start(model, second, [5]).x)
    x = to_uint8(_sampled(model, first, between).x).astype(int)
    for place, request in ((0, first), (2, second)):
        assert np.abs(x[place] - to_uint8(_sampled(model, request, FROM_NOISE, [5]).x)[0]).max() <= 1
    assert not np.array_equal(x[1], x[0])


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_sampling_starts_from_as_much_noise_as_there_is_at_its_first_timestep(train, tmp_path, schedule):
    """The leading spacing begins before the end, where a state of flow has less noise than pure noise."""
    model = load_model(train(tmp_path / "run", schedule=schedule, prediction="flow" if schedule == "flow" else "v", steps=1))
    request = SamplingRequest(num_images=400, steps=4, spacing="leading")
    start = FROM_NOISE.start(model, request, range(400))
    alpha, sigma = model.schedule.at(start.timesteps[0])
    assert start.x.std().item() == pytest.approx((alpha**2 + sigma**2).sqrt().item(), rel=0.01)
    assert (start.x.std().item() < 0.9) == (schedule == "flow")


def test_the_middle_of_the_arc_is_standard_normal(model):
    middle = BetweenSeeds(4, (0.5,) * 32).start(model, REQUEST, range(32))
    ends = BetweenSeeds(4, (0.0, 1.0)).start(model, REQUEST, range(2))
    assert middle.x.std() == pytest.approx(ends.x.std().item(), rel=0.1)


@pytest.mark.parametrize("weight", [-0.1, 1.01, float("nan")])
def test_a_weight_off_the_arc_is_refused(picture, other, weight):
    with pytest.raises(ValueError, match=r"choose numbers from 0 \(the first seed"):
        BetweenSeeds(4, (0.5, weight))
    with pytest.raises(ValueError, match=r"choose numbers from 0 \(the first picture"):
        BetweenPictures(picture, other, (weight,))


# --- from a picture


def test_more_strength_leads_further_from_the_picture(model, picture):
    request = SamplingRequest(1, steps=20, sampler="ddim")
    clean = fit_to_model(model, picture)
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    distances = [_rms(_sampled(model, request, FromPicture(picture, strength)).x, clean) for strength in strengths]
    assert distances == sorted(distances)
    assert distances[0] < 0.2
    assert distances[-1] > 2 * distances[0]


@pytest.mark.parametrize("spacing", list(SPACINGS))
@pytest.mark.parametrize("kind", [FromPicture, FromInversion])
def test_strength_chooses_the_timesteps(model, picture, spacing, kind):
    """Those below it, after the one at which it ends, however far they are apart."""
    request = SamplingRequest(steps=20, spacing=spacing)
    everything = FROM_NOISE.timesteps(model, request)
    ends = {0.51: 509.0, 0.5: 499.0, 0.0: 0.0}  # of 1,000 timesteps, from 0 to 999
    expected = {strength: [end, *everything[everything < end].tolist()] for strength, end in ends.items()}
    for strength, numbers in {1.0: everything.tolist(), **expected}.items():
        timesteps = torch.tensor(numbers, dtype=torch.float64)
        origin = kind(picture, strength=strength)
        assert torch.equal(origin.timesteps(model, request), timesteps)
        assert torch.equal(origin.start(model, request, [0]).timesteps, timesteps)


def test_the_state_at_the_start_is_the_noised_picture(model, picture):
    request = SamplingRequest(seed=9, steps=20)
    origin = FromPicture(picture, 0.5)
    start = origin.start(model, request, [4])
    alpha, sigma = model.schedule.at(start.timesteps[0])
    noise = ForwardNoise(9, model.state_shape, [4]).initial()
    assert torch.allclose(start.x, alpha.item() * fit_to_model(model, picture) + sigma.item() * noise, atol=1e-6)
    way = trajectory(model, request, [4], origin)
    assert way.timesteps[0] == start.timesteps[0]
    assert np.array_equal(way.x[0], to_uint8(start.x))


def test_the_noise_added_to_a_picture_is_independent_of_that_from_which_it_was_made(model):
    """Var(x_t) = alpha²·Var(x0) + sigma²: with the same noise in both, the standard deviations would add up instead."""
    request = SamplingRequest(seed=9, steps=20)
    initial = FROM_NOISE.start(model, request, [0]).x  # the picture shows it
    picture = png_bytes(to_uint8(initial / 3)[0])
    pictures = BetweenPictures(picture, picture, (0.0,)), FromInversion(picture), FromPicture(picture, 0.5)
    starts = [origin.start(model, request, [0]) for origin in pictures]
    for noise in (start.noise for start in starts):
        for drawn in (noise.initial(), noise.at_step(0)):
            assert abs(torch.corrcoef(torch.stack([drawn.flatten(), initial.flatten()]))[0, 1]) < 5 / initial.numel() ** 0.5
    alpha, sigma = map(float, model.schedule.at(starts[-1].timesteps[0]))
    expected = (alpha**2 * fit_to_model(model, picture).var().item() + sigma**2) ** 0.5
    assert starts[-1].x.std().item() == pytest.approx(expected, rel=0.1)


def test_an_inversion_is_kept_no_longer_than_its_model(tiny_run, picture):
    """A run in training is loaded anew after every save: none of the models before may stay."""
    model = load_model(tiny_run)
    origin = FromInversion(picture)
    first = origin.start(model, DDIM, [0])
    calls = []
    handle = model.denoiser.network.register_forward_pre_hook(lambda *_: calls.append(1))
    assert torch.equal(origin.start(model, replace(DDIM, seed=5, guidance_rescale=0.3), [0]).x, first.x)
    assert not calls
    handle.remove()
    gone = weakref.ref(model)
    del model, handle
    gc.collect()
    assert gone() is None


def test_how_a_picture_is_read_is_told(picture):
    clear = saved(flat("RGBA", (10, 20, 30, 40)), icc_profile=icc_profile(ADOBE_RGB))
    assert FROM_NOISE.notes() == FromPicture(picture, 1.0).notes() == []
    assert FromPicture(clear, 1.0).notes() == [
        "1 picture with transparent parts: put on white",
        "1 picture with the colours of “made”: converted to sRGB",
    ]


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("kind", [FromPicture, FromInversion])
def test_a_strength_out_of_range_is_refused(picture, strength, kind):
    with pytest.raises(ValueError, match="choose a number from 0"):
        kind(picture, strength=strength)


# --- with part of a picture known


@pytest.fixture(scope="module")
def left_half():
    """White where the picture is made anew."""
    mask = np.zeros((30, 50, 1), np.uint8)
    mask[:, :25] = 255
    return png_bytes(mask)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_known_stays_and_the_rest_is_made(model, picture, left_half, sampler):
    request = SamplingRequest(num_images=2, sampler=sampler, steps=6)
    clean = fit_to_model(model, picture)
    one_pass = _sampled(model, request, FROM_NOISE).nfe
    generated = []
    for settings, nfe in (({}, one_pass), ({"guided": True}, one_pass), ({"resamplings": 3}, 5 * 3 + 1)):
        step = _sampled(model, request, FromPicture(picture, 1.0, left_half, **settings))
        assert torch.equal(step.x[..., 4:], clean[..., 4:].expand(2, -1, -1, -1))
        assert (step.x[..., :4] - clean[..., :4]).abs().mean() > 0.05
        assert step.nfe == nfe
        generated.append(step.x)
    assert not torch.equal(generated[0], generated[1])


def test_half_as_many_images_are_guided_at_once(model, picture, left_half):
    """The gradient needs what all layers put out."""
    plain, guided = (FromPicture(picture, 1.0, left_half, guided=guided) for guided in (False, True))
    assert plain.most_at_once(model) == model.most_at_once >= 2 * guided.most_at_once(model) > 0
    too_many = range(guided.most_at_once(model) + 1)
    with pytest.raises(TooLarge, match="choose a smaller batch"):
        sample(model, SamplingRequest(len(too_many)), too_many, guided)


def test_a_mask_must_fit_and_leave_something_to_make(model, picture):
    black, small = (png_bytes(np.zeros((*shape, 1), np.uint8)) for shape in ((30, 50), (8, 8)))
    outside = np.zeros((30, 50, 1), np.uint8)
    outside[:, :8] = 255  # the model sees the middle only
    for mask in (black, png_bytes(outside)):
        with pytest.raises(ValueError, match="the mask has no white area at 8×8 pixels"):
            FromPicture(picture, 1.0, mask).start(model, REQUEST, [0])
    with pytest.raises(ValueError, match="a mask of 8×8 pixels for a picture of 50×30: give one of the same size"):
        FromPicture(picture, 1.0, small)
    with pytest.raises(ValueError, match="resamplings=0"):
        FromPicture(picture, 1.0, black, resamplings=0)
    with pytest.raises(ValueError, match="not a readable image"):
        FromPicture(picture, 1.0, b"a text")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_mask_goes_the_way_of_its_picture(fit, channels):
    """Of 96×32 pixels the middle third is used, or all of them in the middle third."""
    picture, mask = np.zeros((2, 32, 96, channels), np.uint8)
    mask[:, :48] = 255
    config = RunConfig(image_shape=(channels, 24, 24), data=DataConfig(fit=fit))
    expected = np.zeros((24, 24), bool)
    expected[slice(None) if fit == "crop" else slice(8, 16), :12] = True
    assert np.array_equal(fit_mask(png_bytes(picture), png_bytes(mask), config), expected)


def test_what_is_transparent_in_a_mask_stays():
    mask = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    mask.paste("white", (0, 0, 8, 3))
    file = BytesIO()
    mask.save(file, "PNG")
    white = fit_mask(png_bytes(np.zeros((8, 8, 3), np.uint8)), file.getvalue(), RunConfig(image_shape=(3, 8, 8)))
    assert white[:3].all()
    assert not white[3:].any()


# --- from inversions


def test_an_inverted_picture_comes_back(model, picture):
    """With every strength, and however many images of the request are asked for."""
    clean = fit_to_model(model, picture)
    for strength in (0.4, 1.0):
        step = _sampled(model, DDIM, FromInversion(picture, strength=strength))
        assert step.x.shape == (3, *clean.shape[1:])
        psnr = 10 * np.log10(4 / (step.x - clean).square().mean().item())
        assert psnr > 30, f"strength {strength}: {psnr:.1f} dB"


def test_what_a_picture_shows_is_what_inverts_it(class_run):
    """Told the class it was inverted with, the picture comes back; told another one, something else does."""
    model = load_model(class_run, dtype=torch.float32)
    picture = png_bytes(to_uint8(_sampled(model, replace(DDIM, num_images=1, label="0"), FROM_NOISE).x)[0])
    clean = fit_to_model(model, picture)
    origin = FromInversion(picture, label="0")
    same = _sampled(model, replace(DDIM, num_images=1, label="0"), origin)
    different = _sampled(model, replace(DDIM, num_images=1, label="1"), origin)
    assert _rms(same.x, clean) < 0.03
    assert not torch.equal(same.x, different.x)
    inverting = FromInversion(picture).start(model, DDIM, [0])
    assert not torch.equal(inverting.x, origin.start(model, DDIM, [0]).x)


def test_the_calls_of_an_inversion_are_counted_once_for_all_images(model, picture, other):
    origin = FromInversion(picture)
    assert origin.nfe(model, DDIM) > DDIM.steps
    assert _sampled(model, DDIM, origin).nfe == DDIM.steps
    assert BetweenPictures(picture, other, (0.5,)).nfe(model, DDIM) == 2 * origin.nfe(model, DDIM)
    assert FROM_NOISE.nfe(model, DDIM) == FromPicture(picture, 0.5).nfe(model, DDIM) == 0


def test_the_effort_of_an_origin_is_that_of_its_network_calls(model, picture, other, left_half):
    """Of every kind, roughly; the gradients of reconstruction guidance are not network calls, so they are left out here."""
    for origin in origins(picture, other, left_half):
        if getattr(origin, "guided", False):
            continue
        calls = _sampled(model, DDIM, origin).nfe + origin.nfe(model, DDIM) / DDIM.num_images
        assert calls == pytest.approx(origin.effort(DDIM.num_images) * DDIM.steps, rel=0.25), origin


def test_a_picture_is_inverted_once_for_all_it_shall_show(class_run, picture):
    model = load_model(class_run, dtype=torch.float32)
    calls = []
    model.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    starts, spent = [], set()
    for label, guidance in (("0", 1.0), ("1", 3.0), ("1", 1.0)):
        request = replace(DDIM, label=label, guidance=guidance)
        starts.append(FromInversion(picture, label="0").start(model, request, [0]))
        spent.add(FromInversion(picture, label="0").nfe(model, request))
    assert {len(calls)} == spent
    assert torch.equal(starts[0].x, starts[1].x)
    FromInversion(picture, label="1").start(model, DDIM, [0])
    assert len(calls) == 2 * spent.pop()


def test_between_pictures_both_ends_come_back(model, picture, other):
    between = BetweenPictures(picture, other, (0.0, 0.5, 1.0))
    first, middle, second = _sampled(model, DDIM, between).x
    assert _rms(first, fit_to_model(model, picture)[0]) < 0.06
    assert _rms(second, fit_to_model(model, other)[0]) < 0.06
    assert _rms(middle, first) > 0.1
    assert _rms(middle, second) > 0.1


# --- all of them


def origins(picture, other, mask):
    """One of each kind."""
    return [
        FROM_NOISE,
        BetweenSeeds(4, (0.0, 0.3, 0.6, 1.0)),
        FromPicture(picture, 0.6),
        FromPicture(picture, 1.0, mask, resamplings=2),
        FromPicture(picture, 1.0, mask, guided=True),
        FromInversion(picture),
        BetweenPictures(picture, other, (0.0, 0.3, 0.6, 1.0)),
    ]


@pytest.mark.parametrize("kind", range(7))
def test_an_image_is_the_same_alone_and_among_others(model, picture, other, left_half, kind):
    origin = origins(picture, other, left_half)[kind]
    together, alone = _sampled(model, REQUEST, origin), _sampled(model, REQUEST, origin, [2])
    assert len(together.x) == REQUEST.num_images
    torch.testing.assert_close(together.x[2:3], alone.x, rtol=0, atol=1e-5)


def test_origins_can_be_told_apart_and_found_again(picture, other, left_half):
    first, again = origins(picture, other, left_half), origins(bytes(bytearray(picture)), other, left_half)
    assert first == again
    assert len(set(first + again)) == 7


def test_metadata_tell_where_an_image_comes_from(picture, other, left_half):
    told = [metadata_of("run", "f", REQUEST, origin) for origin in origins(picture, other, left_half)]
    assert "origin" not in told[0]
    assert told[3]["origin"] | {"picture": "", "mask": ""} == {
        "kind": "FromPicture", "picture": "", "strength": 1.0, "mask": "", "resamplings": 2, "guided": False,
    }  # fmt: skip
    assert len({json.dumps(metadata) for metadata in told}) == 7
    assert max(len(json.dumps(metadata)) for metadata in told) < 1000  # digests, and no pictures


@pytest.mark.parametrize("shape", [(30, 50, 3), (7, 7, 1), (200, 90, 1), (8, 8, 3)])
def test_any_image_fits_the_model(model, shape):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    x = fit_to_model(model, png_bytes(pixels))
    assert x.shape == (1, *model.image_shape)
    assert -1 <= x.min() <= x.max() <= 1
    if shape == (8, 8, 3):
        assert np.array_equal(to_uint8(x)[0], pixels)


def test_a_canvas_holds_the_whole_picture_and_a_mask_of_the_rest():
    picture = np.full((20, 20, 3), 200, np.uint8)
    canvas, mask = place_on_canvas(picture, 0.5, 0.0, 1.0)
    assert canvas.shape == (20, 20, 3)
    assert (canvas[10:, :10] == 200).all()  # half the side, bottom left
    assert (mask[10:, :10] == 0).all()
    assert mask.mean() == 255 * 0.75
    assert (canvas[mask[..., 0] == 255] == 128).all()
    grey, _ = place_on_canvas(picture[..., :1], 0.5, 0.5, 0.5)
    assert grey.shape == (20, 20, 1)
    whole, nothing = place_on_canvas(picture, 1.0, 0.3, 0.7)
    assert np.array_equal(whole, picture)
    assert not nothing.any()


def test_a_run_without_images_cannot_say_how_a_picture_fits(picture):
    with pytest.raises(ValueError, match="has not started training"):
        fit_picture(picture, RunConfig())


def test_a_model_of_grey_images_tells_that_colours_are_lost_and_only_then():
    red, grey = (png_bytes(np.full((8, 8, 3), colour, np.uint8)) for colour in ((200, 30, 30), (90, 92, 90)))
    models = {channels: RunConfig(image_shape=(channels, 8, 8)) for channels in (1, 3)}
    assert "without its colours" in colour_note(red, models[1])
    assert not any(colour_note(*given) for given in ((grey, models[1]), (red, models[3])))
