"""Making the same images again, from the command and the Python that a page offers to copy."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.common.images import png_bytes
from pipelines.sampling.generation import Comparison
from pipelines.sampling.origins import BetweenSeeds, FromInversion, FromPicture
from pipelines.sampling.queue import Results
from pipelines.sampling.repeat import Made, commands, forward_script, pictures_of, script
from pipelines.sampling.request import SamplingRequest


@pytest.fixture(scope="module")
def made(tiny_run, class_run):
    """What a page may show: more images than a batch, unusual settings, a class, and an inpainted picture."""
    picture = png_bytes(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    mask = png_bytes(np.repeat(np.array([[0, 255]], np.uint8), 16, 0).repeat(8, 1)[..., None])
    unusual = SamplingRequest(3, 1, "ddim", 4, eta=0.3, spacing="leading")
    guided = SamplingRequest(5, 2, "heun", 3, label="squares", guidance=2.5, guidance_interval=(0.1, 0.9), guidance_rescale=0.5)
    return [
        Made(tiny_run, SamplingRequest(17, steps=2)),
        Made(tiny_run, unusual),
        Made(class_run, guided),
        Made(tiny_run, SamplingRequest(2, steps=4), FromPicture(picture, 0.7, mask, resamplings=2)),
    ]


@pytest.fixture(scope="module")
def shown(made):
    """The pixels that a page shows of them."""
    comparison = Comparison.of([(one.run, one.request, one.origin) for one in made])
    for _ in comparison.compute(Results()):
        pass
    return [column.frames[-1].x for column in comparison.columns]


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A folder to work in, with the pictures that are offered beside the commands."""
    for content, name in pictures_of(made).items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(made) -> list[np.ndarray]:
    found: dict = {}
    exec(script(made), found)
    return found["pictures"]


def test_the_commands_make_the_same_pixels(made, shown, folder, command):
    lines = commands(made).splitlines()
    assert len(lines) == len(made)
    for number, (line, images) in enumerate(zip(lines, shown, strict=True), start=1):
        python, module, program, *arguments = shlex.split(line)
        assert (python, module, program) == ("python", "-m", "pipelines.sample")
        assert command(program, *arguments).code == 0
        files = sorted((folder / f"samples-{number}" / "images").iterdir())
        assert np.array_equal([np.atleast_3d(np.asarray(Image.open(file))) for file in files], images)


def test_the_python_makes_the_same_pixels(made, shown, folder):
    for images, others in zip(run_python(made), shown, strict=True):
        assert np.array_equal(images, others)


def test_one_image_of_a_request_is_made_alone(tiny_run, folder, command):
    """As the Reverse page shows it."""
    alone = Made(tiny_run, SamplingRequest(1, 3, steps=2), images=(2,))
    words = shlex.split(commands([alone]))
    assert words[words.index("--batch-size") + 1] == "1", "in a batch with others, a pixel may differ by one"
    assert command("pipelines.sample", *words[3:]).code == 0
    with Image.open(folder / "samples" / "images" / "00002.png") as image:
        assert np.array_equal(run_python([alone])[0][0], np.asarray(image))


def test_what_the_command_line_cannot_say_is_python_alone(tiny_run, class_run, folder):
    seeds = Made(tiny_run, SamplingRequest(2, steps=2), BetweenSeeds(5, (0.0, 1.0)))
    inverted = Made(class_run, SamplingRequest(1, steps=2, label="circles"), FromInversion(b"", "squares"))
    assert commands([seeds]) == commands([inverted]) == ""
    assert "FromInversion(picture=Path('picture.png').read_bytes(), label='squares'" in script([inverted])
    assert [len(images) for images in run_python([seeds])] == [2]


@pytest.mark.parametrize("prompt", ["a 'red' \"dress\"", "--out /elsewhere", "$HOME `ls`; true", "two\nlines"])
def test_a_prompt_stays_one_argument(tiny_run, prompt):
    words = shlex.split(commands([Made(tiny_run, SamplingRequest(1, prompt=(prompt,), guidance=2.0, negative_prompt=prompt))]))
    assert f"--prompt={prompt}" in words
    joined = f"--negative-prompt={prompt}" in words  # else it would be taken for an option
    assert joined == prompt.startswith("-")
    assert joined or words[words.index("--negative-prompt") + 1] == prompt
    assert words[-2:] == ["--out", "samples"]


def test_the_python_of_the_forward_process_noises_the_picture(tmp_path, monkeypatch):
    from diffusion_core.noise import ForwardNoise
    from diffusion_core.schedules import make_schedule
    from pipelines.common.images import to_uint8

    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (tmp_path / "picture.png").write_bytes(png_bytes(picture))
    found: dict = {}
    exec(forward_script([("cosine", False), ("linear", True)], seed=3, stride=500, last=999, side=16), found)
    noise = ForwardNoise(3, (3, 16, 16), [0]).initial()
    x0 = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    for schedule, images in zip(
        (make_schedule("cosine"), make_schedule("linear", zero_terminal_snr=True)), found["pictures"], strict=True
    ):
        expected = to_uint8((schedule.alpha[999] * x0 + schedule.sigma[999] * noise).float())
        assert len(images) == 3
        assert np.abs(images[-1:].astype(int) - expected.astype(int)).max() <= 1
    assert np.array_equal(found["pictures"][1][-1:], to_uint8(noise)), "nothing of the picture is left"
