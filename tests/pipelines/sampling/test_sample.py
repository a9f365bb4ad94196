"""Generation: the same images however they are computed, and files that say how to make them again."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_core.samplers import SAMPLERS
from diffusion_core.schedules import SPACINGS
from pipelines.common.images import film_strip, read_request, to_uint8
from pipelines.models.loading import load_model
from pipelines.sample import read_prompts
from pipelines.sampling.overview import GRID_ROWS, denoising_gif
from pipelines.sampling.request import SamplingRequest
from pipelines.sampling.sample import sample
from pipelines.storage.run import Run


@pytest.fixture(scope="module")
def model(tiny_run):
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def exact_model(tiny_run):
    """In float32, where the sums of a batch differ least."""
    return load_model(tiny_run, dtype=torch.float32)


def _last(model, request, images=None) -> np.ndarray:
    *_, step = sample(model, request, images)
    return to_uint8(step.x)


def _pixels(folder, number) -> np.ndarray:
    with Image.open(folder / "images" / f"{number:05d}.png") as image:
        return np.asarray(image)


def _images(folder) -> np.ndarray:
    return np.stack([_pixels(folder, number) for number in range(len(list((folder / "images").iterdir())))])


def _files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- the generator


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_runs_with_every_spacing(model, sampler):
    for spacing, steps in itertools.product(SPACINGS, (1, 4)):
        found = list(sample(model, SamplingRequest(3, 1, sampler, steps, spacing=spacing)))
        assert [step.index for step in found] == list(range(steps + 1))
        assert found[-1].timestep == 0
        assert torch.equal(found[-1].x, found[-1].x0)
        assert all(earlier.timestep >= later.timestep for earlier, later in itertools.pairwise(found))
        for step in found:
            assert step.x.shape == step.x0.shape == (3, 3, 8, 8)
            assert step.x.dtype == step.x0.dtype == torch.float32
            assert bool(step.x.isfinite().all())
        assert float(found[-1].x.abs().max()) <= 1


@pytest.mark.parametrize("spacing", list(SPACINGS))
def test_every_timestep_may_be_visited(train, tmp_path, spacing):
    short = load_model(train(tmp_path / "run", steps=1, timesteps=30))
    *_, last = sample(short, SamplingRequest(1, steps=30, sampler="ddim", spacing=spacing))
    assert last.index == 30
    with pytest.raises(ValueError, match="1 to 30"):
        sample(short, SamplingRequest(1, steps=31, spacing=spacing))


def test_a_subset_starts_from_the_same_noise(exact_model):
    request = SamplingRequest(20, seed=4, steps=3, sampler="ddpm")
    whole, part = next(sample(exact_model, request)), next(sample(exact_model, request, [17, 3, 8]))
    assert torch.equal(whole.x[[17, 3, 8]], part.x)
    difference = _last(exact_model, request)[[17, 3, 8]].astype(int) - _last(exact_model, request, [17, 3, 8])
    assert np.abs(difference).max() <= 1


def test_seeds_and_images_differ(model):
    first, second = _last(model, SamplingRequest(4, seed=0, steps=2)), _last(model, SamplingRequest(4, seed=1, steps=2))
    everything = np.concatenate([first, second])
    assert len({image.tobytes() for image in everything}) == 8


def test_the_global_random_state_does_not_matter(model):
    request = SamplingRequest(2, steps=3, sampler="ddpm")
    torch.manual_seed(1)
    first = _last(model, request)
    torch.manual_seed(2)
    expected = torch.rand(2)
    torch.manual_seed(2)
    assert np.array_equal(_last(model, request), first)
    assert torch.equal(torch.rand(2), expected)


def test_stopping_early_leaves_gradients_as_they_were(model):
    for _step in sample(model, SamplingRequest(2, steps=5)):
        assert torch.is_grad_enabled()
        break
    assert torch.is_grad_enabled()


BAD_REQUESTS = {
    "unknown sampler": ({"sampler": "euler"}, ["euler", *SAMPLERS]),
    "unknown spacing": ({"spacing": "cosine"}, ["cosine", *SPACINGS]),
    "no steps": ({"steps": 0}, ["steps=0", "1 or more"]),
    "negative steps": ({"steps": -1}, ["steps=-1", "1 or more"]),
    "more steps than the schedule has": ({"steps": 1001}, ["steps=1001", "1 to 1000"]),
    "no images": ({"num_images": 0}, ["num_images=0"]),
    "negative images": ({"num_images": -3}, ["num_images=-3"]),
    "negative seed": ({"seed": -1}, ["seed", "-1"]),
    "enormous seed": ({"seed": 2**64}, ["seed", str(2**64)]),
    "eta without ddim": ({"eta": 0.5}, ["eta=0.5", "ddim"]),
    "negative eta": ({"sampler": "ddim", "eta": -0.5}, ["eta=-0.5"]),
    "eta that is no number": ({"sampler": "ddim", "eta": math.nan}, ["eta=nan"]),
    "infinite eta": ({"sampler": "ddim", "eta": math.inf}, ["eta=inf"]),
    "enormous eta": ({"sampler": "ddim", "eta": 50.0}, ["eta=50"]),
}


@pytest.mark.parametrize(("changes", "words"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_cannot_be_met_is_refused_before_the_first_step(model, changes, words):
    with pytest.raises(ValueError, match=r"\w") as refusal:
        sample(model, SamplingRequest(**changes))
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(("changes", "words"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_the_command_refuses_it_in_one_sentence_and_writes_nothing(command, tiny_run, tmp_path, changes, words):
    arguments = [part for key, value in changes.items() for part in (f"--{key.replace('_', '-')}", value)]
    done = command("pipelines.sample", tiny_run.path, *arguments, "--out", tmp_path / "out")
    sentence = done.refused_in_one_sentence()
    for word in words:
        assert word in sentence
    assert not (tmp_path / "out").exists()


# --- the command


@pytest.fixture(scope="module")
def request_arguments():
    return ["--num-images", 5, "--seed", 3, "--sampler", "ddim", "--eta", 0.5, "--steps", 4]


def test_the_command_writes_images_grid_and_gif(command, tiny_run, model, request_arguments, tmp_path):
    out = tmp_path / "out"
    done = command("pipelines.sample", tiny_run.path, *request_arguments, "--out", out)
    assert done.code == 0, done.error
    assert str(out) in done.output
    assert _files(out) == {"grid.png", "denoising.gif"} | {f"images/{number:05d}.png" for number in range(5)}
    request = SamplingRequest(5, 3, "ddim", 4, 0.5)
    steps = list(sample(model, request))
    assert np.array_equal(_images(out), to_uint8(steps[-1].x))
    labels = [f"t = {step.timestep:.0f}" for step in steps[:-1]] + ["sample"]
    fewer = command("pipelines.sample", tiny_run.path, "--num-images", 3, "--steps", 2, "--out", out)
    assert "2 of them would remain beside the new ones" in fewer.refused_in_one_sentence()
    assert np.array_equal(_images(out), to_uint8(steps[-1].x))
    with Image.open(out / "grid.png") as grid:
        assert np.array_equal(np.asarray(grid), film_strip([to_uint8(step.x) for step in steps], labels))
    with Image.open(out / "denoising.gif") as gif:
        assert gif.n_frames == 5


def test_the_metadata_reproduces_the_pixels(command, tiny_run, request_arguments, tmp_path):
    command("pipelines.sample", tiny_run.path, *request_arguments, "--out", tmp_path / "out")
    for path in sorted((tmp_path / "out" / "images").iterdir()):
        said = read_request(path)
        assert said["run"] == "tiny"
        assert said["fingerprint"] == tiny_run.fingerprint
        assert said["image"] == int(path.stem)
        request = SamplingRequest(**said["request"])
        assert request == SamplingRequest(5, 3, "ddim", 4, 0.5)
        again = load_model(tiny_run)
        assert again.fingerprint == said["fingerprint"]
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), _last(again, request)[said["image"]])
    assert read_request(tmp_path / "out" / "grid.png")["request"] == said["request"]


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])
@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_the_batch_size_does_not_change_the_images(command, tiny_run, exact_model, tmp_path, batch_size, sampler, monkeypatch):
    import pipelines.sample as program

    monkeypatch.setattr(program, "load_model", lambda *_args, **_options: exact_model)
    out = tmp_path / "out"
    arguments = ["--num-images", 17, "--steps", 4, "--sampler", sampler, "--batch-size", batch_size, "--out", out]
    assert command("pipelines.sample", tiny_run.path, *arguments).code == 0
    difference = _images(out).astype(int) - _last(exact_model, SamplingRequest(17, steps=4, sampler=sampler))
    assert np.abs(difference).max() <= 1


def test_the_batch_size_is_not_seen_in_the_precision_of_every_day(model):
    """In bfloat16, other batch sizes may sum in another order; what is left of that must stay far below what is seen."""
    request = SamplingRequest(17, steps=10)
    whole = _last(model, request).astype(int)
    parts = np.concatenate([_last(model, request, [number]) for number in range(17)])
    assert np.abs(whole - parts).max() <= 3


def test_fewer_images_are_the_first_of_more(command, tiny_run, tmp_path):
    for count in (3, 20):
        arguments = ["--num-images", count, "--steps", 3, "--batch-size", 3, "--out", tmp_path / str(count)]
        assert command("pipelines.sample", tiny_run.path, *arguments).code == 0
    assert np.array_equal(_images(tmp_path / "3"), _images(tmp_path / "20")[:3])


def test_the_command_as_a_person_runs_it(shell, tiny_run, tmp_path):
    done = shell("-m", "pipelines.sample", tiny_run.path, "--num-images", 2, "--steps", 0, "--out", tmp_path / "out")
    assert "steps=0" in done.refused_in_one_sentence()
    assert done.output == ""
    assert not (tmp_path / "out").exists()


def test_many_images_and_steps_show_a_readable_overview(command, tiny_run, tmp_path):
    out = tmp_path / "out"
    arguments = ["--num-images", 70, "--steps", 40, "--batch-size", 50, "--sampler", "ddim", "--out", out]
    assert command("pipelines.sample", tiny_run.path, *arguments).code == 0
    assert len(_images(out)) == 70
    with Image.open(out / "grid.png") as grid:
        assert grid.height == GRID_ROWS * 10 + 2
        assert grid.width < 64 * 10 + 2 + 200
    with Image.open(out / "denoising.gif") as gif:
        assert gif.n_frames == 41


def test_a_single_file_is_enough(command, tiny_run, tmp_path):
    arguments = ["--num-images", 2, "--steps", 2, "--out"]
    assert command("pipelines.sample", tiny_run.model_path, *arguments, tmp_path / "file").code == 0
    assert command("pipelines.sample", tiny_run.path, *arguments, tmp_path / "folder").code == 0
    assert np.array_equal(_images(tmp_path / "file"), _images(tmp_path / "folder"))


def test_the_command_refuses_runs_that_cannot_be_used(command, copied_run, tmp_path):
    out = ["--out", tmp_path / "out"]
    assert "no run at 'nonsense'" in command("pipelines.sample", "nonsense", *out).refused_in_one_sentence()
    content = copied_run.model_path.read_bytes()
    copied_run.model_path.write_bytes(content[:-100])
    assert "truncated" in command("pipelines.sample", copied_run.path, *out).refused_in_one_sentence()
    torch.save({}, copied_run.model_path)
    assert "never unpickles" in command("pipelines.sample", copied_run.path, *out).refused_in_one_sentence()
    copied_run.model_path.unlink()
    assert "no weights" in command("pipelines.sample", copied_run.path, *out).refused_in_one_sentence()
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_an_impossible_batch_or_folder(command, tiny_run, tmp_path):
    refused = command("pipelines.sample", tiny_run.path, "--batch-size", 0, "--out", tmp_path / "out")
    assert "batch_size=0" in refused.refused_in_one_sentence()
    (tmp_path / "file").write_text("mine")
    refused = command("pipelines.sample", tiny_run.path, "--num-images", 1, "--steps", 1, "--out", tmp_path / "file")
    assert str(tmp_path / "file") in refused.refused_in_one_sentence()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_sentence(command, tiny_run, tmp_path, monkeypatch):
    import errno
    import os

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = command("pipelines.sample", tiny_run.path, "--num-images", 1, "--steps", 1, "--out", tmp_path / "out")
    assert done.refused_in_one_sentence().startswith("the disk is full")
    assert _files(tmp_path / "out") == set()


def test_a_grey_model_makes_grey_files(train, command, tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(12):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / "data" / f"{number}.png")
    run = train(tmp_path / "run", data=str(tmp_path / "data"), steps=1)
    assert Run(run.path).config.image_shape == (1, 8, 8)
    assert command("pipelines.sample", run.path, "--num-images", 2, "--steps", 2, "--out", tmp_path / "out").code == 0
    with Image.open(tmp_path / "out" / "images" / "00000.png") as image:
        assert image.mode == "L"


def test_prompts_come_from_files_of_any_case_and_encoding(tmp_path, monkeypatch):
    """Each line is one prompt, whole, whatever the editor that wrote it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines = ["a café", "a tulip\u2028by night\x0cin spring", "word " * 5000 + "end"]
    for name, encoding, end in (("a.txt", "utf-8", "\n"), ("B.TXT", "utf-8-sig", "\r\n"), ("c.Txt", "utf-16", "\r")):
        (tmp_path / name).write_bytes(end.join(["", *lines, "  ", ""]).encode(encoding))
        assert list(read_prompts(["a rose", name, "a tulip.", "~"])) == ["a rose", *lines, "a tulip.", "~"]
        assert list(read_prompts([f"~/{name}"])) == lines


