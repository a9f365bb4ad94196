"""The classifier: it learns, is written with what it knows, and refuses what it does not know."""

import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.common.images import as_input, split_montage
from pipelines.datasets.image_sets import load_images
from pipelines.datasets.sources import resolve
from pipelines.models.classifier import Classifier, load_classifier
from pipelines.storage.config import DataConfig
from pipelines.storage.files import CLASSIFIERS, ROOT
from pipelines.storage.weights import read_tensors, write_tensors
from pipelines.training.classifier import shift_and_mirror


@pytest.fixture
def trained(command, image_folder, tmp_path):
    out = tmp_path / "shapes.safetensors"
    done = command(
        "pipelines.classifier", out, "--data", image_folder, "--image-size", 8, "--flip", "True", "--epochs", 30,
        "--channels", 8, 16, "--batch-size", 16,
    )  # fmt: skip
    assert done.code == 0, done.error
    return out, done.output


def test_it_tells_circles_from_squares(trained, image_folder):
    path, output = trained
    judge = load_classifier(path)
    assert judge.classes == ("circles", "squares")
    assert judge.accuracy > 0.7
    assert f"{judge.accuracy:.2%}" in output
    train, _ = load_images(resolve(DataConfig(data=str(image_folder), image_size=8)))
    found = judge.classify(train.images.float() / 127.5 - 1)
    # Rows of the dataset come folder by folder: circles first.
    assert ((found == 1) == torch.from_numpy(train.rows >= 20)).double().mean() > 0.9


def test_it_learns_from_the_images_that_have_a_class(command, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pictures = [Image.new("L", (8, 8), 200 * (row % 2)) for row in range(60)]
    labels = [None if row % 3 else row % 2 for row in range(60)]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["dark", "light"]))
    table = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    for split in ("train", "test"):
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    done = command(
        "pipelines.classifier", tmp_path / "judge.safetensors", "--data", folder, "--image-size", 8, "--epochs", 30,
        "--channels", 8, 16, "--batch-size", 16,
    )  # fmt: skip
    assert done.code == 0, done.error
    assert "100.00% accuracy on 20 test images" in done.output


def test_images_of_another_shape_are_refused(trained):
    with pytest.raises(ValueError, match=r"\(1, 8, 8\): this classifier takes \(3, 8, 8\)"):
        load_classifier(trained[0]).classify(torch.zeros(1, 1, 8, 8))


def test_a_run_is_no_classifier(tiny_run):
    with pytest.raises(ValueError, match="is not a classifier"):
        load_classifier(tiny_run.model_path)


def test_whatever_its_description_says_it_loads_or_is_refused_in_a_sentence(judge, tmp_path):
    """Each part of it is replaced by values of other types and sizes, or left out."""
    weights, metadata = read_tensors(judge)
    known = json.loads(metadata["classifier"])
    odd = [None, "", "x", -1, 0, 10**12, 1e308, True, [], [0], [10**9], ["a"], [[3, 8, 8]], {}, {"data": 3}]
    mutants = [known | {name: value} for name in known for value in odd]
    mutants += [{other: value for other, value in known.items() if other != name} for name in known]
    said = []
    for mutant in [*mutants, [], None, "x"]:
        file = tmp_path / "mutant.safetensors"
        write_tensors(file, weights, {"classifier": json.dumps(mutant)})
        try:
            features = load_classifier(file).features(torch.zeros(1, 3, 8, 8))
        except ValueError as error:
            said.append(str(error))
        else:
            assert features.shape == (1, 16)
    assert len(said) > len(mutants) / 2
    assert all("\n" not in sentence and len(sentence) < 1000 for sentence in said)


