"""Inception's features are those of pytorch-fid, and its weights are read without running anything in them."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from pytorch_fid import inception as pytorch_fid

from pipelines.evaluation import inception
from pipelines.evaluation.inception import load_inception
from pipelines.evaluation.results import Evaluation


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    """A file of random weights of the right shapes."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    network = inception._network()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(0))
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def weights(random_weights, tmp_path, monkeypatch):
    """Where the weights are looked for; random ones are there."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = inception.weights_path()
    path.parent.mkdir()
    return shutil.copy(random_weights, path)


def test_the_features_are_those_of_pytorch_fid(weights, monkeypatch):
    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: state)
    theirs, ours = pytorch_fid.InceptionV3().eval(), load_inception("cpu")
    for channels in (1, 3):
        images = torch.rand(3, channels, 32, 40, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = theirs(images.expand(-1, 3, -1, -1))[0].flatten(1)
        found = ours.features(images * 2 - 1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_weights_that_would_run_code_are_refused(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights.write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(ValueError, match="does not hold the weights of Inception"):
        load_inception("cpu")
    assert not (tmp_path / "harmed").exists()


def test_other_weights_are_refused(weights):
    torch.save({"a": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match="does not hold the weights of Inception"):
        load_inception("cpu")


def test_what_cannot_be_downloaded_is_told(weights, monkeypatch):
    weights.unlink()
    monkeypatch.setattr(pytorch_fid, "FID_WEIGHTS_URL", weights.as_uri() + ".pth")
    with pytest.raises(ValueError, match="cannot be downloaded"):
        load_inception("cpu")


def test_a_download_that_is_not_the_right_file_is_refused(weights, monkeypatch):
    served = weights.rename(weights.with_name("served.pth"))
    folder = served.parent / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    monkeypatch.setattr(pytorch_fid, "FID_WEIGHTS_URL", served.as_uri())
    with pytest.raises(ValueError, match="cannot be downloaded"):
        load_inception("cpu")
    assert not inception.weights_path().exists()


def test_a_run_is_measured_in_them(weights, copied_run, command):
    quick = ("--num-images", 10, "--reference-images", 10, "--held-out-images", 10, "--likelihood-images", 0, "--steps", 2)
    assert command("pipelines.evaluate", copied_run.path, "--features", "inception", *quick).code == 0
    [result] = Evaluation(copied_run).of_kind("samples")
    assert result.asked["features"] == "Inception (pytorch-fid)"
    assert result.found["figures"]["frechet_distance"]["value"] > 0