def test_a_prompt_that_is_no_prompt_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.txt").mkdir()
    for name in ("blank.txt", "prompts.csv", "latin.txt"):
        (tmp_path / name).write_bytes("café".encode("latin-1") if name == "latin.txt" else b"\n \r\n")
    for name, problem in {
        "blank.txt": "no prompts in blank.txt: write one per line",
        "latin.txt": "latin.txt is not a text in UTF-8",
        "prompts.csv": "'prompts.csv' is the name of a file: prompts are read from .txt files",
        "folder.txt": "folder.txt is a folder, not a regular file",
        "missing.TXT": "No such file or directory: 'missing.TXT'",
    }.items():
        with pytest.raises((ValueError, OSError), match=problem):
            list(read_prompts([name]))


def test_the_prompts_of_a_file_are_sampled_and_recorded(command, text_run, tmp_path):
    file, out = tmp_path / "PROMPTS.TXT", tmp_path / "out"
    arguments = ("pipelines.sample", text_run.path, "--prompt", file, "--num-images", 2, "--steps", 1, "--out", out)
    assert f"no such file or directory: {file}" in command(*arguments).refused_in_one_sentence()
    file.write_text("a circle\n\na square\n")
    assert command(*arguments).code == 0
    assert read_request(out / "images" / "00000.png")["request"]["prompt"] == ["a circle", "a square"]


