import re
import shlex
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pipelines.common.flags import parse
from pipelines.datasets.image_sets import load_images, refuse_other_images
from pipelines.datasets.splits import data_of, refuse_missing
from pipelines.models.loading import load_model
from pipelines.publish import Publish, main
from pipelines.storage.config import (
    ConditionConfig,
    DataConfig,
    LatentConfig,
    NetworkConfig,
    OptimizerConfig,
    RunConfig,
    config_to_json,
)
from pipelines.storage.layout import DATA
from pipelines.storage.locations import without_folders
from pipelines.storage.publishing import model_card, publish, training_command
from pipelines.storage.run import Run
from pipelines.storage.runs import find_runs
from pipelines.storage.weights import open_tensors, read_tensors
from pipelines.train import Train


def test_a_published_run_loads_and_leaves_the_state_behind(tiny_run, tmp_path):
    out = tmp_path / "published"
    notes = tmp_path / "notes.md"
    notes.write_text("\n## Data\n\nDrawn for a test.\n")
    assert main(Publish(tiny_run.path, out, notes)) == 0
    published = Run(out)
    assert not (out / "state").exists()
    assert published.config == without_folders(tiny_run.config)
    assert len(published.metrics()) == len(tiny_run.metrics())
    assert published.samples()
    card = (out / "README.md").read_text()
    assert "Drawn for a test." in card
    assert "python -m pipelines.train" in card
    assert card.startswith("# published\n")
    assert "python -m pipelines.sample checkpoints/published " in card
    weights, original = read_tensors(published.model_path)[0], read_tensors(tiny_run.model_path)[0]
    assert all(torch.equal(weights[name], original[name].bfloat16()) for name in original)
    assert (tiny_run.path / DATA).is_file()
    assert not (out / DATA).exists()  # names and captions may be private
    assert "- 36 training and 4 held-out pictures in 2 classes, of 12×12 pixels\n" in card
    assert load_model(out).num_parameters == sum(tensor.numel() for tensor in original.values())


def test_a_published_run_names_no_folder_of_its_author(train, image_folder, autoencoder_run, tmp_path, monkeypatch):
    """Its data are found by their name in the working folder, or in $NOISESCOPE_DATA."""
    run = train(tmp_path / "run", latent=str(autoencoder_run.path), image_size=16, steps=2)
    author = str(image_folder.parent)
    assert author in config_to_json(run.config)
    published = publish(run, tmp_path / "published")
    assert published.config.data.data == image_folder.name
    with open_tensors(published.model_path, "numpy") as file:
        texts = [file.metadata()["config"], *((published.path / name).read_text() for name in ("config.json", "README.md"))]
    assert not any(folder in text for text in texts for folder in (author, str(autoencoder_run.path)))
    assert run.config.data.data == str(image_folder)
    with pytest.raises(ValueError, match=f"the data of this run are not at '{image_folder.name}': put them there"):
        refuse_missing(published.config, "")
    monkeypatch.setenv("NOISESCOPE_DATA", author)
    refuse_missing(published.config, "")
    train_images, _ = load_images(data_of(published.config))
    refuse_other_images(published.config, train_images)


KILLED = """
import os, sys
import pipelines.storage.publishing as publishing
publishing.write_text = lambda *_: os._exit(9)  # as by kill -9 before the card is written
from pathlib import Path
from pipelines.storage.run import Run
publishing.publish(Run(sys.argv[1]), Path(sys.argv[2]))
"""


def test_an_interrupted_publication_leaves_nothing_in_its_way(shell, tiny_run, tmp_path, forked):
    out = tmp_path / "checkpoints" / "published"
    assert shell("-c", KILLED, tiny_run.path, out).code == 9
    assert not out.exists()
    assert find_runs(out.parent) == []
    assert len(list(out.parent.iterdir())) == 1
    assert main(Publish(tiny_run.path, out)) == 0
    assert [path.name for path in out.parent.iterdir()] == ["published"]
    assert Run(out).has_weights


def test_a_publication_onto_a_full_disk_leaves_nothing_and_can_be_repeated(command, tiny_run, full_disk):
    out = full_disk.folder / "published"
    full_disk.fill()
    sentence = command("pipelines.publish", tiny_run.path, out).refused_in_one_sentence()
    full_disk.free()
    assert f"the disk of {out} is full" in sentence or f"{out} cannot be written (file too large)" in sentence
    assert list(full_disk.folder.iterdir()) == []
    assert command("pipelines.publish", tiny_run.path, out).code == 0
    assert (out / "README.md").is_file()