def test_weights_that_are_not_finite_are_refused(judge, tmp_path):
    weights, metadata = read_tensors(judge)
    for value, sentence in ((float("nan"), "contain NaN"), (1e38, "does not return finite numbers")):
        broken = {name: torch.full_like(tensor.float(), value) for name, tensor in weights.items()}
        write_tensors(tmp_path / "broken.safetensors", broken, metadata)
        with pytest.raises(ValueError, match=sentence):
            load_classifier(tmp_path / "broken.safetensors").features(torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize("arguments", [("x.bin",), ("x.safetensors", "--epochs", 0)])
def test_what_cannot_be_done_is_refused(command, tmp_path, arguments):
    assert command("pipelines.classifier", tmp_path / arguments[0], *arguments[1:]).refused_in_one_sentence()


def test_one_of_larger_patches_starts_from_what_one_of_smaller_patches_knows(judge):
    known = load_classifier(judge, "cpu").network
    larger = Classifier(3, 2, known.channels, patch_size=2)
    larger.start_from(known)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    enlarged = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(larger.features(enlarged), known.features(x))
    assert [tuple(level.shape[2:]) for level in larger.activations(enlarged)] == [(8, 8), (4, 4)]
    checked = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).repeat(8, 8)  # which the smaller one cannot see
    assert not torch.allclose(larger.features(enlarged + checked), known.features(x), atol=0.01)
    again = Classifier(3, 2, known.channels)
    again.start_from(known)
    torch.testing.assert_close(again.state_dict(), known.state_dict())
    for other in (Classifier(3, 3, (8, 16), 2), Classifier(3, 2, (8, 8), 2), Classifier(3, 2, (8, 16), 3)):
        with pytest.raises(ValueError, match="cannot start from one of 2 classes with channels"):
            other.start_from(larger)


def test_it_goes_on_from_one_of_smaller_images(command, judge, image_folder, tmp_path):
    """Without a step of training, so that whatever is known has come from there."""
    out = tmp_path / "larger.safetensors"
    options = ("--data", image_folder, "--channels", 8, 16, "--image-size", 16, "--patch-size", 2, "--init-from", judge)
    done = command("pipelines.classifier", out, *options, "--epochs", 1, "--lr", 1e-9)
    assert done.code == 0, done.error
    larger, smaller = load_classifier(out), load_classifier(judge)
    assert (larger.image_shape, larger.network.patch_size) == ((3, 16, 16), 2)
    assert larger.held_out.digest == smaller.held_out.digest
    images = torch.rand(64, 3, 8, 8) * 2 - 1
    enlarged = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(larger.features(enlarged), smaller.features(images), atol=0.01, rtol=0.01)


def test_it_does_not_start_from_one_that_knows_its_test_images(command, judge, image_folder, tmp_path):
    weights, metadata = read_tensors(judge)
    described = json.loads(metadata["classifier"])
    described["training"]["data"]["held_out"] = {"below": "0" * 15 + "1"}
    informed = tmp_path / "informed.safetensors"
    write_tensors(informed, weights, {"classifier": json.dumps(described)})
    options = ("--data", image_folder, "--channels", 8, 16, "--image-size", 8, "--init-from", informed)
    done = command("pipelines.classifier", tmp_path / "new.safetensors", *options)
    assert "may have been trained on 4 of the held-out images: start from another" in done.refused_in_one_sentence()


def test_it_is_kept_in_half_precision_and_sees_the_same(judge):
    """A shipped classifier with float32 weights is rounded: features move by a thousandth of what parts two pictures.

    The mean of their squares bounds what rounding adds to a Fréchet distance (Gelbrich 1990).
    """
    assert {tensor.dtype for tensor in read_tensors(judge)[0].values()} == {torch.float16}
    classifier = load_classifier(CLASSIFIERS / "oxford-flowers.safetensors", "cpu")
    grid = np.asarray(Image.open(ROOT / "checkpoints/flowers-text/samples/step-00001200.png"))
    images = as_input(torch.from_numpy(split_montage(grid, 32, 32, 36)).permute(0, 3, 1, 2))
    exact = classifier.features(images)
    classifier.network.half().float()
    moved = (classifier.features(images) - exact).norm(dim=1)
    assert 0 < moved.max() < 1e-3 * torch.pdist(exact).mean()


def test_images_do_not_judge_each_other():
    network = Classifier(1, 3).eval()
    x = torch.randn(5, 1, 32, 32)
    torch.testing.assert_close(network(x)[2:3], network(x[2:3]), rtol=1e-4, atol=1e-5)


def test_augmentation_moves_and_mirrors():
    x = torch.rand(64, 1, 8, 8)
    moved = shift_and_mirror(x, 2, False, torch.Generator().manual_seed(1))
    assert moved.shape == x.shape
    shifts = [shift_and_mirror(x, 2, False, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert any(torch.equal(shifted, x) for shifted in shifts), "sometimes not at all"
    mirrored = shift_and_mirror(x, 2, True, torch.Generator().manual_seed(1))
    same = (mirrored == moved).flatten(1).all(1)
    assert torch.equal(mirrored[~same], moved[~same].flip(-1))
    assert 16 < same.sum() < 48