def test_the_gif_of_one_image_is_enlarged():
    frames = [np.full((1, 8, 8, 1), value, np.uint8) for value in (0, 90, 200)]
    assert denoising_gif(frames)[:6] == b"GIF89a"


# --- from a picture


@pytest.fixture
def picture(tmp_path):
    """A picture with a mask whose right half is white, and their paths."""
    image, mask = Image.new("RGB", (20, 20), (200, 30, 30)), Image.new("L", (20, 20))
    mask.paste(255, (10, 0, 20, 20))
    paths = tmp_path / "picture.png", tmp_path / "mask.png"
    image.save(paths[0])
    mask.save(paths[1])
    return paths


def images_of(out):
    return np.stack([np.asarray(Image.open(file)) for file in sorted((out / "images").glob("*.png"))])


def test_little_strength_keeps_the_picture(command, tiny_run, tmp_path, picture):
    far = {}
    for strength in (0.1, 0.9):
        out = tmp_path / f"at-{strength}"
        arguments = ("--init-image", picture[0], "--strength", strength, "--num-images", 3, "--steps", 20, "--out", out)
        assert command("pipelines.sample", tiny_run.path, *arguments).code == 0
        far[strength] = np.abs(images_of(out) - np.array([200.0, 30, 30])).mean()
    assert far[0.1] < far[0.9] / 2
    assert (out / "denoising.gif").is_file()