def test_a_run_that_was_stopped_before_its_first_grid_has_a_card_too(train, tmp_path):
    run = train(tmp_path / "run", steps=2, sample_every=1000)
    shutil.rmtree(run.path / "samples", ignore_errors=True)
    assert main(Publish(run.path, tmp_path / "published")) == 0
    card = (tmp_path / "published" / "README.md").read_text()
    assert "![Samples" not in card
    assert "## Use" in card
    assert "![Training curves](curves.png)" in card
    with Image.open(tmp_path / "published" / "curves.png") as curves:  # drawn anew: the weights were rounded
        assert Run(tmp_path / "published").fingerprint in curves.info["Description"]


def test_an_existing_folder_is_not_overwritten(tiny_run, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(ValueError, match="already exists"):
        main(Publish(tiny_run.path, tmp_path))


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(model="autoencoder"),
        RunConfig(
            network=NetworkConfig(unet="attention", channels=(8, 16), attention_levels=(0, 1)),
            data=DataConfig(data="a folder/with spaces", image_size=16, fit="pad", flip=False),
            optimizer=replace(OptimizerConfig(), betas=(0.8, 0.9), steps=7, precision="no"),
            seed=3,
        ),
    ],
)
def test_the_recorded_command_gives_the_same_configuration(config):
    words = shlex.split(training_command(config, "x"))
    parsed = parse([Train], words[3:])
    assert parsed.config == config


def test_what_training_records_is_no_flag():
    recorded = RunConfig(
        network=NetworkConfig(settings={"block_out_channels": [32]}),
        condition=ConditionConfig(classes=("rose",), text_dim=8, encoder_digest="0a", examples=("a rose",)),
        image_shape=(3, 8, 8),
        versions={"torch": "2.11"},
        latent=LatentConfig(latent_shape=(4, 2, 2), latent_network=NetworkConfig(), latent_fingerprint="0a"),
        training_images=7,
    )
    assert training_command(recorded, "x") == training_command(RunConfig(), "x")


@pytest.mark.parametrize("kind", ["class", "text"])
def test_the_card_of_a_conditional_model_says_how_to_ask(class_run, text_run, command, tmp_path, monkeypatch, kind):
    """Its commands parse as they stand, and the one for sampling runs."""
    run = {"class": class_run, "text": text_run}[kind]
    assert command("pipelines.publish", run.path, tmp_path / "published").code == 0
    card = (tmp_path / "published" / "README.md").read_text()
    assert "--encoder-digest" not in card
    [line] = [line for line in card.splitlines() if line.startswith("python -m pipelines.sample ")]
    arguments = shlex.split(line)[3:]
    arguments[0] = tmp_path / "published"
    arguments[arguments.index("60")] = "2"
    arguments[arguments.index("samples")] = tmp_path / "samples"
    done = command("pipelines.sample", *arguments)
    assert done.code == 0, done.error


@pytest.mark.parametrize("side", [8, 16])
def test_the_card_of_an_autoencoder_says_how_well_images_come_back(train, command, tmp_path, side):
    """Images of 8×8 are too small for an SSIM."""
    run = train(tmp_path / "runs" / "small", model="autoencoder", image_size=side)
    assert command("pipelines.publish", run.path, tmp_path / "small").code == 0
    card = (tmp_path / "small" / "README.md").read_text()
    assert "Autoencoder with" in card
    assert "--latent checkpoints/small" in card
    assert "PSNR of" in card
    assert ("SSIM of" in card) == (side == 16)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (1000, [1, 2, 4, 5, 6, 7, 9, 10]),  # at most eight
        (2**19 // 5, [1, 3, 5, 8, 10]),  # as many as are light enough together
        (2**20, [10]),  # the last one in any case
    ],
)
def test_the_grids_kept_are_spread_over_training_and_few_and_light(copied_run, tmp_path, size, kept):
    for old in copied_run.samples().values():
        old.unlink()
    for step in range(1, 11):
        (copied_run.path / "samples" / f"step-{step:08d}.png").write_bytes(bytes(size))
    assert main(Publish(copied_run.path, tmp_path / "published")) == 0
    assert list(Run(tmp_path / "published").samples()) == kept


def test_no_name_leaves_its_place_in_a_card(tiny_run, tmp_path):
    """Names, datasets and versions may contain anything: commands quote them, code fences hold, and Markdown shows them."""
    hostile = "my run; rm -rf ~\n```\n# [x](http://evil.example) ![y](http://evil.example/y.png)"
    run = Run(shutil.copytree(tiny_run.path, tmp_path / "run"))
    config = tiny_run.config
    run.write_config(replace(config, data=replace(config.data, data=hostile), versions={"torch": hostile}))
    card = model_card(run, hostile, 100)
    outside = re.sub(r"^(`{3,})\n.*?\n\1$|(`+) .*? \2", "", card, flags=re.MULTILINE | re.DOTALL)
    assert "evil" in outside
    assert "](http" not in outside
    assert outside.count("\n# ") == 0
    assert shlex.quote(f"checkpoints/{hostile}") in card
    assert f"--data {shlex.quote(hostile)}" in card
