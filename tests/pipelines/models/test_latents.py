"""Latents: autoencoders that are trained, and diffusion models of what they make of images."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.common.flags import parse
from pipelines.common.images import as_input, as_pil, png_bytes, split_montage
from pipelines.datasets.image_sets import load_images
from pipelines.models import latents
from pipelines.models.finetune import adopt
from pipelines.models.latents import (
    OVERLAP,
    TILE,
    decode,
    encode,
    encode_cached,
    latent_pictures,
    prepare_autoencoder,
    read_autoencoder,
)
from pipelines.models.loading import load_model
from pipelines.sampling.fitting import fit_picture, fit_to_model
from pipelines.sampling.generation import Comparison
from pipelines.sampling.origins import FromInversion, FromPicture
from pipelines.sampling.queue import GenerationQueue
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.sampling.trajectory import trajectory
from pipelines.storage.cache import cached_tensors
from pipelines.storage.config import RunConfig, config_from_json, config_to_json
from pipelines.storage.publishing import training_command
from pipelines.storage.run import Run
from pipelines.storage.runs import PUBLISHED
from pipelines.storage.weights import read_tensors
from pipelines.train import Train
from unets import build_autoencoder


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def autoencoder(autoencoder_run):
    return prepare_autoencoder(*read_autoencoder(autoencoder_run), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def model(latent_run):
    return load_model(latent_run, "cpu", torch.float32)


# --- training


def test_an_autoencoder_learns_to_bring_images_back(autoencoder_run):
    metrics = autoencoder_run.metrics().dropna(subset=["val_loss"])
    first, last = metrics.iloc[0], metrics.iloc[-1]
    assert last["val_loss"] < first["val_loss"] / 2
    assert last["psnr"] == pytest.approx(10 * np.log10(4 / last["val_loss"]), abs=1.5)  # a mean of logarithms, not its reverse
    assert 0 < last["ssim"] <= 1
    assert last["psnr"] > first["psnr"]
    assert last["kl"] > 0
    assert last["latent_std"] > 0


def test_its_grid_shows_held_out_images_and_what_comes_back(autoencoder_run):
    grid = list(autoencoder_run.samples().values())[-1]
    with Image.open(grid) as image:
        first, back, second, _ = split_montage(np.atleast_3d(np.asarray(image)), 16, 16, 4).astype(float)
    assert np.abs(first - back).mean() < np.abs(first - second).mean()


def test_the_scale_gives_latents_of_variance_one(autoencoder, autoencoder_run, make_trainer, tmp_path):
    assert autoencoder.latent_scale.item() != 1
    held_out = make_trainer(shutil.copytree(autoencoder_run.path, tmp_path / "copy"), autoencoder_run.config).task.data.held_out
    assert encode_cached(autoencoder, held_out, "").float().std().item() == pytest.approx(1, rel=1e-2)


def test_an_autoencoder_resumes_exactly(make_trainer, train, logged, tmp_path, small_config):
    config = small_config(model="autoencoder", image_size=16)
    whole = train(tmp_path / "whole", config)
    trainer = make_trainer(tmp_path / "run", config)
    trainer.fit(time_limit=0)  # one step
    assert trainer.step < 12
    assert logged(train(tmp_path / "run", trainer.config).path) == logged(whole.path)
    assert Run(tmp_path / "run").fingerprint == whole.fingerprint


def test_a_model_of_latents_resumes_exactly_without_the_run_its_autoencoder_came_from(
    make_trainer, train, logged, tmp_path, small_config, autoencoder_run
):
    source = shutil.copytree(autoencoder_run.path, tmp_path / "source")
    config = small_config(image_size=16, latent=str(source))
    whole = train(tmp_path / "whole", config)
    trainer = make_trainer(tmp_path / "run", config)
    trainer.fit(time_limit=0)
    shutil.rmtree(source)
    assert logged(train(tmp_path / "run", trainer.config).path) == logged(whole.path)
    assert Run(tmp_path / "run").fingerprint == whole.fingerprint


def test_a_model_of_latents_is_complete_in_one_file(latent_run, autoencoder_run, tmp_path):
    alone = shutil.copyfile(latent_run.model_path, tmp_path / "alone.safetensors")
    model = load_model(alone)
    assert model.image_shape == (3, 16, 16)
    assert model.state_shape == (2, 8, 8)
    assert model.config.latent.latent_fingerprint == autoencoder_run.fingerprint
    theirs = read_tensors(autoencoder_run.model_path)[0]
    own = read_tensors(alone)[0]
    assert all(torch.equal(own[latents.PREFIX + name], tensor) for name, tensor in theirs.items())
    assert config_from_json(config_to_json(latent_run.config)) == latent_run.config


def test_mirrored_images_have_latents_of_their_own(make_trainer, autoencoder, autoencoder_run, tmp_path):
    trainer = make_trainer(tmp_path / "run", image_size=16, latent=str(autoencoder_run.path), flip=True)
    index, mirrored = torch.tensor([4, 5]), torch.tensor([False, True])
    images = load_images(trainer.config.data)[0].images
    pixels = torch.stack([images[4], images[5].flip(-1)])
    expected = encode_cached(trainer.task.autoencoder, pixels, "").float()
    torch.testing.assert_close(trainer.task.training_images(index, mirrored), expected, atol=2e-2, rtol=0)


def test_latents_are_made_once(autoencoder, monkeypatch, tmp_path):
    monkeypatch.setenv("NOISESCOPE_CACHE", str(tmp_path))
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    first = encode_cached(autoencoder, images, "")
    monkeypatch.setattr(latents, "encode", None)  # whoever calls it now fails
    assert torch.equal(encode_cached(autoencoder, images, ""), first)
    other = build_autoencoder(channels=(8, 16), latent_channels=2)
    with pytest.raises(TypeError):
        encode_cached(other, images, "")


def test_fine_tuning_a_model_of_latents_keeps_its_autoencoder(train, latent_run, tmp_path):
    run = train(tmp_path / "more", image_size=16, init_from=str(latent_run.path), steps=2, unet="class")
    assert run.config.latent.latent == str(latent_run.path)
    before, after = (latents.split_weights(read_tensors(one.model_path)[0])[1] for one in (latent_run, run))
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_recorded_command_of_a_fine_tuned_model_can_be_given(train, latent_run, tmp_path):
    run = train(tmp_path / "more", image_size=16, init_from=str(latent_run.path), steps=2, unet="class")
    words = shlex.split(training_command(run.config, "again"))
    asked = parse([Train], words[3:]).config
    assert adopt(asked).latent.latent == run.config.latent.latent == str(latent_run.path)


def test_images_of_other_channels_are_refused_in_a_sentence(command, flags, autoencoder_run, tmp_path):
    for number in range(12):
        Image.fromarray(np.full((16, 16), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    given = flags(data=str(tmp_path), image_size=16, held_out_images=4)
    outcome = command("pipelines.train", *given, "--latent", autoencoder_run.path, "--out", tmp_path / "run")
    assert outcome.code != 0
    assert "takes images with 3 channels, and those of" in outcome.error
    assert "have 1: choose data with as many channels" in outcome.error


def test_fine_tuning_takes_no_other_autoencoder(command, flags, latent_run, autoencoder_run, tmp_path):
    another = shutil.copytree(autoencoder_run.path, tmp_path / "another")
    more = ("--init-from", latent_run.path, "--latent", another, "--out", tmp_path / "run")
    outcome = command("pipelines.train", *flags(image_size=16, unet="class"), *more)
    assert "takes over latent=" in outcome.refused_in_one_sentence()


# --- refusals


def test_an_autoencoder_makes_no_images_by_itself(autoencoder_run):
    with pytest.raises(ValueError, match=r"autoencoder is an autoencoder.*--latent"):
        load_model(autoencoder_run)


def test_a_model_of_pixels_has_no_latents(command, flags, tiny_run, tmp_path):
    told = command("pipelines.train", *flags(), "--latent", tiny_run.path, "--out", tmp_path / "run").refused_in_one_sentence()
    assert "tiny has no autoencoder" in told


def test_images_that_cannot_be_halved_are_refused(command, flags, autoencoder_run, tmp_path):
    for more in (["--model", "autoencoder"], ["--latent", autoencoder_run.path]):
        outcome = command("pipelines.train", *flags(image_size=9), *more, "--out", tmp_path / "run")
        assert "images of 9×9 pixels" in outcome.refused_in_one_sentence()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--model", "autoencoder", "--latent", "x"],
        ["--model", "autoencoder", "--init-from", "x"],
        ["--model", "autoencoder", "--augment", "0.1"],
        ["--latent", "x", "--augment", "0.1"],
        ["--latent-channels", "0"],
        ["--kl-weight", "-1"],
    ],
)
def test_settings_that_do_not_go_together_are_refused(command, wrong):
    outcome = command("pipelines.train", *wrong)
    assert outcome.code == 2
    assert wrong[-2].lstrip("-").replace("-", "") in outcome.error.replace("-", "").replace("_", "")


# --- from images to latents and back


@pytest.mark.parametrize("side", [1, 8, TILE, TILE + 1, 2 * TILE - OVERLAP, 2 * TILE - OVERLAP + 1, 3 * TILE])
def test_tiles_cover_a_side_and_overlap(side):
    tiles = list(latents._tiles(side))
    assert tiles[0].start == 0
    assert tiles[-1].stop == side
    assert all(tile.stop - tile.start == min(side, TILE) for tile in tiles)
    assert all(before.stop - after.start >= OVERLAP for before, after in pairwise(tiles))


class _EveryPixelAlone(torch.nn.Module):
    """A decoder without a view of neighbours: tiles must not show at all."""

    downsampling = 2

    def decode(self, z):
        return (z[:, :1] / 4).repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize("size", [(TILE, TILE), (TILE + 40, 24), (150, TILE + 1)])
def test_tiles_do_not_show(size):
    z = normal(2, 4, *size)
    expected = _EveryPixelAlone().decode(z).clamp(-1, 1)
    torch.testing.assert_close(decode(_EveryPixelAlone(), z), expected, atol=1e-5, rtol=0)


class _EveryTileAnotherGrey(torch.nn.Module):
    """A decoder that makes one tile light and the next one dark."""

    downsampling, calls = 2, 0

    def decode(self, z):
        self.calls += 1
        height, width = (2 * side for side in z.shape[-2:])
        return z.new_full((len(z), 1, height, width), 0.5 if self.calls % 2 else -0.5)


@pytest.mark.parametrize("size", [(TILE + 40, 24), (24, TILE + 40), (24, 2 * TILE - OVERLAP)])
def test_one_tile_fades_into_the_next(size):
    image = decode(_EveryTileAnotherGrey(), normal(1, 4, *size))[0, 0]
    assert (image[0, 0], image[-1, -1]) == (0.5, -0.5)
    steepest = max(image.diff(dim=dim).abs().max().item() for dim in (0, 1))
    assert 0 < steepest < 2 / (2 * OVERLAP)  # a step of the height 1, over the pixels of the overlap


def test_tiles_of_a_real_decoder_are_what_it_makes_in_one_piece():
    """To 45 dB, where it is harder: its norms see a tile of flat sky and another one of petals."""
    run = Run(PUBLISHED / "flowers-autoencoder")
    autoencoder = prepare_autoencoder(*read_autoencoder(run), torch.device("cpu"), torch.float32)
    *_, grid = run.samples().values()
    picture = Image.new("RGB", (320, 320), (120, 180, 240))
    picture.paste(as_pil(split_montage(np.array(Image.open(grid)), 128, 128, 2)[0]).resize((192, 192)), (0, 128))
    z = encode(autoencoder, as_input(torch.tensor(np.array(picture))).permute(2, 0, 1)[None])
    assert max(z.shape[2:]) > TILE
    whole = autoencoder.decode(z).clamp(-1, 1)
    assert 10 * np.log10(4 / (decode(autoencoder, z) - whole).square().mean().item()) > 45


def test_large_images_pass_through_a_few_at_a_time():
    images = {side: torch.zeros(1).expand(20, 1, side, side) for side in (16, 256, 512, 1024, 2048)}
    assert [len(latents.in_parts(some)[0]) for some in images.values()] == [16, 16, 4, 1, 1]
    assert len(latents.in_parts(images[256], factor=2)[0]) == 4


def test_images_are_encoded_and_decoded_one_like_the_other(autoencoder):
    x = normal(latents.AT_ONCE + 3, 3, 16, 16).clamp(-1, 1)
    z = encode(autoencoder, x)
    torch.testing.assert_close(z[-1:], encode(autoencoder, x[-1:]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decode(autoencoder, z)[-1:], decode(autoencoder, z[-1:]), atol=1e-5, rtol=1e-5)


def test_latents_are_shown_channel_by_channel():
    z = torch.tensor([-1.0, -0.5, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    [picture] = latent_pictures(z, (3, 16, 16))
    assert picture.shape == (16, 16, 3)
    quarters = [picture[:8, :8], picture[:8, 8:], picture[8:, :8], picture[8:, 8:]]
    assert [np.unique(quarter).tolist() for quarter in quarters] == [[0], [64], [191], [128]]


def test_what_is_kept_is_made_anew_where_the_file_is_damaged(tmp_path):
    def make(value):
        return lambda: {"x": torch.full((4,), value)}

    assert cached_tensors("things", "a0", make(1.0), tmp_path)["x"].tolist() == [1] * 4
    assert cached_tensors("things", "a0", make(2.0), tmp_path)["x"].tolist() == [1] * 4
    [file] = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert cached_tensors("things", "a0", make(3.0), tmp_path)["x"].tolist() == [3] * 4


# --- sampling


def test_steps_are_latents_and_the_sample_becomes_an_image(model):
    *before, last = sample(model, SamplingRequest(num_images=3, steps=4, label="all"))
    assert all(step.x.shape == (3, 2, 8, 8) for step in [*before, last])
    images = model.decode(last.x)
    assert images.shape == (3, 3, 16, 16)
    assert images.abs().max() <= 1
    assert model.pictures(last.x).shape == (3, 16, 16, 3)


def test_estimates_of_latents_are_not_clipped(model):
    assert model.denoiser.data_range is None
    x = 30 * normal(1, 2, 8, 8)
    assert model.denoiser(x, 10).abs().max() > 5


def test_an_image_of_a_batch_is_the_same_alone(model):
    request = SamplingRequest(num_images=3, steps=4, label="all")
    *_, whole = sample(model, request)
    *_, one = sample(model, request, [2])
    torch.testing.assert_close(model.decode(one.x), model.decode(whole.x)[2:], atol=1e-4, rtol=0)


def test_the_command_writes_images(command, latent_run, tmp_path):
    outcome = command("pipelines.sample", latent_run.path, "--num-images", 3, "--steps", 3, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.error
    with Image.open(tmp_path / "out/images/00002.png") as image:
        assert image.size == (16, 16)
    assert (tmp_path / "out/denoising.gif").is_file()


RAMP = png_bytes(np.tile(np.linspace(0, 255, 16).astype(np.uint8)[:, None, None], (1, 16, 3)), {})


def test_a_picture_is_noised_as_latents(model):
    start = FromPicture(RAMP, 0.0).start(model, SamplingRequest(num_images=2, steps=10), [0, 1])
    alpha, sigma = model.schedule.at(start.timesteps[0])
    noise = (start.x - alpha.item() * model.encode(fit_to_model(model, RAMP))) / sigma.item()
    assert noise.std().item() == pytest.approx(1, abs=0.2)


def test_what_stays_of_a_picture_has_not_been_through_the_autoencoder(model):
    """Not a pixel of it, in the samples as in the estimates on the way."""
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[3, 5] = mask[8:] = 255
    origin = FromPicture(RAMP, 1.0, png_bytes(mask, {}))
    clean = fit_to_model(model, RAMP)
    assert not torch.allclose(model.decode(model.encode(clean)), clean, atol=0.05)
    for step in sample(model, SamplingRequest(num_images=2, steps=3), origin=origin):
        images = origin.images(model, step.x0)
        anew = torch.from_numpy(mask[..., 0] > 0).expand_as(images)
        assert torch.equal(images[~anew], clean.expand_as(images)[~anew])
        assert torch.equal(images[anew], model.decode(step.x0)[anew])


def test_what_stays_of_a_picture_stays_wherever_it_is_shown(model, wait_for, command, latent_run, tmp_path):
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[8:] = 255
    origin, request = FromPicture(RAMP, 1.0, png_bytes(mask, {})), SamplingRequest(num_images=1, steps=2)
    (tmp_path / "picture.png").write_bytes(RAMP)
    (tmp_path / "mask.png").write_bytes(origin.mask)
    pictures = ("--init-image", tmp_path / "picture.png", "--mask", tmp_path / "mask.png")
    outcome = command(
        "pipelines.sample", latent_run.path, "--num-images", 1, "--steps", 2, *pictures, "--out", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.error
    way = trajectory(model, request, origin=origin)
    queue = GenerationQueue()
    comparison = queue.submit(Comparison.of([(latent_run, request, origin)]))
    wait_for(lambda: not comparison.active)
    queue.close()
    made = [
        np.array(Image.open(tmp_path / "out/images/00000.png")),
        *way.x0[:, 0],
        *(frame.x0[0] for frame in comparison.columns[0].frames),
    ]
    kept = fit_picture(RAMP, model.config)[:8]
    assert len(made) == 1 + 3 + 3
    assert all(np.array_equal(image[:8], kept) and not np.array_equal(image, fit_picture(RAMP, model.config)) for image in made)


def test_a_latent_is_made_anew_where_any_of_its_pixels_is(model):
    mask = np.zeros((16, 16, 1), np.uint8)
    mask[3, 5] = 255
    origin = FromPicture(RAMP, 1.0, png_bytes(mask, {}))
    known = origin.start(model, SamplingRequest(num_images=1, steps=4), [0]).known
    assert known.mask.shape == (1, 1, 8, 8)
    assert (known.mask == 0).nonzero().tolist() == [[0, 0, 1, 2]]


def test_inversion_brings_latents_back(model):
    request = SamplingRequest(num_images=1, steps=100, sampler="ddim")
    *_, last = sample(model, request, origin=FromInversion(RAMP))
    error = (last.x - model.encode(fit_to_model(model, RAMP))).square().mean().sqrt()
    assert error < 0.2


def test_the_way_of_a_latent_is_shown_as_pictures_of_one_size(model):
    way = trajectory(model, SamplingRequest(num_images=2, steps=4, label="all"))
    assert way.x.shape == way.x0.shape == way.noise.shape == (5, 2, 16, 16, 3)
    assert np.array_equal(way.x[-1], way.x0[-1])
    assert way.change.shape == (5, 2, 16, 16, 1)


def test_a_run_without_latents_diffuses_its_images():
    config = RunConfig(image_shape=(3, 8, 8))
    assert config.state_shape == (3, 8, 8)
    assert replace(config, latent=replace(config.latent, latent_shape=(4, 2, 2))).state_shape == (4, 2, 2)