@pytest.mark.parametrize(
    ("way", "known"),
    [((), {}), (("--resamplings", 2), {"resamplings": 2}), (("--reconstruction-guidance", True), {"guided": True})],
)
def test_inpainting_keeps_what_is_black_in_the_mask(command, tiny_run, tmp_path, picture, way, known):
    arguments = ("--init-image", picture[0], "--mask", picture[1], "--num-images", 3, "--steps", 4, "--batch-size", 2)
    done = command("pipelines.sample", tiny_run.path, *arguments, *way, "--out", tmp_path / "out")
    assert done.code == 0, done.error
    images = images_of(tmp_path / "out")
    assert (images[:, :, :4] == [200, 30, 30]).all()
    assert not (images[:, :, 4:] == [200, 30, 30]).all()
    assert len(np.unique(images[:, :, 4:].reshape(3, -1), axis=0)) == 3
    told = read_request(tmp_path / "out" / "images" / "00000.png")
    assert told["origin"].items() >= ({"resamplings": 1, "guided": False} | known).items()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--strength", 0.5), "give it with --init-image"),
        (("--mask", "MASK"), "give it with --init-image"),
        (("--init-image", "PICTURE", "--resamplings", 3), "give it with --mask"),
        (("--init-image", "PICTURE", "--reconstruction-guidance", True), "--reconstruction-guidance needs an area"),
        (("--init-image", "PICTURE", "--strength", 2), "strength=2"),
        (("--init-image", "nowhere.png"), "nowhere.png"),
        (("--init-image", "PIPE"), "a named pipe, not a regular file"),
        (("--init-image", "PICTURE", "--mask", "/dev/zero"), "a device, not a regular file"),
        (("--init-image", "PICTURE", "--mask", "SMALL"), "give one of the same size"),
        (("--init-image", "PICTURE", "--mask", "MASK", "--resamplings", 0), "resamplings=0"),
    ],
)
def test_a_start_that_cannot_be_is_refused(command, tiny_run, tmp_path, picture, arguments, sentence):
    small = tmp_path / "small.png"
    Image.new("L", (4, 4), 255).save(small)
    os.mkfifo(tmp_path / "pipe.png")
    places = {"PICTURE": picture[0], "MASK": picture[1], "SMALL": small, "PIPE": tmp_path / "pipe.png"}
    named = [places.get(part, part) for part in arguments]
    refusal = command("pipelines.sample", tiny_run.path, *named, "--out", tmp_path / "out").refused_in_one_sentence()
    assert sentence in refusal
    assert not (tmp_path / "out").exists()
