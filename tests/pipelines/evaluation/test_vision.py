"""DINOv2's and CLIP's features are those of transformers, and are never downloaded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.evaluation.results import Evaluation
from pipelines.evaluation.vision import load_vision_model

SMALL = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}


def save_small(folder, kind):
    """A small model with random weights, and how images are prepared for it."""
    from transformers import BitImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "dinov2":
            network = Dinov2Model(Dinov2Config(**SMALL, mlp_ratio=2))
        else:
            network = CLIPVisionModelWithProjection(CLIPVisionConfig(**SMALL, intermediate_size=24, projection_dim=10))
    network.save_pretrained(folder)
    side = {"height": 16, "width": 16}
    processor = BitImageProcessor(size={"shortest_edge": 16}, crop_size=side)
    processor.save_pretrained(folder)
    return network.eval(), processor


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small-dinov2"
    save_small(folder, "dinov2")
    return folder


@pytest.mark.parametrize(("kind", "output", "width"), [("dinov2", "pooler_output", 12), ("clip", "image_embeds", 10)])
def test_the_features_are_those_of_transformers(tmp_path, kind, output, width):
    network, processor = save_small(tmp_path, kind)
    pictures = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(processor(images=list(pictures), return_tensors="pt")["pixel_values"])[output]
    found = load_vision_model(tmp_path, "cpu").features(pictures / 127.5 - 1)
    assert found.shape == (3, width)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)  # theirs round the resized image to 8 bits
    apart = (found - found.mean(0)).std()
    assert (found - expected).std() < 0.05 * apart


def test_grey_images_are_seen_too(dinov2):
    model = load_vision_model(dinov2, "cpu")
    grey = torch.rand(2, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(model.features(grey), model.features(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("name", "hub_id"), [("dinov2", "facebook/dinov2-large"), ("owner/model", "owner/model")])
def test_what_is_not_at_hand_is_told_and_not_downloaded(command, copied_run, monkeypatch, tmp_path, name, hub_id):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.http_get", lambda *_, **__: pytest.fail("a download"))
    sentence = command("pipelines.evaluate", copied_run.path, "--features", name).refused_in_one_sentence()
    assert sentence.startswith(f"the weights of {hub_id} are not on this machine: fetch them with `hf download {hub_id} ")


def test_a_model_in_the_local_cache_of_the_hub_is_found(dinov2, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--dinov2-large"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(dinov2, repository / "snapshots" / ("0" * 40))
    assert load_vision_model(Path("dinov2")).name == "facebook/dinov2-large"


def test_other_models_and_damaged_weights_are_refused(dinov2, tmp_path):
    tensors = load_file(dinov2 / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((dinov2 / name).read_bytes())
    lacking = {key: tensor for key, tensor in tensors.items() if not key.startswith("layernorm")}
    save_file(lacking, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="its weights lack layernorm"):
        load_vision_model(tmp_path)
    save_file({key: tensor * np.nan for key, tensor in tensors.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="does not return finite numbers"):
        load_vision_model(tmp_path).features(torch.zeros(1, 3, 8, 8))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="does not hold a vision model that can be loaded"):
        load_vision_model(tmp_path)


def test_a_run_is_measured_in_them(dinov2, copied_run, command):
    quick = ("--num-images", 12, "--reference-images", 12, "--held-out-images", 10, "--likelihood-images", 0, "--steps", 2)
    done = command("pipelines.evaluate", copied_run.path, "--features", dinov2, *quick)
    assert done.code == 0, done.error
    [result] = Evaluation(copied_run).of_kind("samples")
    assert result.asked["features"] == f"small-dinov2 {result.asked['judge']}"
    assert result.found["figures"]["frechet_distance"]["value"] > 0
