"""The command that makes figures, from shipped runs to files, and the curves that training leaves in a run."""

import re
import shutil

import pytest
from PIL import Image

from pipelines.storage.layout import CURVES
from pipelines.storage.run import Run

BASELINE, ATTENTION = "checkpoints/fashion-baseline", "checkpoints/fashion-attention"


def description(path):
    """What a figure says about itself."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.info["Description"]
    return re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(), re.DOTALL)[1]


def test_figures_of_shipped_runs_name_their_weights(command, tmp_path):
    for kind in ("curves", "pareto"):
        out = tmp_path / f"{kind}.svg"
        done = command("pipelines.figure", kind, BASELINE, "fashion-attention", "--out", out, "--width", "single")
        assert done.code == 0, done.error
        told = description(out)
        assert told in done.output
        for run in (Run(BASELINE), Run(ATTENTION)):
            assert f"{run.name} (weights {run.fingerprint}, training seed {run.config.seed})" in told
            assert run.name in re.findall(r"<text[^>]*>([^<]*)</text>", out.read_text()) or kind == "pareto"
    assert "Pareto front" in out.read_text()


def test_a_strip_names_its_seed_and_sampler_and_is_the_same_again(command, tmp_path, tiny_run):
    files = [tmp_path / f"{number}.png" for number in range(2)]
    settings = ("--num-images", 3, "--steps", 4, "--frames", 3, "--seed", 5, "--sampler", "ddim")
    for out in files:
        assert command("pipelines.figure", "strip", tiny_run.path, "--out", out, *settings).code == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    told = description(files[0])
    assert all(part in told for part in (tiny_run.fingerprint, "seed 5", "DDIM", "4 steps"))
    other = command("pipelines.figure", "strip", tiny_run.path, "--out", files[1], *settings[:-3], 6, *settings[-2:])
    assert other.code == 0
    assert files[0].read_bytes() != files[1].read_bytes()


def test_schedules_noise_a_picture_of_a_folder(command, tmp_path, image_folder):
    out = tmp_path / "forward.pdf"
    done = command("pipelines.figure", "forward", image_folder, "--schedules", "flow", "cosine", "--frames", 3, "--out", out)
    assert done.code == 0, done.error
    assert out.read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("curves", "no-such-run", "--out", "a.pdf"), "no run at 'no-such-run'"),
        (("curves", BASELINE, "--out", "a.gif"), "figures are written as .pdf, .svg, .png"),
        (("pareto", BASELINE, "checkpoints/flowers-baseline-64", "--out", "a.pdf"), "different images"),
        (("pareto", "checkpoints/flowers-autoencoder", "--out", "a.pdf"), "python -m pipelines.evaluate"),
        (("strip", BASELINE, "--num-images", "1000", "--out", "a.png"), "choose at most 32"),
        (("strip", BASELINE, "--frames", "x", "--out", "a.png"), "--frames x: choose"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(command, tmp_path, arguments, told):
    *arguments, out = arguments
    assert told in command("pipelines.figure", *arguments, tmp_path / out).refused_in_one_sentence()
    assert not list(tmp_path.iterdir())


def test_training_leaves_its_curves_and_does_not_fail_if_it_cannot(command, tmp_path, tiny_run, leave_curves, monkeypatch):
    monkeypatch.setattr("pipelines.train._leave_curves", leave_curves)
    shutil.copytree(tiny_run.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert not (run.path / CURVES).exists()
    assert command("pipelines.train", "--resume", run.path, "--steps", run.config.optimizer.steps + 1).code == 0
    assert run.fingerprint in description(run.path / CURVES)
    (run.path / CURVES).unlink()
    (run.path / CURVES).mkdir()  # in the way
    done = command("pipelines.train", "--resume", run.path, "--steps", run.config.optimizer.steps + 1)
    assert done.code == 0
    assert "the training curves could not be drawn: " in done.error
